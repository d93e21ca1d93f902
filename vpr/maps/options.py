"""The settings of locating."""

from dataclasses import dataclass
from typing import Literal

from vpr.base.settings import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval, check_stage, option
from vpr.positions.errors import MapError
from vpr.retrieval.settings import GEOMETRY

FolderRole = Literal["walk", "places"]  # what folders of photos are, and so what positions these have


@dataclass(frozen=True, kw_only=True)
class DecisionConfig:
    """Search, and decision whether a photo is on the map.

    Raises MapError for a value out of range.
    """

    threshold: UnitInterval = option(
        0.5, "minimum probability that the place is on the map, 0 to 1; 0 disables this test"
    )
    familiarity: UnitInterval = option(
        0.0, "minimum familiarity, beside --threshold: share of the map's unknown places with a weaker match"
    )
    depth: PositiveInt = option(100, "photos of the map to re-rank per photo")
    geometry: NonNegativeInt | None = option(None, GEOMETRY)
    sequence: bool = option(
        False,
        "treat the photos of a folder as frames of one drive, in the order of their EXIF times, or else of their "
        "names; each frame is located by all of them",
    )

    def __post_init__(self) -> None:
        try:
            check_stage(self)
        except ValueError as error:
            raise MapError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class LocateConfig(DecisionConfig):
    """Locating.

    Raises MapError for a value out of range.
    """

    top: PositiveInt = option(5, "matches to report per photo")
    place: NonNegativeFloat = option(
        0.0, "size of a place, metres, or frames of a walk; 0 uses that of the map (vpr.map MAP info)"
    )
