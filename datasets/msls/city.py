"""One city after the filters of the protocol: queries, database and ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vpr.datasets.errors import file_error
from vpr.datasets.msls.metadata import POSITIONS, RAW, SUBTASK_NAMES, SUBTASKS, VIEW_DIRECTIONS, Frames
from vpr.datasets.msls.metadata_cache import load_frames
from vpr.datasets.msls.positives import sequences_within
from vpr.datasets.msls.protocol import Protocol
from vpr.datasets.msls.sequences import centre_filter, frame_sequences
from vpr.datasets.msls.tree import Location
from vpr.datasets.ragged import Ragged

SIDEWAYS = VIEW_DIRECTIONS.index("Sideways")


@dataclass(frozen=True, eq=False)
class Side:
    """Queries or database of one city: R rows in the CSVs, and the S sequences of L frames that are kept."""

    folder: str  # 'train_val/cph/query', relative to the root
    keys: np.ndarray  # (R,) str
    frames: np.ndarray  # (S, L) int32 rows of each kept sequence, its centre at L // 2
    drive: np.ndarray  # (S,) int32 number of the drive of each sequence
    utm: np.ndarray | None  # (R, 2) float64 metres; None without postprocessed.csv
    night: np.ndarray  # (S,) bool, any frame by night; False if unknown
    sideways: np.ndarray  # (S,) bool, any frame looking sideways; False if unknown
    view_direction: np.ndarray | None  # (R,) uint8 index into metadata.VIEW_DIRECTIONS
    compass: np.ndarray | None  # (R,) float32 degrees, NaN if unknown
    pano: np.ndarray | None  # (R,) bool; None without raw.csv; then panoramas are not removed

    def __len__(self) -> int:
        return len(self.frames)

    def names(self) -> np.ndarray:
        """(S,) str: the key of each image, or a sequence's keys joined by commas."""
        names: np.ndarray = self.keys[self.frames[:, 0]]
        for column in self.frames.T[1:]:
            names = np.char.add(np.char.add(names, ","), self.keys[column])
        return names

    def image_paths(self, rows: np.ndarray) -> np.ndarray:
        """'train_val/cph/query/images/KEY.jpg', relative to the root, of rows in an array of any shape."""
        return np.char.add(np.char.add(f"{self.folder}/images/", self.keys[rows]), ".jpg")


@dataclass(frozen=True, eq=False)
class City:
    """One city; queries and database entries are indices of the kept sequences of its sides."""

    name: str
    query: Side
    database: Side
    radius_m: float  # database entries within it are positives of a query

    @cached_property
    def positives(self) -> Ragged | None:
        """For each query its sorted database indices; None without ground truth."""
        query, database = self.query, self.database
        if query.utm is None or database.utm is None:
            return None
        return sequences_within(query.frames, query.utm, database.frames, database.utm, self.radius_m)

    @property
    def scored(self) -> np.ndarray:
        """Indices of the queries with at least one positive; every query without ground truth."""
        if self.positives is None:
            return np.arange(len(self.query))
        return np.flatnonzero(self.positives.counts)


def read_city(root: Path, place: Location, protocol: Protocol, cache: bool) -> tuple[City, str]:
    """The city and the joint fingerprint of its CSVs; sides may be empty after the filters.

    Raises DatasetError for a missing or malformed CSV.
    """
    query, query_print = _read_side(root, place, "query", protocol, cache)
    database, database_print = _read_side(root, place, "database", protocol, cache)
    return City(place.name, query, database, protocol.radius_m), f"{query_print} {database_print}"


def _read_side(root: Path, place: Location, side: str, protocol: Protocol, cache: bool) -> tuple[Side, str]:
    folder = place.side_folder(side)
    if not (root / folder).is_dir():
        raise file_error(root / folder, "the folder is missing", "a city needs query/ and database/")
    frames, fingerprint = load_frames(root / folder, cache)
    _require(root / folder, frames, place, protocol)
    length = protocol.query_length if side == "query" else protocol.database_length
    return _filter_side(folder, frames, protocol, length), fingerprint


def _require(folder: Path, frames: Frames, place: Location, protocol: Protocol) -> None:
    """Raise DatasetError if a file is missing that this split and branch need."""
    needed = {SUBTASKS: frames.subtasks} if protocol.split != "train" else {}
    if place.branch == "train_val" or protocol.split == "train":
        needed |= {RAW: frames.pano, POSITIONS: frames.utm}
    for name, field in needed.items():
        if field is None:
            raise file_error(folder / name, "the file is missing", "unpack the metadata archive here")


def _filter_side(folder: str, frames: Frames, protocol: Protocol, length: int) -> Side:
    """Cut sequences, then filter them by the subtask of the centre frame, then by whether that is a panorama."""
    kept = frame_sequences(frames.drive, frames.frame_number, length)
    if protocol.split != "train" and frames.subtasks is not None:
        kept = centre_filter(kept, frames.subtasks[:, SUBTASK_NAMES.index(protocol.subtask)])
    if frames.pano is not None:
        kept = centre_filter(kept, ~frames.pano)
    sideways = None if frames.view_direction is None else frames.view_direction == SIDEWAYS
    return Side(
        folder=folder,
        keys=frames.keys,
        frames=kept,
        drive=frames.drive[kept[:, 0]],
        utm=frames.utm,
        night=_any_frame(kept, frames.night),
        sideways=_any_frame(kept, sideways),
        view_direction=frames.view_direction,
        compass=frames.compass,
        pano=frames.pano,
    )


def _any_frame(sequences: np.ndarray, flags: np.ndarray | None) -> np.ndarray:
    """(S,) whether any frame of the sequence has the flag (R,)."""
    return np.zeros(len(sequences), bool) if flags is None else flags[sequences].any(axis=1)
