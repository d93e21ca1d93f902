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
from vpr.maps.tables import LISTS, Position, read_list


@dataclass(frozen=True)
class Photo:
    """A photo whose position is known."""

    path: Path  # absolute
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
    that is found twice has the later position, and a link to a photo that is there is that photo. Raises MapError for
    sources that are not there or cannot be read.
    """
    found, photos = Found(), dict[str, Photo]()
    for source in sources:
        for photo in _of_source(source, crs, known or {}, found):
            photos[photo.key] = photo
    _follow_links(photos, photos.keys() | (known or {}).keys())
    found.photos = list(photos.values())
    found.without = [path for path in dict.fromkeys(found.without) if path.as_posix() not in photos]
    return found


def _follow_links(photos: dict[str, Photo], there: Collection[str]) -> None:
    """Have links that lead to photos which are there be those photos."""
    for key in [key for key, photo in photos.items() if photo.path.is_symlink()]:
        target = Path(os.path.realpath(key))
        if target.as_posix() in there:
            photos.setdefault(target.as_posix(), replace(photos.pop(key), path=target))


def _of_source(source: Path, crs: str, known: Mapping[str, Position], found: Found) -> list[Photo]:
    if not source.exists():
        raise MapError(f"no folder or file {source}; check the path")
    if source.is_file() and source.suffix.lower() in LISTS:
        return _of_list(source, crs, found)
    return _of_files(photos_in(source), crs, known, found)


def _of_list(source: Path, crs: str, found: Found) -> list[Photo]:
    photos = []
    for listed in read_list(source, crs):
        path = None if listed.path is None else Path(os.path.abspath(listed.path))
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
    photos = []
    for path in (Path(os.path.abspath(path)) for path in paths):
        try:
            named = name_position(path.name, crs)
        except MapError as error:
            raise MapError(f"{path}: {error}") from error
        try:
            position = named or known.get(path.as_posix()) or exif_position(path)
        except ImageError as error:  # of a format that needs another package
            found.unreadable[path.as_posix()] = reason(error)
            continue
        if position is None:
            found.without.append(path)
        else:
            photos.append(Photo(path, *position))
    return photos
