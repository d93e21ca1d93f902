"""Positions of photos by the folders that they are in: the frames of a walk, and places that are folders."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vpr.description.photos import find_photo_files
from vpr.maps.frame_order import sort_frames
from vpr.maps.options import FolderRole
from vpr.positions.errors import MapError
from vpr.positions.map_frame import Kind, NamesFrame, Position
from vpr.positions.paths import RealPaths

KIND_OF: dict[FolderRole, Kind] = {"walk": "frames", "places": "names"}  # of the positions that folders give
NO_POSITIONS: Mapping[str, Position] = {}
NUMBER_THEM = "number the frames in a list (file,frame)"


def require_role(role: str | None) -> None:
    """Raise MapError for a role that folders cannot have."""
    if role is not None and role not in KIND_OF:
        raise MapError(f"folders cannot be {role!r}", thing="folders", remedy=f"give {' or '.join(KIND_OF)}, or None")


def folder_positions(
    source: Path, role: FolderRole, known: Mapping[str, Position] = NO_POSITIONS
) -> dict[Path, Position]:
    """The position of each photo of a folder. Raises MapError if it cannot have this role.

    known: the numbers of photos of the map, by their `RealPaths`, which frames of a walk keep.
    """
    photos = find_photo_files(source)
    return _number_frames(source, photos, known) if role == "walk" else _name_places(source, photos)


def _number_frames(source: Path, photos: Sequence[Path], known: Mapping[str, Position]) -> dict[Path, Position]:
    """The numbers of the frames of a walk, from 0, in the order of `sort_frames`.

    If the map has other numbers, as from a list, it must have all the frames, which keep theirs: what number a new one
    would have is not known.
    """
    parents = sorted({str(photo.parent) for photo in photos})
    if len(parents) > 1:
        some = " and ".join(parents[:2])
        problem = f"a walk is one folder of photos, and {source} has {len(parents)}, such as {some}"
        raise MapError(problem, thing=source, remedy=f"name one of them, or {NUMBER_THEM}")
    numbers: dict[Path, Position] = {photo: (number,) for number, photo in enumerate(sort_frames(photos))}
    real = RealPaths()
    of_map = {photo: known[key] for photo in numbers if (key := real(photo)) in known}
    moved = next((photo for photo, position in of_map.items() if position != numbers[photo]), None)
    new = next((photo for photo in numbers if photo not in of_map), None)
    if moved is None or new is None:
        return numbers | of_map
    of_list, of_folder = of_map[moved][0], numbers[moved][0]
    problem = f"{moved.name} is frame {of_list} of the map, and number {of_folder} of {source}; {new.name} is new"
    raise MapError(problem, thing=source, remedy="number the new frames in a list (file,frame)")


def _name_places(source: Path, photos: Sequence[Path]) -> dict[Path, Position]:
    """The path from the source to the folder of each photo; the source's own name if no photo is in a subfolder."""
    places = {photo: photo.parent.relative_to(source).as_posix() for photo in photos}
    beside = [photo for photo, place in places.items() if place == "."]
    if beside and len(beside) < len(photos):
        problem = f"{source} has photos beside its folders of places, such as {beside[0].name}"
        raise MapError(problem, thing=source, remedy="move them into a folder of their place")
    own = os.path.basename(os.path.abspath(source))
    return {photo: (NamesFrame.parse(own if place == "." else place),) for photo, place in places.items()}


def require_folders(sources: Sequence[Path], role: FolderRole) -> None:
    """Raise MapError unless the sources, which are no lists, can have this role."""
    for source in sources:
        if source.is_file():
            problem = f"--folders {role} takes folders, and {source} is a file"
            raise MapError(problem, thing=source, remedy="name its folder")
    if role == "walk" and len(sources) != 1:
        problem = f"--folders {role} takes one folder, and {len(sources)} are given"
        raise MapError(problem, thing="--folders", remedy=f"name one, or {NUMBER_THEM}")


def require_own_walk(sources: Sequence[Path], known: Sequence[str]) -> None:
    """Raise MapError if a map has photos outside of the walk that is added, which has numbers of its own.

    known: the paths of the map's photos.
    """
    folders = {source.resolve() for source in sources if source.is_dir()}
    for path in known:
        if Path(path).parent.resolve() not in folders:
            problem = f"the map has frames of another folder ({path}), which have the same numbers as these"
            raise MapError(problem, thing="--folders", remedy=f"{NUMBER_THEM}, or make another map")
