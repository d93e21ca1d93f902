"""The photos of one side of a set: those of a folder, of a list of paths, or of a list with positions."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from vpr.base.files import is_utf8
from vpr.base.photo_files import ENDINGS, WHITE_SPACE, is_photo, skipped_text, walk_folders
from vpr.base.progress import progress
from vpr.datasets.errors import DatasetError
from vpr.datasets.places.coordinates import Coordinates
from vpr.datasets.places.names import are_in_degrees, read_names
from vpr.positions.exif import find_exif
from vpr.positions.map_frame import Position
from vpr.positions.paths import RealPaths
from vpr.positions.tables import LIST_SUFFIXES, ListEntry, read_list

log = logging.getLogger("vpr")

PATH_LIST = "_images_paths.txt"  # the end of the name of a folder's list of files


class FilesOf(Sequence[str]):
    """The absolute paths of files by their names in a folder, joined when they are asked for: there may be millions."""

    def __init__(self, folder: str, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [f"{self.folder}/{name}" for name in self.names[number]]
        return f"{self.folder}/{self.names[number]}"


@dataclass(frozen=True, eq=False)
class Photos:
    """The photos of one side, without positions."""

    place: Path  # the folder or list that they come from
    files: Sequence[str]  # N absolute paths, forward slashes
    names: list[str]  # N, within the folder

    def take(self, rows: Sequence[int] | np.ndarray) -> Photos:
        """Some of the photos, by number."""
        names = [self.names[row] for row in rows]
        if isinstance(self.files, FilesOf):
            return Photos(self.place, FilesOf(self.files.folder, names), names)
        return Photos(self.place, [self.files[row] for row in rows], names)


@dataclass(frozen=True, eq=False)
class PlacedPhotos:
    """The photos of one side with their positions, of which any may be unknown."""

    photos: Photos
    coordinates: Coordinates
    headings: np.ndarray  # (N,) degrees from north, clockwise; NaN if unknown
    source: str  # of the positions: 'names', 'list', 'EXIF', or 'none'

    def take(self, rows: np.ndarray) -> PlacedPhotos:
        """Some of the photos, by number."""
        return PlacedPhotos(self.photos.take(rows), self.coordinates.take(rows), self.headings[rows], self.source)


def folder_photos(folder: Path, check: bool = True) -> Photos:
    """The photos of a folder and its subfolders, by name; those of the list of paths beside it if there is one.

    Hidden files are left out, and other files are counted in the log. check: look for the files that a list names;
    otherwise they are missed when they are opened. Raises DatasetError for a folder that is missing or without photos,
    and for a list that names a missing file.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}; check the path")
    base = Path(os.path.abspath(folder)).as_posix().rstrip("/")
    listed = Path(f"{base}{PATH_LIST}")
    names = _listed_names(listed, base, check) if listed.is_file() else _walked_names(folder)
    if not names:
        raise DatasetError(f"{folder} has no photos; give the folder that holds them")
    if bad := next((name for name in names if not is_utf8(name)), None):
        raise DatasetError(f"{bad!r} in {folder}: the name is not UTF-8; rename it")
    return Photos(folder, FilesOf(base, names), names)


def _walked_names(folder: Path) -> list[str]:
    """The names of the photos in a folder, relative to it."""
    others, found = Counter[str](), list[str]()
    base = os.path.abspath(folder).rstrip("/")
    bar = progress(title=f"looking for photos in {folder}", unit="photo")
    with bar:
        for place, names in walk_folders(Path(base), lambda error: others.update(["folder that may not be read"])):
            inside = place[len(base) + 1 :]
            for name in names:
                path = f"{place}/{name}"
                ending = name[name.rfind(".") :].lower() if "." in name else ""
                if os.path.isfile(path) if ending in ENDINGS else is_photo(Path(path)):
                    found.append(f"{inside}/{name}" if inside else name)
                else:
                    others[ending or "without an ending"] += 1
            bar.update(len(names))
    if others:
        log.info("%s: %s", folder, skipped_text(others))
    return sorted(found)


def _listed_names(listed: Path, base: str, check: bool) -> list[str]:
    """The names in a list of paths, each once. Raises DatasetError for a path that leaves the folder
    or is no file, for a list without names, and for text that is not UTF-8."""
    try:
        with listed.open(encoding="utf-8-sig", newline="\n") as file:
            lines = (line.strip(WHITE_SPACE) for line in file)
            paths = (line.replace("\\", "/").removeprefix(f"{base}/").removeprefix("./") for line in lines if line)
            names = list(dict.fromkeys(paths))
    except UnicodeDecodeError as error:
        raise DatasetError(f"{listed} is not UTF-8 text; write one path per line") from error
    inside = base.rpartition("/")[2] + "/"
    if names and all(name.startswith(inside) for name in names) and not os.path.isfile(f"{base}/{names[0]}"):
        names = [name.removeprefix(inside) for name in names]  # paths from the folder above
    bad = next((number for number, name in enumerate(names) if leaves_folder(name)), None)
    if bad is None and check:
        bad = first_missing([f"{base}/{name}" for name in names])
    if bad is not None:
        remedy = "correct the list, or remove it"
        raise DatasetError(f"{listed} names {names[bad]}, which is not in {base}; {remedy}")
    if not names:
        raise DatasetError(f"{listed} names no photo; fill it with one path per line, or remove it")
    log.info("%s: %d photos, by %s", base, len(names), listed.name)
    return names


def first_missing(files: Sequence[str]) -> int | None:
    """The number of the first of several absolute paths without a file; None if all are there.

    Each folder is listed once, because a look at each file takes long.
    """
    inside: dict[str, set[str]] = {}
    for number, file in enumerate(files):
        folder, _, name = file.rpartition("/")
        if folder not in inside:
            try:
                inside[folder] = {*os.listdir(folder or "/")}
            except OSError:
                inside[folder] = set()
        if name not in inside[folder] and not os.path.isfile(file):  # its case may differ on some systems
            return number
    return None


def leaves_folder(name: str) -> bool:
    """Whether a path is not below the folder that it starts from; such a file of others may name anything."""
    return name.startswith("/") or ".." in name.split("/")


def is_list(path: Path) -> bool:
    """Whether a path is a list of photos with positions, by its ending."""
    return path.is_file() and path.suffix.lower() in LIST_SUFFIXES


def list_photos(path: Path, entries: Iterable[ListEntry]) -> tuple[PlacedPhotos, int]:
    """The photos of a list with positions, and the number of those whose file is missing.

    Raises DatasetError if no photo of it exists, and for a photo with two positions.
    """
    real, missing, headings = RealPaths(), 0, dict[str, float]()
    found: dict[str, tuple[str, Position | None]] = {}
    for entry in entries:
        if entry.path is None:
            missing += 1
        else:
            file = real(entry.path)
            name, earlier = found.get(file, (entry.name.replace("\\", "/"), None))
            found[file] = name, one_position(path, entry, earlier)
            if file not in headings or not math.isnan(entry.heading):
                headings[file] = entry.heading
    if not found:
        raise DatasetError(f"{path} names no photo that exists; its files are searched for beside it and in images/")
    photos = Photos(path, list(found), [name for name, _ in found.values()])
    coordinates = Coordinates.of_degrees([position for _, position in found.values()])
    return PlacedPhotos(photos, coordinates, np.array([headings[file] for file in found]), "list"), missing


def one_position(listed: Path, entry: ListEntry, earlier: Position | None) -> Position | None:
    """The position of a photo that may have an earlier row; raises DatasetError if that has another position."""
    if earlier is not None and entry.position is not None and earlier != entry.position:
        what = f"{listed}, row {entry.row}: {entry.name} has another position in an earlier row"
        raise DatasetError(what, thing=listed, remedy="keep one of the rows")
    return earlier if entry.position is None else entry.position


def read_side(place: Path, crs: str, check: bool = True) -> tuple[PlacedPhotos, int]:
    """The photos of a folder, without positions yet, or of a list with positions; and the number of listed photos that
    are missing. check: as in `folder_photos`."""
    if is_list(place):
        return list_photos(place, read_list(place, crs))
    return unplaced(folder_photos(place, check)), 0


def place_photos(sides: Sequence[PlacedPhotos], crs: str) -> list[PlacedPhotos]:
    """Both sides with the positions of their names, or if no name of a side has one, of its EXIF."""
    return [side if side.source != "none" else _place_by_exif(side) for side in place_by_names(sides, crs)]


def place_by_names(sides: Sequence[PlacedPhotos], crs: str) -> list[PlacedPhotos]:
    """Both sides with the positions of their names, unless a side has others already.

    Raises DatasetError if it is not clear whether the names have metres or degrees.
    """
    open_sides = [side for side in sides if side.source == "none"]
    in_degrees = not crs and are_in_degrees(_file_name(name) for side in open_sides for name in side.photos.names)
    return [_place_by_names(side.photos, crs, in_degrees) if side.source == "none" else side for side in sides]


def _place_by_names(photos: Photos, crs: str, in_degrees: bool) -> PlacedPhotos:
    coordinates, headings = read_names([_file_name(name) for name in photos.names], crs, in_degrees)
    return PlacedPhotos(photos, coordinates, headings, "names" if coordinates.known.any() else "none")


def _place_by_exif(side: PlacedPhotos) -> PlacedPhotos:
    files = progress(side.photos.files, title="reading EXIF", unit="photo")
    found = [find_exif(Path(file)) for file in files]
    coordinates = Coordinates.of_degrees([exif.position for exif in found])
    headings = np.array([np.nan if exif.heading is None else exif.heading for exif in found])
    return PlacedPhotos(side.photos, coordinates, headings, "EXIF" if coordinates.known.any() else "none")


def _file_name(name: str) -> str:
    return name.rpartition("/")[2]


def unplaced(photos: Photos) -> PlacedPhotos:
    """Photos without positions."""
    count = len(photos.files)
    return PlacedPhotos(photos, Coordinates.unknown(count), np.full(count, np.nan), "none")
