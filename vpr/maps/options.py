"""Options of locating."""

from dataclasses import dataclass

from vpr.base.settings import NonNegativeFloat, NonNegativeInt, PositiveInt, UpToOne, option, require
from vpr.maps.errors import MapError


@dataclass(frozen=True)
class LocateConfig:
    """Locating.

    Raises MapError for a value out of range.
    """

    top: PositiveInt = option(5, "matches that are told of each photo")
    threshold: UpToOne = option(0.5, "least probability of a photo that is on the map; 0 refuses none")
    familiarity: UpToOne = option(0.1, "least familiarity of a photo that is on the map; 0 refuses none")
    depth: PositiveInt = option(100, "photos of the map that are compared by their patches")
    sequence: bool = option(
        False, "the photos of a folder are the frames of a drive, in the order of their names, and vote"
    )
    window: NonNegativeInt = option(2, "frames on each side that vote with --sequence")
    reach: NonNegativeFloat = option(20.0, "metres between a frame of a drive and the next, at most")

    def __post_init__(self) -> None:
        try:
            require(self)
        except ValueError as error:
            raise MapError(str(error)) from None
