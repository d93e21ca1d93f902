"""Photos and their positions, from folders, files and lists."""

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vpr.description.images import ImageError
from vpr.description.photos import find_photo_files
from vpr.maps.skipped_photos import SkippedPhotos, first_names, problem_of
from vpr.positions.errors import MapError, NoPosition
from vpr.positions.exif import read_exif
from vpr.positions.geodesy import metres_between, require_crs
from vpr.positions.names import NO_SYSTEM, has_metres, name_position
from vpr.positions.paths import RealPaths
from vpr.positions.tables import LIST_SUFFIXES, Position, read_list

log = logging.getLogger("vpr")

SAME_M = 1.0  # maximum distance between two positions of a photo that are the same


@dataclass(frozen=True)
class Photo:
    """A photo with its position."""

    path: Path  # resolved by `RealPaths`
    latitude: float  # degrees, WGS 84
    longitude: float

    @property
    def key(self) -> str:
        """Its key in a map."""
        return self.path.as_posix()


@dataclass
class FoundPhotos:
    """The photos of sources."""

    photos: list[Photo] = field(default_factory=list)
    without: list[Path] = field(default_factory=list)  # photos without a position
    missing: list[str] = field(default_factory=list)  # names in lists for which there is no photo
    unreadable: dict[str, str] = field(default_factory=dict)  # the problem of each unreadable photo, by path
    invalid: dict[str, str] = field(default_factory=dict)  # the problem of each invalid position, by path
    repeated: list[str] = field(default_factory=list)  # photos that are given again by folders and files, or by a list

    @property
    def skipped(self) -> SkippedPhotos:
        """The photos that cannot be added."""
        return SkippedPhotos(tuple(path.as_posix() for path in self.without), tuple(self.missing), self.unreadable)


def find_photos(sources: tuple[Path, ...], crs: str = "", known: Mapping[str, Position] | None = None) -> FoundPhotos:
    """The photos of folders with their subfolders, of files, and of lists.

    The position of a photo is that in a list, or else in its file name, or else in its EXIF. crs: reference system of
    eastings and northings without one. known: positions of photos by key, which are not read again. If two lists have
    different positions of a photo, the later one is used, with a warning. A link to another of the photos is that
    photo. The files of a list may be in the folders of the sources. A photo with an invalid position is left out, with
    a warning; so is the second of a photo that is given twice. Raises MapError for sources that are missing or
    cannot be read, and for a list with two positions of one photo.
    """
    found, photos, in_lists = FoundPhotos(), dict[str, Photo](), set[str]()
    moved, in_files = list[str](), set[str]()
    folders = [source for source in sources if source.is_dir()]
    if crs:
        require_crs(crs)
    for source in sources:
        if not source.exists():
            raise MapError(f"there is no folder or file {source}; check the path")
        if _is_list(source):
            of_source = _read_photo_list(source, crs, folders, found)
            moved += [one.key for one in of_source if one.key in in_lists and not _same_position(photos[one.key], one)]
            in_lists |= {photo.key for photo in of_source}
        else:
            of_source = _read_photo_files(source, crs, known or {}, in_files, found)
            of_source = [photo for photo in of_source if photo.key not in in_lists]
        photos |= {photo.key: photo for photo in of_source}
    _follow_links(photos, in_lists, photos.keys() | (known or {}).keys())
    found.photos = list(photos.values())
    found.without = [path for path in dict.fromkeys(found.without) if path.as_posix() not in photos]
    found.unreadable = {path: problem for path, problem in found.unreadable.items() if path not in photos}
    _warn(found, moved)
    return found


def _warn(found: FoundPhotos, moved: list[str]) -> None:
    """Log photos that are given twice, have another position in a later list, or have an invalid position."""
    without = {path.as_posix() for path in found.without}
    invalid = [f"{path} ({problem})" for path, problem in found.invalid.items() if path in without]
    reasons = (
        ([*dict.fromkeys(found.repeated)], "are given twice and count once"),
        (moved, "have another position in a later list, which is used"),
        (invalid, "have an invalid position"),
    )
    for names, why in reasons:
        if names:
            log.warning("%d photos %s: %s", len(names), why, first_names(names))


def _same_position(one: Photo, other: Photo) -> bool:
    """Whether two photos have the same position."""
    return one == other or metres_between((one.latitude, one.longitude), (other.latitude, other.longitude)) <= SAME_M


def _follow_links(photos: dict[str, Photo], in_lists: Collection[str], present: Collection[str]) -> None:
    """Replace links to other photos by these photos.

    in_lists: keys of photos with a position in a list. present: keys of all photos. Raises MapError if lists have two
    positions for a photo and a link to it.
    """
    for key in [key for key, photo in photos.items() if photo.path.is_symlink()]:
        path = Path(os.path.realpath(key))
        if (target := path.as_posix()) not in present:
            continue
        photo = replace(photos.pop(key), path=path)
        if {key, target} <= set(in_lists) and not _same_position(photo, photos[target]):
            raise MapError(f"{key} is a link to {target}, and the lists have two positions for them; keep one")
        if target not in photos or (key in in_lists and target not in in_lists):
            photos[target] = photo


def _is_list(source: Path) -> bool:
    return source.is_file() and source.suffix.lower() in LIST_SUFFIXES


def _read_photo_list(source: Path, crs: str, folders: list[Path], found: FoundPhotos) -> list[Photo]:
    photos, rows, real = dict[str, Photo](), dict[str, int](), RealPaths()
    for one in read_list(source, crs, folders):
        path = None if one.path is None else Path(real(one.path))
        if path is None:
            found.missing.append(one.name)
        elif one.position is None:
            found.without.append(path)
            if one.problem:
                found.invalid[path.as_posix()] = one.problem
        else:
            photo = Photo(path, *one.position)
            first = photos.setdefault(photo.key, photo)
            if not _same_position(first, photo):
                both = f"rows {rows[photo.key]} and {one.row}"
                raise MapError(f"{source}: {one.name} has two positions, in {both}; keep the right one")
            if rows.setdefault(photo.key, one.row) != one.row:
                found.repeated.append(one.name)
    if not photos and not found.without:
        named = f" ({first_names(found.missing)})" if found.missing else ""
        raise MapError(
            f"{source} lists no photo that exists{named}; its files are searched for beside it, in images/, in "
            f"{source.stem}/, and in folders that are given with it"
        )
    return [*photos.values()]


def _read_photo_files(
    source: Path, crs: str, known: Mapping[str, Position], seen: set[str], found: FoundPhotos
) -> list[Photo]:
    """The photos of a folder or a file. seen: the paths of earlier folders and files; these are added to it."""
    photos, real = [], RealPaths()
    for path in (Path(real(path)) for path in find_photo_files(source)):
        if path.as_posix() in seen:
            found.repeated.append(path.name)
            continue
        seen.add(path.as_posix())
        try:
            position = _file_position(path, crs, known)
        except ImageError as error:  # not an image, or a format that needs another package
            found.unreadable[path.as_posix()] = problem_of(error)
        except NoPosition as error:
            found.invalid[path.as_posix()] = str(error)
            found.without.append(path)
        else:
            if position is None:
                found.without.append(path)
            else:
                photos.append(Photo(path, *position))
    return photos


def _file_position(path: Path, crs: str, known: Mapping[str, Position]) -> Position | None:
    """The position of a photo file; None if it has none.

    Raises NoPosition for an invalid position, MapError for an unknown crs, ImageError for a file that is not an image.
    """
    named = name_position(path.name, crs)
    if position := named or known.get(path.as_posix()):
        return position
    exif = read_exif(path)
    if exif.position is None and (exif.problem or has_metres(path.name)):
        raise NoPosition(exif.problem or NO_SYSTEM)
    return exif.position
