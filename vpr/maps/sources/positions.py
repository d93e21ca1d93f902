"""Photos and their positions, from folders, files and lists."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vpr.description.images import ImageError
from vpr.description.photos import find_photo_files
from vpr.maps.options import FolderRole
from vpr.maps.skipped_photos import SkippedPhotos, first_names, problem_of
from vpr.maps.sources.folders import KIND_OF, folder_positions, require_folders, require_role
from vpr.positions.errors import MapError, NoPosition
from vpr.positions.exif import read_exif
from vpr.positions.geodesy import metres_between, require_crs
from vpr.positions.map_frame import Kind, Position
from vpr.positions.names import NO_SYSTEM, has_metres, name_position
from vpr.positions.paths import RealPaths
from vpr.positions.tables import LIST_SUFFIXES, ListEntry, other_kind, read_list

log = logging.getLogger("vpr")

SAME_M = 1.0  # maximum distance between two positions of a photo that are the same


@dataclass(frozen=True)
class Photo:
    """A photo with its position."""

    path: Path  # resolved by `RealPaths`
    position: Position  # on Earth: latitude and longitude
    kind: Kind = "earth"

    @property
    def key(self) -> str:
        """Its key in a map."""
        return self.path.as_posix()

    @property
    def latitude(self) -> float:
        """The first part of a position on Earth, degrees."""
        return float(self.position[0])

    @property
    def longitude(self) -> float:
        """The second part of a position on Earth, degrees."""
        return float(self.position[1])


@dataclass(frozen=True)
class KnownPositions:
    """What a map knows of positions."""

    kind: Kind | None = None  # None: there is no map yet
    by_key: Mapping[str, Position] = field(default_factory=dict)  # of its unchanged photos, by their `RealPaths`


@dataclass
class FoundPhotos:
    """The photos of sources."""

    kind: Kind = "earth"  # of their positions
    role: FolderRole | None = None  # of folders
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


NOTHING_KNOWN = KnownPositions()


def find_photos(
    sources: Sequence[Path],
    crs: str = "",
    known: KnownPositions = NOTHING_KNOWN,
    role: FolderRole | None = None,
) -> FoundPhotos:
    """The photos of folders with their subfolders, of files, and of lists.

    The position of a photo is that in a list, or else in its file name, or else in its EXIF. File names and EXIF have
    positions on Earth: they are not read if the map or a list has another kind. crs: reference system of eastings and
    northings without one. known: of the map; these positions are not read again. role: what folders are, and so where
    the position of a photo is if no list has one. If two lists have different positions of a photo, the later one is
    used, with a warning. A link to another of the photos is that photo. The files of a list may be in the folders of
    the sources. A photo with an invalid position is left out, with a warning; so is the second of a photo that is given
    twice. Raises MapError for a role that there is not, for sources that are missing or cannot be read, for a list with
    two positions of one photo, and for two kinds of positions.
    """
    require_role(role)
    lists = _read_lists(sources, crs, known.kind)
    found = FoundPhotos(_kind_of(lists, known.kind, role), role=role)
    if role is not None:
        require_folders([source for source in sources if source not in lists], role)
    photos, in_lists = dict[str, Photo](), set[str]()
    moved, in_files = list[str](), set[str]()
    for source in sources:
        if source in lists:
            of_source = _read_photo_list(source, lists[source], found)
            moved += [one.key for one in of_source if one.key in in_lists and not _same_position(photos[one.key], one)]
            in_lists |= {photo.key for photo in of_source}
        else:
            of_source = _read_photo_files(source, crs, known.by_key, in_files, found)
            of_source = [photo for photo in of_source if photo.key not in in_lists]
        photos |= {photo.key: photo for photo in of_source}
    _follow_links(photos, in_lists, photos.keys() | known.by_key.keys())
    found.photos = list(photos.values())
    found.without = [path for path in dict.fromkeys(found.without) if path.as_posix() not in photos]
    found.unreadable = {path: problem for path, problem in found.unreadable.items() if path not in photos}
    _warn(found, moved)
    return found


def _read_lists(sources: Sequence[Path], crs: str, kind: Kind | None) -> dict[Path, list[ListEntry]]:
    """The lists among the sources; raises MapError as `find_photos`. kind: of the map."""
    for source in sources:
        if not source.exists():
            raise MapError(f"there is no folder or file {source}; check the path")
    if crs:
        require_crs(crs)
    folders = [source for source in sources if source.is_dir()]
    return {source: [*read_list(source, crs, folders, kind)] for source in sources if _is_list(source)}


def _kind_of(lists: Mapping[Path, Sequence[ListEntry]], of_map: Kind | None, role: FolderRole | None) -> Kind:
    """The kind of the positions of a command; raises MapError if two lists, or a list and folders, differ."""
    kinds: dict[str, Kind] = {} if role is None else {f"a folder with --folders {role}": KIND_OF[role]}
    kinds |= {str(source): entries[0].kind for source, entries in lists.items() if entries}
    first: Kind = next((kind for kind in (of_map, *kinds.values()) if kind is not None), "earth")
    for source, kind in kinds.items():
        if kind != first:
            raise other_kind(source, kind, first)
    return first


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
    if one.kind != "earth" or one.position == other.position:
        return one.position == other.position
    return metres_between(one.position, other.position) <= SAME_M


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


def _read_photo_list(source: Path, entries: Sequence[ListEntry], found: FoundPhotos) -> list[Photo]:
    photos, rows, real = dict[str, Photo](), dict[str, int](), RealPaths()
    for one in entries:
        path = None if one.path is None else Path(real(one.path))
        if path is None:
            found.missing.append(one.name)
        elif one.position is None:
            found.without.append(path)
            if one.problem:
                found.invalid[path.as_posix()] = one.problem
        else:
            photo = Photo(path, one.position, one.kind)
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
    by_folder = {} if found.role is None else folder_positions(source, found.role, known)
    for file in by_folder or find_photo_files(source):
        path = Path(real(file))
        if path.as_posix() in seen:
            found.repeated.append(path.name)
            continue
        seen.add(path.as_posix())
        try:
            local = by_folder.get(file) or known.get(path.as_posix())
            position = _file_position(path, crs, known) if found.kind == "earth" else local
        except ImageError as error:  # not an image, or a format that needs another package
            found.unreadable[path.as_posix()] = problem_of(error)
        except NoPosition as error:
            found.invalid[path.as_posix()] = str(error)
            found.without.append(path)
        else:
            if position is None:
                found.without.append(path)
            else:
                photos.append(Photo(path, position, found.kind))
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
