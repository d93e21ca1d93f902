"""Photos that were not added to a map, and the reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vpr.base.errors import VprError
from vpr.maps.errors import MapError

NAMED = 3  # photos to list by name for each reason


@dataclass(frozen=True)
class LeftOut:
    """Photos that were not added to a map, by reason."""

    without: Sequence[str] = ()  # paths of photos without a position
    missing: Sequence[str] = ()  # names in lists for which there is no photo
    unreadable: Mapping[str, str] = field(default_factory=dict)  # the problem of each unreadable photo, by path

    def __len__(self) -> int:
        return len(self.without) + len(self.missing) + len(self.unreadable)

    def __or__(self, other: "LeftOut") -> "LeftOut":
        unreadable = {**self.unreadable, **other.unreadable}
        return LeftOut((*self.without, *other.without), (*self.missing, *other.missing), unreadable)

    def lines(self) -> list[str]:
        """One line for each reason: the number of photos, and the first names.

        >>> LeftOut(missing=["a.jpg", "b.jpg"]).lines()
        ['2 photos of a list are missing and are left out: a.jpg, b.jpg']
        """
        reasons = (
            ([path.rpartition("/")[2] for path in self.without], "have no position and are left out"),
            (self.missing, "of a list are missing and are left out"),
            ([*self.unreadable.values()], "cannot be read and are left out"),
        )
        return [f"{len(names)} photos {why}: {listed(names)}" for names, why in reasons if names]


def nothing_to_add(left_out: LeftOut) -> MapError:
    """The error if no photo remains to be added."""
    if left_out.unreadable:
        return MapError(f"none of {len(left_out)} photos can be added: {listed([*left_out.unreadable.values()])}")
    return MapError(
        f"none of {len(left_out)} photos has a position",
        remedy="add a CSV or GeoJSON of them (file,latitude,longitude)",
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and the number of the others.

    >>> listed(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def reason(error: VprError | str) -> str:
    """The problem of a photo, by its error or the text of it: without the remedy, which is for data sets.

    >>> reason("a.jpg is missing; unpack it again"), reason("a.heic needs another package: pip install pillow-heif")
    ('a.jpg is missing', 'a.heic needs another package: pip install pillow-heif')
    """
    return (error if isinstance(error, VprError) else VprError(error)).what
