"""Photos and their positions, out of folders, files, lists and videos."""

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vpr.description.images import ImageError
from vpr.description.shown import photos_in
from vpr.maps.errors import MapError, NoPosition
from vpr.maps.geodesy import metres_between, require_crs
from vpr.maps.left_out import LeftOut, listed, reason
from vpr.maps.paths import RealPaths
from vpr.maps.sources.exif import read_exif
from vpr.maps.sources.names import METRES_OF_NO_SYSTEM, has_metres, name_position
from vpr.maps.sources.tables import LISTS, Position, read_list

log = logging.getLogger("vpr")

SAME_M = 1.0  # between two positions of a photo that are one


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
    refused: dict[str, str] = field(default_factory=dict)  # of those without, whose position is not taken: why, by path

    @property
    def left_out(self) -> LeftOut:
        """What cannot be added."""
        return LeftOut(tuple(path.as_posix() for path in self.without), tuple(self.missing), self.unreadable)


def find_photos(sources: tuple[Path, ...], crs: str = "", known: Mapping[str, Position] | None = None) -> Found:
    """The photos of folders (and the folders in them), of files, and of CSV and GeoJSON lists.

    If no list has its position, it is the one in the file's name, or else the one in its EXIF. crs: of eastings and
    northings that say none. known: positions of photos, by key, that need not be looked for again. A photo in two lists
    has the position of the later one, and the log says so; a link to a photo that is there is that photo. A photo whose
    position cannot be is left out, and the log names it and the reason. Raises MapError for sources that are missing or
    cannot be read, and for a list that has two positions for a photo.
    """
    found, photos, in_lists = Found(), dict[str, Photo](), set[str]()
    moved = list[str]()
    if crs:
        require_crs(crs)
    for source in sources:
        of_source = _of_source(source, crs, known or {}, found)
        if _is_list(source):
            moved += [one.key for one in of_source if one.key in in_lists and not _same(photos[one.key], one)]
            in_lists |= {photo.key for photo in of_source}
        else:
            of_source = [photo for photo in of_source if photo.key not in in_lists]
        photos |= {photo.key: photo for photo in of_source}
    _follow_links(photos, in_lists, photos.keys() | (known or {}).keys())
    found.photos = list(photos.values())
    found.without = [path for path in dict.fromkeys(found.without) if path.as_posix() not in photos]
    if moved:
        log.warning("%d photos have another position in a later list, which is taken: %s", len(moved), listed(moved))
    without = {path.as_posix() for path in found.without}
    if refused := [f"{path} ({why})" for path, why in found.refused.items() if path in without]:
        log.warning("%d photos have a position that is not taken: %s", len(refused), listed(refused))
    return found


def _same(one: Photo, other: Photo) -> bool:
    """Whether two photos have one position."""
    return one == other or metres_between((one.latitude, one.longitude), (other.latitude, other.longitude)) <= SAME_M


def _follow_links(photos: dict[str, Photo], in_lists: Collection[str], there: Collection[str]) -> None:
    """Have links that lead to photos which are there be those photos; in_lists: those whose position a list says.

    Raises MapError where lists have two positions for a photo, one by way of a link.
    """
    for key in [key for key, photo in photos.items() if photo.path.is_symlink()]:
        path = Path(os.path.realpath(key))
        if (target := path.as_posix()) not in there:
            continue
        photo = replace(photos.pop(key), path=path)
        if {key, target} <= set(in_lists) and not _same(photo, photos[target]):
            raise MapError(f"{key} is a link to {target}, and the lists have two positions for them; keep one")
        if target not in photos or (key in in_lists and target not in in_lists):
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
    photos, rows, real = dict[str, Photo](), dict[str, int](), RealPaths()
    for one in read_list(source, crs):
        path = None if one.path is None else Path(real(one.path))
        if path is None:
            found.missing.append(one.name)
        elif one.position is None:
            found.without.append(path)
            if one.why:
                found.refused[path.as_posix()] = one.why
        else:
            photo = Photo(path, *one.position)
            first = photos.setdefault(photo.key, photo)
            if not _same(first, photo):
                both = f"rows {rows[photo.key]} and {one.row}"
                raise MapError(f"{source}: {one.name} has two positions, in {both}; keep the right one")
            rows.setdefault(photo.key, one.row)
    if not photos and not found.without:
        named = f" ({listed(found.missing)})" if found.missing else ""
        raise MapError(
            f"{source} lists no photo that is there{named}; its files are looked for beside it, in images/ and in "
            f"{source.stem}/"
        )
    return [*photos.values()]


def _of_files(paths: list[Path], crs: str, known: Mapping[str, Position], found: Found) -> list[Photo]:
    photos, real = [], RealPaths()
    for path in (Path(real(path)) for path in paths):
        try:
            position = _of_file(path, crs, known)
        except ImageError as error:  # no image, or of a format that needs another package
            found.unreadable[path.as_posix()] = reason(error)
        except NoPosition as error:
            found.refused[path.as_posix()] = str(error)
            found.without.append(path)
        else:
            if position is None:
                found.without.append(path)
            else:
                photos.append(Photo(path, *position))
    return photos


def _of_file(path: Path, crs: str, known: Mapping[str, Position]) -> Position | None:
    """Raises NoPosition for a position that cannot be, MapError for an unknown crs, ImageError for what is no image."""
    named = name_position(path.name, crs)
    if position := named or known.get(path.as_posix()):
        return position
    found = read_exif(path)
    if found.position is None and (found.why or has_metres(path.name)):
        raise NoPosition(found.why or METRES_OF_NO_SYSTEM)
    return found.position
