"""One path for each photo, also behind links; and the files that a list names."""

import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from vpr.base.photo_files import ENDINGS
from vpr.positions.errors import MapError

IMAGES = "images"  # the folder of photos beside a list, as in the MSLS layout


class RealPaths:
    """Absolute paths in which links in folders are resolved; the photo itself may be a link.

    Each folder is resolved once.
    """

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, path: str | Path) -> str:
        """The resolved path, with forward slashes."""
        folder, _, name = Path(os.path.abspath(path)).as_posix().rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = Path(os.path.realpath(folder or "/")).as_posix().rstrip("/")
        return f"{self._folders[folder]}/{name}"


class ListedFiles:
    """The files that a list of photos names.

    They are searched for in the folder of the list, in its folder ``images``, in a folder with the name of the list,
    and in other folders and beside them. First the name must match exactly, or with slashes in place of backslashes.
    Then case and Unicode composition are ignored, as other systems do. Then an extension of photos may be missing.
    """

    def __init__(self, listed: Path, folders: Sequence[Path] = ()) -> None:
        own = listed.parent, listed.parent / IMAGES, listed.with_suffix("")
        others = (place for folder in folders for place in (folder, Path(os.path.abspath(folder)).parent))
        self._bases = tuple(map(str, (*own, *others)))
        self._folders: dict[str, dict[str, list[str]]] = {}

    def find(self, names: Sequence[str], where: str) -> tuple[Path | None, str]:
        """The file for one of the names of a photo, and that name; None and the first name if there is no file.

        A name that is the end of another name is ignored. where: the place in the list, for error messages. Raises
        MapError if the names are those of several files, or one name could be several files.
        """
        names = [name for name in names if not any(_ends_with(other, name) for other in names)]
        for find in (self._find_exact, self._find_similar, self._find_with_ending):
            files = dict[str, tuple[Path, str]]()
            for name in dict.fromkeys(names):
                if (path := find(name, where)) is not None:
                    files.setdefault(os.path.abspath(path), (path, name))
            if len(files) > 1:
                several = " and ".join(name for _, name in files.values())
                raise MapError(f"{where} names several photos ({several[:80]}); keep one")
            if files:
                return next(iter(files.values()))
        return None, names[0]

    def _find_exact(self, name: str, where: str) -> Path | None:
        for written in dict.fromkeys((name, name.replace("\\", "/"))):
            for base in self._bases:
                if os.path.isfile(path := os.path.join(base, written)):
                    return Path(path)
        return None

    def _find_similar(self, name: str, where: str, endings: Sequence[str] = ("",)) -> Path | None:
        """The file of that name with one of the extensions, ignoring case and Unicode composition."""
        *folders, last = PurePosixPath(name.replace("\\", "/")).parts or ("",)
        folded = _fold_case(last)
        for base in self._bases:
            place: str | None = base
            for folder in folders:
                place = None if place is None else self._find_entry(place, folder, where, os.path.isdir)
            if place is None:
                continue
            for ending in (ending for ending in endings if folded + ending in self._listing(place)):
                if file := self._find_entry(place, last + ending, where, os.path.isfile):
                    return Path(file)
        return None

    def _find_with_ending(self, name: str, where: str) -> Path | None:
        return self._find_similar(name, where, ENDINGS)

    def _find_entry(self, place: str, name: str, where: str, is_kind: Callable[[str], bool]) -> str | None:
        """The entry of a folder with that name; raises MapError if several differ only in case."""
        if is_kind(path := os.path.join(place, name)):
            return path
        similar = self._listing(place).get(_fold_case(name), [])
        matching = [entry for entry in similar if is_kind(os.path.join(place, entry))]
        if len(matching) > 1:
            matching = [entry for entry in matching if _compose(entry) == _compose(name)] or matching
        if len(matching) > 1:
            files = " or ".join(sorted(matching))[:80]
            raise MapError(f"{where}: {name} could be {files}; write it as the file is named")
        return os.path.join(place, matching[0]) if matching else None

    def _listing(self, place: str) -> dict[str, list[str]]:
        """The entries of a folder by folded name; read once."""
        if place not in self._folders:
            entries: dict[str, list[str]] = {}
            for entry in _entries(place):
                entries.setdefault(_fold_case(entry), []).append(entry)
            self._folders[place] = entries
        return self._folders[place]


def _ends_with(path: str, end: str) -> bool:
    """Whether a path is another path with more folders in front."""
    path, end = (name.replace("\\", "/").removeprefix("./") for name in (path, end))
    return path.endswith(f"/{end}")


def _entries(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except (OSError, ValueError):
        return []


def _compose(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _fold_case(name: str) -> str:
    return name.lower() if name.isascii() else _compose(_compose(name).casefold())
