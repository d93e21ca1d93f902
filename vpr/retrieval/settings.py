"""Options and settings of re-ranking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vpr.base.settings import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share, option
from vpr.transport.marginals import FROM_WEIGHTS, Calibrated, Marginals
from vpr.transport.problem import EPSILON, Transport

GEOMETRY = (
    "number of first candidates whose order also goes by geometry: whether their patches match as one scene does; 0 "
    "leaves geometry out; default: that of the run's calibration, 20"
)
FIRST_BY_GEOMETRY = 20
FEWEST_PATCHES = 25  # patches of an image from which on geometry is used by default; a map has 6 parameters
TRANSPORT_SETTINGS = ("marginals", "epsilon", "mass")


@dataclass(frozen=True)
class RerankConfig:
    """The comparison of candidates: the transport problem, and limits of the computation."""

    marginals: Marginals = "complement"  # weights of the patches
    epsilon: float = EPSILON  # entropic regularisation, in units of transport cost
    mass: float = 1.0  # transported mass, in (0, 1]
    memory_mb: int = 512  # maximum memory for database patches, MiB
    threads: int = 0  # CPU threads; 0 uses all cores
    prune: int = 0  # number of first ranks that pruning keeps exact; 0 compares all candidates
    geometry: int = 0  # number of first candidates of a query whose geometry is compared; 0 for none

    @property
    def transport(self) -> Transport:
        """The transport problem."""
        return Transport(self.marginals, self.epsilon, self.mass)

    @property
    def needs_weights(self) -> bool:
        """Whether the marginals need a weight of each patch."""
        return self.marginals in FROM_WEIGHTS


@dataclass(frozen=True)
class TransportOptions:
    """Transport."""

    marginals: Marginals | None = option(
        None,
        "how patches are weighted; uniform: equally; relevancy, inverse, complement and softmax: by their cosine with "
        "the other image's global descriptor; rollout: by attention, for vision transformers only; learnt: complement "
        "times a weight that the run has learnt (--patch-weights); default: the calibrated marginals of the run",
    )
    epsilon: PositiveFloat | None = option(
        None, "entropic regularisation, in units of cost (1 - cosine); default: the calibrated one"
    )
    mass: Share | None = option(
        None,
        "share of the patch weight that is transported, above 0, at most 1; below 1: partial transport; default: the "
        "calibrated share",
    )

    def config(self, calibration: Calibration) -> RerankConfig:
        """The settings of these options; those that are left out are taken from the run's calibration."""
        return calibration.config(**self._given_settings())

    def describe_overrides(self, calibration: Calibration) -> str:
        """The calibrated settings that these options override, as text; empty if there are none."""
        others = [name for name, value in self._given_settings().items() if value != getattr(calibration, name)]
        return ", ".join(f"{name} {getattr(calibration, name)}" for name in others)

    def _given_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in TRANSPORT_SETTINGS if getattr(self, name) is not None}


@dataclass(frozen=True)
class RerankOptions(TransportOptions):
    """Re-ranking."""

    memory_mb: PositiveInt = option(512, "maximum memory for database patches while re-ranking, MiB")
    threads: NonNegativeInt = option(0, "CPU threads for re-ranking; 0 uses all cores")
    prune: NonNegativeInt = option(
        0,
        "skip the transport of candidates that an upper bound keeps out of the first N ranks, which stay exact; 0 "
        "compares all",
    )
    geometry: NonNegativeInt | None = option(None, GEOMETRY)

    def config(self, calibration: Calibration) -> RerankConfig:
        """As `TransportOptions.config`, with the limits of the computation, and without geometry."""
        config = super().config(calibration)
        return replace(config, memory_mb=self.memory_mb, threads=self.threads, prune=self.prune)


@dataclass(frozen=True)
class Calibration:
    """The weight of S_struct and its transport problem, calibrated together on a held-out city."""

    weight: NonNegativeFloat = option(5.0, "weight of S_struct, relative to S_global")
    marginals: Calibrated = option("complement", "weights of the patches")
    epsilon: PositiveFloat = option(RerankConfig.epsilon, "entropic regularisation, in units of transport cost")
    mass: Share = option(RerankConfig.mass, "transported mass")
    geometry: NonNegativeInt = option(FIRST_BY_GEOMETRY, "number of first candidates whose order also goes by geometry")

    def default_geometry(self, patches: int) -> int:
        """The number of first candidates that are ordered by geometry unless an option says otherwise.

        patches: per image; few patches have no geometry.
        """
        return self.geometry if patches >= FEWEST_PATCHES else 0

    def config(self, **changes: Any) -> RerankConfig:
        """The settings of re-ranking with this transport problem, without geometry. changes: fields of other values."""
        return RerankConfig(**{**{name: getattr(self, name) for name in TRANSPORT_SETTINGS}, **changes})
