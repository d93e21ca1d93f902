"""Settings of re-ranking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vpr.base.settings import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share, option
from vpr.transport.marginals import FromGlobals, Marginals
from vpr.transport.problem import EPSILON, Transport

PROBLEM = ("marginals", "epsilon", "mass")  # the settings of the transport problem


@dataclass(frozen=True)
class RerankConfig:
    """How candidates are compared, and what the work may take."""

    marginals: Marginals = "complement"  # how much each patch counts
    epsilon: float = EPSILON  # entropic regularisation, in units of cost
    mass: float = 1.0  # share of the mass that is transported, in (0, 1]
    memory_mb: int = 512  # MiB that database patches may take
    threads: int = 0  # on a CPU; 0 takes every core
    prune: int = 0  # ranks that pruning keeps exact; 0 compares every candidate

    @property
    def transport(self) -> Transport:
        """The transport problem."""
        return Transport(self.marginals, self.epsilon, self.mass)


@dataclass(frozen=True)
class ProblemOptions:
    """Transport."""

    marginals: Marginals | None = option(
        None,
        "how much each patch counts; as the run's weight was fixed, if left out. rollout is for vision transformers",
    )
    epsilon: PositiveFloat | None = option(None, "entropic regularisation, in units of cost (1 - cosine); likewise")
    mass: Share | None = option(None, "share of the mass that is transported, below 1 is partial transport; likewise")

    def config(self, calibration: Calibration) -> RerankConfig:
        """The options; for those that are left out, what the run's calibration fixed."""
        return calibration.config(**self._asked())

    def overridden(self, calibration: Calibration) -> str:
        """The settings of the calibration that these options replace by other values, as text; empty for none."""
        others = [name for name, value in self._asked().items() if value != getattr(calibration, name)]
        return ", ".join(f"{name} {getattr(calibration, name)}" for name in others)

    def _asked(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in PROBLEM if getattr(self, name) is not None}


@dataclass(frozen=True)
class RerankOptions(ProblemOptions):
    """Re-ranking."""

    memory_mb: PositiveInt = option(512, "memory that database patches may take while re-ranking, MiB")
    threads: NonNegativeInt = option(0, "threads that re-rank on a CPU; 0 takes every core")
    prune: NonNegativeInt = option(0, "skip candidates that a bound proves outside the first N ranks; 0 skips none")

    def config(self, calibration: Calibration) -> RerankConfig:
        """As of the transport problem, with what the work may take."""
        return replace(super().config(calibration), memory_mb=self.memory_mb, threads=self.threads, prune=self.prune)


@dataclass(frozen=True)
class Calibration:
    """What was fixed together on a held-out city: the weight, and the transport problem that it belongs to."""

    weight: NonNegativeFloat = option(5.0, "weight of S_struct, S_global having weight 1")
    marginals: FromGlobals = option("complement", "how much each patch counts")
    epsilon: PositiveFloat = option(RerankConfig.epsilon, "entropic regularisation, in units of cost")
    mass: Share = option(RerankConfig.mass, "share of the mass that is transported")

    def config(self, **others: Any) -> RerankConfig:
        """How candidates are compared: by this transport problem, unless ``others`` say otherwise."""
        return RerankConfig(**{**{name: getattr(self, name) for name in PROBLEM}, **others})
