"""The photos of a side by the names that people write: paths, parts of paths, with or without the ending."""

from __future__ import annotations

from collections.abc import Sequence

from vpr.base.photo_files import ENDINGS

AMBIGUOUS = -1


class PhotoIndex:
    """The numbers of photos by name.

    A name is the path of a photo within its folder, the end of its whole path, or a longer path that ends with the path
    within the folder. The ending of photos may be missing.
    """

    def __init__(self, files: Sequence[str], names: Sequence[str]) -> None:
        """files: absolute paths of N photos. names: their paths within the folder of their side."""
        self._files, self._names = files, names
        self._by_name: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            self._by_name.setdefault(without_ending(name.rpartition("/")[2]), []).append(number)

    def find(self, name: str, longer: bool = True) -> int | None:
        """The number of a photo; None if there is no such photo, and `AMBIGUOUS` if the name may be that of several.

        longer: whether a path that only ends with that of a photo within its folder is its name, too.
        """
        name = name.replace("\\", "/").removeprefix("./")
        bare = without_ending(name)
        candidates = self._by_name.get(bare.rpartition("/")[2], [])
        if bare != name and any(self._names[number].endswith(name[len(bare) :]) for number in candidates):
            candidates = [number for number in candidates if self._names[number].endswith(name[len(bare) :])]
        exact = [number for number in candidates if without_ending(self._names[number]) == bare]
        fitting = (
            exact
            or [number for number in candidates if _ends_with(without_ending(self._files[number]), bare)]
            or [number for number in candidates if longer and _ends_with(bare, without_ending(self._names[number]))]
        )
        return None if not fitting else AMBIGUOUS if len(fitting) > 1 else fitting[0]


def _ends_with(path: str, end: str) -> bool:
    """Whether the last parts of a path are those of another."""
    return f"/{path.lstrip('/')}".endswith(f"/{end.lstrip('/')}")


def without_ending(name: str) -> str:
    """A file name without the ending of photos.

    >>> without_ending("a/b.JPG"), without_ending("@1.5@2.5@")
    ('a/b', '@1.5@2.5@')
    """
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in ENDINGS else name
