"""One path for each photo, whatever way leads to it, and the files that a list names."""

import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from vpr.base.photo_files import ENDINGS
from vpr.maps.errors import MapError

IMAGES = "images"  # the folder of photos beside a list, as in the MSLS layout


class RealPaths:
    """Paths from the root whose folder is followed through links; the photo itself may still be one.

    Each folder is looked at once, no photo is.
    """

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, path: str | Path) -> str:
        """With forward slashes."""
        folder, _, name = Path(os.path.abspath(path)).as_posix().rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = Path(os.path.realpath(folder or "/")).as_posix().rstrip("/")
        return f"{self._folders[folder]}/{name}"


class ListedFiles:
    """The files that a list of photos names.

    They are looked for from the list's folder on, from its folder ``images``, and from a folder of the list's name:
    first as they are written, then with slashes for backslashes, then whatever the case and the composition of letters,
    as other systems compare names, then with an ending of photos behind them.
    """

    def __init__(self, listed: Path) -> None:
        self._bases = (str(listed.parent), str(listed.parent / IMAGES), str(listed.with_suffix("")))
        self._folders: dict[str, dict[str, list[str]]] = {}

    def find(self, names: Sequence[str], where: str) -> tuple[Path | None, str]:
        """The file that one of the names leads to, and that name; None and the first name where none does.

        A name that is the end of another says less, and is left aside. Raises MapError if the names lead to several
        files, or one name could be several.
        """
        names = [name for name in names if not any(_ends(other, name) for other in names)]
        for look in (self._as_written, self._alike, self._with_ending):
            found = dict[str, tuple[Path, str]]()
            for name in dict.fromkeys(names):
                if (path := look(name, where)) is not None:
                    found.setdefault(os.path.abspath(path), (path, name))
            if len(found) > 1:
                named = " and ".join(name for _, name in found.values())
                raise MapError(f"{where} names several photos ({named[:80]}); keep one")
            if found:
                return next(iter(found.values()))
        return None, names[0]

    def _as_written(self, name: str, where: str) -> Path | None:
        for written in dict.fromkeys((name, name.replace("\\", "/"))):
            for base in self._bases:
                if os.path.isfile(path := os.path.join(base, written)):
                    return Path(path)
        return None

    def _alike(self, name: str, where: str, endings: Sequence[str] = ("",)) -> Path | None:
        """The file of that name, with one of the endings, whatever the case and composition of its letters."""
        *folders, last = PurePosixPath(name.replace("\\", "/")).parts or ("",)
        folded = _folded(last)
        for base in self._bases:
            place: str | None = base
            for folder in folders:
                place = None if place is None else self._child(place, folder, where, os.path.isdir)
            if place is None:
                continue
            for ending in (ending for ending in endings if folded + ending in self._listing(place)):
                if found := self._child(place, last + ending, where, os.path.isfile):
                    return Path(found)
        return None

    def _with_ending(self, name: str, where: str) -> Path | None:
        return self._alike(name, where, ENDINGS)

    def _child(self, place: str, name: str, where: str, is_kind: Callable[[str], bool]) -> str | None:
        """What a folder holds of that name; raises MapError where it holds several that differ in case alone."""
        if is_kind(path := os.path.join(place, name)):
            return path
        alike = self._listing(place).get(_folded(name), [])
        fitting = [entry for entry in alike if is_kind(os.path.join(place, entry))]
        if len(fitting) > 1:
            fitting = [entry for entry in fitting if _composed(entry) == _composed(name)] or fitting
        if len(fitting) > 1:
            files = " or ".join(sorted(fitting))[:80]
            raise MapError(f"{where}: {name} could be {files}; write it as the file is named")
        return os.path.join(place, fitting[0]) if fitting else None

    def _listing(self, place: str) -> dict[str, list[str]]:
        """What a folder holds, by name without regard to case; read once."""
        if place not in self._folders:
            entries: dict[str, list[str]] = {}
            for entry in _entries(place):
                entries.setdefault(_folded(entry), []).append(entry)
            self._folders[place] = entries
        return self._folders[place]


def _ends(path: str, end: str) -> bool:
    """Whether a path has more folders in front of another."""
    path, end = (name.replace("\\", "/").removeprefix("./") for name in (path, end))
    return path.endswith(f"/{end}")


def _entries(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except (OSError, ValueError):
        return []


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else _composed(_composed(name).casefold())
