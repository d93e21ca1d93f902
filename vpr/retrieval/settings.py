"""Settings of re-ranking."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpr.base.settings import NonNegativeInt, PositiveFloat, PositiveInt, Share, option
from vpr.transport.marginals import FromGlobals
from vpr.transport.problem import EPSILON


@dataclass(frozen=True)
class RerankConfig:
    """How candidates are compared, and what the work may take."""

    marginals: FromGlobals = "complement"  # how much each patch counts
    epsilon: float = EPSILON  # entropic regularisation, in units of cost
    mass: float = 1.0  # share of the mass that is transported, in (0, 1]
    memory_mb: int = 512  # MiB that database patches may take
    threads: int = 0  # on a CPU; 0 takes every core
    prune: int = 0  # ranks that pruning keeps exact; 0 compares every candidate


@dataclass(frozen=True)
class RerankOptions:
    """Re-ranking."""

    marginals: FromGlobals | None = option(
        None, "how much each patch counts; as the run's weight was fixed, if left out"
    )
    epsilon: PositiveFloat | None = option(None, "entropic regularisation, in units of cost (1 - cosine); likewise")
    mass: Share | None = option(None, "share of the mass that is transported, below 1 is partial transport; likewise")
    memory_mb: PositiveInt = option(512, "memory that database patches may take while re-ranking, MiB")
    threads: NonNegativeInt = option(0, "threads that re-rank on a CPU; 0 takes every core")
    prune: NonNegativeInt = option(0, "skip candidates that a bound proves outside the first N ranks; 0 skips none")

    def config(self, recorded: Mapping[str, Any]) -> RerankConfig:
        """The options, and for those left out what the run's calibration recorded, or else the defaults."""
        asked = {"marginals": self.marginals, "epsilon": self.epsilon, "mass": self.mass}
        known = {name: recorded[name] for name in asked if name in recorded}
        given = {name: value for name, value in asked.items() if value is not None}
        return RerankConfig(**{**known, **given}, memory_mb=self.memory_mb, threads=self.threads, prune=self.prune)
