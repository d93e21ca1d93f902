"""Photos and their positions, out of folders, files, lists and videos."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vpr.description.images import ImageError
from vpr.description.shown import photos_in
from vpr.maps.errors import MapError
from vpr.maps.exif import exif_position
from vpr.maps.left_out import LeftOut, reason
from vpr.maps.names import name_position
from vpr.maps.paths import RealPaths
from vpr.maps.tables import LISTS, Position, read_list


@dataclass(frozen=True)
class Photo:
    """A photo whose position is known."""

    path: Path  # as `RealPaths` gives it
    latitude: float  # degrees, WGS 84
    longitude: float

    @property
    def key(self) -> str:
        """What a map calls it."""
        return self.path.as_posix()


@dataclass
class Found:
    """What sources hold."""

    photos: list[Photo] = field(default_factory=list)
    without: list[Path] = field(default_factory=list)  # photos that have no position
    missing: list[str] = field(default_factory=list)  # names of lists for which there is no photo
    unreadable: dict[str, str] = field(default_factory=dict)  # what is wrong with photos, by path

    @property
    def left_out(self) -> LeftOut:
        """What cannot be added."""
        return LeftOut(tuple(path.as_posix() for path in self.without), tuple(self.missing), self.unreadable)


def find_photos(sources: tuple[Path, ...], crs: str = "", known: Mapping[str, Position] | None = None) -> Found:
    """The photos of folders (and the folders in them), of files, and of CSV and GeoJSON lists.

    Where it is no list that says it, the position is the one in the file's name, or else the one in its EXIF. crs: of
    eastings and northings that say none. known: positions of photos, by key, that need not be looked for again. A photo
    that is found twice has the position of the later list, and a link to a photo that is there is that photo. Raises
    MapError for sources that are not there or cannot be read.
    """
    found, photos, listed = Found(), dict[str, Photo](), set[str]()
    for source in sources:
        of_source = _of_source(source, crs, known or {}, found)
        if _is_list(source):
            listed |= {photo.key for photo in of_source}
        else:
            of_source = [photo for photo in of_source if photo.key not in listed]
        photos |= {photo.key: photo for photo in of_source}
    _follow_links(photos, listed, photos.keys() | (known or {}).keys())
    found.photos = list(photos.values())
    found.without = [path for path in dict.fromkeys(found.without) if path.as_posix() not in photos]
    return found


def _follow_links(photos: dict[str, Photo], listed: Collection[str], there: Collection[str]) -> None:
    """Have links that lead to photos which are there be those photos; listed: those whose position a list says."""
    for key in [key for key, photo in photos.items() if photo.path.is_symlink()]:
        path = Path(os.path.realpath(key))
        if (target := path.as_posix()) not in there:
            continue
        photo = replace(photos.pop(key), path=path)
        if target not in photos or (key in listed and target not in listed):
            photos[target] = photo


def _of_source(source: Path, crs: str, known: Mapping[str, Position], found: Found) -> list[Photo]:
    if not source.exists():
        raise MapError(f"no folder or file {source}; check the path")
    if _is_list(source):
        return _of_list(source, crs, found)
    return _of_files(photos_in(source), crs, known, found)


def _is_list(source: Path) -> bool:
    return source.is_file() and source.suffix.lower() in LISTS


def _of_list(source: Path, crs: str, found: Found) -> list[Photo]:
    photos, real = [], RealPaths()
    for listed in read_list(source, crs):
        path = None if listed.path is None else Path(real(listed.path))
        if path is None:
            found.missing.append(listed.name)
        elif listed.position is None:
            found.without.append(path)
        else:
            photos.append(Photo(path, *listed.position))
    if not photos and not found.without:
        raise MapError(f"{source} lists no photo that is there; its files are looked for beside it and in images/")
    return photos


def _of_files(paths: list[Path], crs: str, known: Mapping[str, Position], found: Found) -> list[Photo]:
    photos, real = [], RealPaths()
    for path in (Path(real(path)) for path in paths):
        try:
            named = name_position(path.name, crs)
        except MapError as error:
            raise MapError(f"{path}: {error}") from error
        try:
            position = named or known.get(path.as_posix()) or exif_position(path)
        except ImageError as error:  # no image, or of a format that needs another package
            found.unreadable[path.as_posix()] = reason(error)
            continue
        if position is None:
            found.without.append(path)
        else:
            photos.append(Photo(path, *position))
    return photos
