"""Photos that were not added to a map, and the reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vpr.base.errors import VprError
from vpr.positions.errors import MapError
from vpr.positions.map_frame import FRAMES, Kind

NAMES_SHOWN = 3  # photos to list by name for each reason


@dataclass(frozen=True)
class SkippedPhotos:
    """Photos that were not added to a map, by reason."""

    without: Sequence[str] = ()  # paths of photos without a position
    missing: Sequence[str] = ()  # names in lists for which there is no photo
    unreadable: Mapping[str, str] = field(default_factory=dict)  # the problem of each unreadable photo, by path

    def __len__(self) -> int:
        return len(self.without) + len(self.missing) + len(self.unreadable)

    def __or__(self, other: "SkippedPhotos") -> "SkippedPhotos":
        unreadable = {**self.unreadable, **other.unreadable}
        return SkippedPhotos((*self.without, *other.without), (*self.missing, *other.missing), unreadable)

    def lines(self) -> list[str]:
        """One line for each reason: the number of photos, and the first names.

        >>> SkippedPhotos(missing=["a.jpg", "b.jpg"]).lines()
        ['2 photos of a list are missing and are left out: a.jpg, b.jpg']
        """
        reasons = (
            ([path.rpartition("/")[2] for path in self.without], "have no position and are left out"),
            (self.missing, "of a list are missing and are left out"),
            ([*self.unreadable.values()], "cannot be read and are left out"),
        )
        return [f"{len(names)} photos {why}: {first_names(names)}" for names, why in reasons if names]


def nothing_to_add(skipped: SkippedPhotos, kind: Kind = "earth") -> MapError:
    """The error if no photo remains to be added."""
    if skipped.unreadable:
        return MapError(f"none of {len(skipped)} photos can be added: {first_names([*skipped.unreadable.values()])}")
    frame = FRAMES[kind]
    by_folders = f", or give --folders {frame.folders}" if frame.folders else ""
    remedy = f"add a {frame.lists} of them ({frame.example}){by_folders}"
    return MapError(f"none of {len(skipped)} photos has {frame.part}", remedy=remedy)


def first_names(names: Sequence[str]) -> str:
    """The first names, and the number of the others.

    >>> first_names(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def problem_of(error: VprError | str) -> str:
    """The problem in an error of a photo, or in its text, without the remedy, which is for datasets.

    >>> problem_of("a.jpg is missing; unpack it again"), problem_of("a.heic needs another package: pip install x")
    ('a.jpg is missing', 'a.heic needs another package: pip install x')
    """
    return (error if isinstance(error, VprError) else VprError(error)).what
