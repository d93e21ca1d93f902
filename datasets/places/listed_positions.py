"""The photos of two folders with the positions of one list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.places.coordinates import Coordinates
from vpr.datasets.places.lookup import AMBIGUOUS, PhotoIndex
from vpr.datasets.places.photos import Photos, PlacedPhotos, one_position
from vpr.positions.map_frame import FRAMES, Position
from vpr.positions.paths import RealPaths
from vpr.positions.tables import ListEntry, read_list


def listed_positions(
    queries: Photos, database: Photos, listed: Path, crs: str
) -> tuple[PlacedPhotos, PlacedPhotos, list[str]]:
    """Both sides with the positions of a list, and the names in it that neither side has. Others have no position.

    A photo is named by its path from the list, by the end of its whole path, or by its name if only one has it. Raises
    DatasetError for a name that photos of both sides have, and if the list names no photo of a side.
    """
    sides, real, unknown = (queries, database), RealPaths(), list[str]()
    numbers = [{real(file): number for number, file in enumerate(side.files)} for side in sides]
    indices = [PhotoIndex(side.files, side.names) for side in sides]
    positions: list[dict[int, Position | None]] = [{}, {}]
    for entry in read_list(listed, crs):
        if entry.kind != "earth":
            remedy = "give columns latitude and longitude, or easting and northing with --crs"
            raise DatasetError(f"{listed} has {FRAMES[entry.kind].what}, not positions on Earth; {remedy}")
        path = None if entry.path is None else real(entry.path)
        found: list[int | None] = [None if path is None else side.get(path) for side in numbers]
        for longer in (False, True):
            if found == [None, None]:
                found = [index.find(entry.name, longer) for index in indices]
                _require_one(listed, entry, found, [side.files for side in sides])
        for number, known in zip(found, positions):
            if number is not None:
                known[number] = one_position(listed, entry, known.get(number))
        if found == [None, None]:
            unknown.append(entry.name)
    if empty := next((side for side, known in zip(sides, positions) if not known), None):
        example = f" ({unknown[0]} is the first that it has)" if unknown else ""
        raise DatasetError(f"{listed} names no photo of {empty.place}{example}; write paths, or file names that differ")
    placed = [
        PlacedPhotos(
            side,
            Coordinates.of_degrees([known.get(number) for number in range(len(side.files))]),
            np.full(len(side.files), np.nan),
            "list",
        )
        for side, known in zip(sides, positions)
    ]
    return placed[0], placed[1], unknown


def _require_one(listed: Path, entry: ListEntry, found: list[int | None], files: Sequence[Sequence[str]]) -> None:
    """Raise DatasetError if a name may be that of several photos; both sides may have the same photo."""
    same = {files[side][number] for side, number in enumerate(found) if number is not None and number != AMBIGUOUS}
    if AMBIGUOUS in found or len(same) > 1:
        raise DatasetError(f"{listed}, row {entry.row}: {entry.name} could be several photos; write its path")
