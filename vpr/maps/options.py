"""The settings of locating."""

from dataclasses import dataclass

from vpr.base.settings import NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval, check_stage, option
from vpr.maps.errors import MapError
from vpr.retrieval.settings import GEOMETRY


@dataclass(frozen=True)
class LocateConfig:
    """Locating.

    Raises MapError for a value out of range.
    """

    top: PositiveInt = option(5, "matches to report per photo")
    threshold: UnitInterval = option(0.5, 'minimum probability for "on the map", 0 to 1; 0 disables this test')
    familiarity: UnitInterval = option(
        0.1, 'minimum familiarity for "on the map": share of unknown places with a weaker match; 0 disables this test'
    )
    depth: PositiveInt = option(100, "photos of the map to re-rank per photo")
    geometry: NonNegativeInt = option(0, GEOMETRY)
    sequence: bool = option(
        False, "treat the photos of a folder as frames of one drive, sorted by name; neighbouring frames vote"
    )
    window: NonNegativeInt = option(2, "with --sequence: frames on each side that vote; 0 disables voting")
    reach: NonNegativeFloat = option(
        20.0,
        "with --sequence: maximum distance between consecutive frames, metres; 25 m are added for errors of positions",
    )

    def __post_init__(self) -> None:
        try:
            check_stage(self)
        except ValueError as error:
            raise MapError(str(error)) from None
