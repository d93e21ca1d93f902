"""The photos of one set with positions, without sides: what a training takes from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.places.coordinates import common_plane
from vpr.datasets.places.layout import SPLITS, TABLES, Split, list_sides, sides_of
from vpr.datasets.places.notes import missing_notes, with_positions
from vpr.datasets.places.photos import FilesOf, PlacedPhotos, is_list, place_photos, read_side
from vpr.positions.tables import LIST_SUFFIXES

KNOWN = (
    "an MSLS tree, GSV-Cities (Dataframes/ and Images/), images/train/ or train/ with photos, database/ and queries/, "
    "a list of photos with positions, and a folder of photos with positions in their names or EXIF"
)


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """The N photos of a set whose positions are known."""

    root: Path  # the folder above them
    paths: np.ndarray  # (N,) str as objects, relative to the root
    metres: np.ndarray  # (N, 2) float64; regions that are far apart have planes of their own
    heading: np.ndarray  # (N,) float32, degrees clockwise from north; NaN if unknown
    sources: str  # of the positions: 'names', 'list', 'EXIF', or several
    fingerprint: str  # SHA-256 of paths, positions and headings
    notes: tuple[str, ...]  # what is left out

    def folders(self) -> np.ndarray:
        """(N,) int64, the number of the folder of each photo."""
        numbers: dict[str, int] = {}
        folders = (path.rpartition("/")[0] for path in self.paths)
        return np.array([numbers.setdefault(folder, len(numbers)) for folder in folders], np.int64)


@dataclass(frozen=True)
class Sources:
    """Where the photos of a set are: folders and lists, and their split."""

    places: tuple[Path, ...]
    split: str  # 'train', 'val' or 'test'; empty if the set has no splits


def find_photos(root: Path, split: Split = "train") -> Sources:
    """The folders and lists of a set to train on, by looking.

    root: a list, or a folder: with a split, with database and queries, with lists or one list, or with photos. Raises
    DatasetError for a folder of no known layout, and for one that has other splits only.
    """
    if is_list(root):
        return Sources((root,), "")
    splits = {name: folder for folder, name in _split_folders(root)}
    if split in splits:
        return Sources(sides_of(splits[split]) or (splits[split],), split)
    if splits:
        raise DatasetError(
            f"{root} has no split {split}, only {', '.join(splits)}; pass --data {next(iter(splits.values()))}"
        )
    if sides := sides_of(root):
        return Sources(sides, "")
    lists = [path for path in sorted(root.iterdir()) if path.suffix.lower() in LIST_SUFFIXES and path.is_file()]
    tables = [path for path in lists if path.suffix.lower() in TABLES]
    if chosen := list_sides(lists) or (tuple(tables) if len(tables) == 1 else None):
        return Sources(chosen, "")
    return Sources((root,), "")


def _split_folders(root: Path) -> list[tuple[Path, str]]:
    """The folders of the splits of a set."""
    bases = (root / "images", root)
    found = {name: base / name for base in bases[::-1] for name in SPLITS if (base / name).is_dir()}
    return [(folder, name) for name, folder in found.items()]


def load_photos(root: Path, crs: str = "") -> PhotoSet:
    """The photos of a set, of both sides together. No image is opened, unless only their EXIF has positions.

    The files of a list of paths are not looked for: there may be millions. crs: reference system of metres without one.
    Raises DatasetError for a set of no known layout, without photos or without positions, and MapError for a list that
    cannot be read.
    """
    sides, notes = [], list[str]()
    for place in find_photos(root).places:
        side, missing = read_side(place, crs, check=False)
        sides.append(side)
        notes += missing_notes(place, missing)
    kept = [with_positions(side, "photo", notes, f" of {side.photos.place}") for side in place_photos(sides, crs)]
    if not any(len(side.photos.names) for side in kept):
        raise DatasetError(
            f"{root}: no photo has a position, so no two are known to show one place; give a list of photos with "
            "positions, or photos with positions in their names or EXIF"
        )
    first, *others = (side.coordinates for side in kept)
    plane = common_plane(first, others[0] if others else first.take(np.arange(0)))
    if plane is None:
        raise DatasetError(
            f"{root}: some photos have metres without a zone, beside others of several zones, or with degrees; pass "
            "--crs EPSG:... for these metres, or positions of one kind"
        )
    above, paths = _paths_below(kept)
    metres = np.concatenate([plane.queries, plane.database])
    heading = np.concatenate([side.headings for side in kept]).astype(np.float32) % 360
    digest = hashlib.sha256(metres.tobytes() + heading.tobytes())
    for path in paths:
        digest.update(f"{path}\n".encode())
    sources = " and ".join(dict.fromkeys(side.source for side in kept if len(side.photos.names)))
    return PhotoSet(above, paths, metres, heading, sources, digest.hexdigest(), tuple(notes))


def _paths_below(sides: Sequence[PlacedPhotos]) -> tuple[Path, np.ndarray]:
    """The folder above all photos, and their paths below it, (N,) str as objects."""
    folders = set[str]()
    for files in (side.photos.files for side in sides):
        if isinstance(files, FilesOf):
            folders.add(files.folder)
        else:
            folders |= {file.rpartition("/")[0] or "/" for file in files}
    root = os.path.commonpath(folders)
    start, paths = len(root.rstrip("/")) + 1, list[str]()
    for photos in (side.photos for side in sides):
        if isinstance(photos.files, FilesOf) and photos.files.folder == root:
            paths += photos.names
        else:
            paths += [file[start:] for file in photos.files]
    result = np.empty(len(paths), object)
    result[:] = paths
    return Path(root), result
