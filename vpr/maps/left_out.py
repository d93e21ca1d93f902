"""Photos that did not go into a map, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vpr.maps.errors import MapError

NAMED = 3  # photos that are named of each kind


@dataclass(frozen=True)
class LeftOut:
    """Photos that did not go into a map."""

    without: Sequence[str] = ()  # paths of photos that have no position
    missing: Sequence[str] = ()  # names of lists for which there is no photo
    unreadable: Mapping[str, str] = field(default_factory=dict)  # what is wrong with those that cannot be read, by path

    def __len__(self) -> int:
        return len(self.without) + len(self.missing) + len(self.unreadable)

    def __or__(self, other: "LeftOut") -> "LeftOut":
        unreadable = {**self.unreadable, **other.unreadable}
        return LeftOut((*self.without, *other.without), (*self.missing, *other.missing), unreadable)

    def said(self) -> list[str]:
        """A line for each kind, which counts them and names the first.

        >>> LeftOut(missing=["a.jpg", "b.jpg"]).said()
        ['2 photos of a list are not there and are left out: a.jpg, b.jpg']
        """
        kinds = (
            ([path.rpartition("/")[2] for path in self.without], "have no position and are left out"),
            (self.missing, "of a list are not there and are left out"),
            ([*self.unreadable.values()], "cannot be read and are left out"),
        )
        return [f"{len(names)} photos {what}: {listed(names)}" for names, what in kinds if names]


def nothing_to_add(left_out: LeftOut) -> MapError:
    """What is said where nothing is left to add."""
    if left_out.unreadable:
        return MapError(f"none of {len(left_out)} photos can be added: {listed([*left_out.unreadable.values()])}")
    return MapError(
        f"none of {len(left_out)} photos has a position; add a CSV or GeoJSON of them (file,latitude,longitude)"
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are.

    >>> listed(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def reason(error: object) -> str:
    """What is wrong with a photo, by its error: without the remedy, which is for data sets.

    >>> reason("a.jpg is missing; unpack it again"), reason("a.heic needs another package: pip install pillow-heif")
    ('a.jpg is missing', 'a.heic needs another package: pip install pillow-heif')
    """
    what, mark, _ = str(error).rpartition("; ")
    return what if mark else str(error)
