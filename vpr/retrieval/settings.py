"""Settings of re-ranking."""

from dataclasses import dataclass

from vpr.base.settings import NonNegativeInt, PositiveFloat, PositiveInt, Share, option
from vpr.transport.marginals import FromGlobals
from vpr.transport.problem import EPSILON


@dataclass(frozen=True)
class RerankConfig:
    """Re-ranking."""

    marginals: FromGlobals = option("complement", "how much each patch counts")
    epsilon: PositiveFloat = option(EPSILON, "entropic regularisation, in units of cost (1 - cosine)")
    mass: Share = option(1.0, "share of the mass that is transported, in (0, 1]; below 1 is partial transport")
    memory_mb: PositiveInt = option(512, "memory that database patches may take while re-ranking, MiB")
    threads: NonNegativeInt = option(0, "threads that re-rank on a CPU; 0 takes every core")
    prune: NonNegativeInt = option(0, "skip candidates that a bound proves outside the first N ranks; 0 skips none")
