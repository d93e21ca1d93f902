"""The frames of one side (query or database) of one city: its four CSVs, read, checked and aligned.

Columns are taken by name, as their order differs between releases. Rows of the files correspond by
position, which is checked by their keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.datasets.errors import file_error, row_error
from vpr.datasets.msls.csv_table import Table, parse

SEQUENCES, POSITIONS, RAW, SUBTASKS = "seq_info.csv", "postprocessed.csv", "raw.csv", "subtask_index.csv"
FILES: tuple[str, ...] = (SEQUENCES, SUBTASKS, RAW, POSITIONS)
SUBTASK_NAMES: tuple[str, ...] = ("all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d")
VIEW_DIRECTIONS: tuple[str, ...] = ("Forward", "Backward", "Sideways", "Other")
UNFIT = np.isin(np.arange(256), [*range(1, 33), *b"/\\,"])  # bytes that no key holds
UNFIT_FIRST = np.isin(np.arange(256), [*b".#"])  # and none begins with
MOST_DEGREES = 180.0, 90.0  # of longitude and latitude
FEWEST_SPREAD = 20  # rows that do not lie within a metre of one another, so that what is below one is degrees
ALIGN = "the files of a folder must list the same images in the same order, so unpack them again together"


@dataclass(frozen=True, eq=False)
class Frames:
    """Every row of one side's CSVs, R of them; a field is None when its file is not there.

    Files absent: test cities came without raw.csv and postprocessed.csv, and training needs no
    subtask_index.csv.
    """

    keys: np.ndarray  # (R,) str, from seq_info.csv
    drive: np.ndarray  # (R,) int32, number of the drive: consecutive rows with one sequence_key
    frame_number: np.ndarray  # (R,) int64
    subtasks: np.ndarray | None  # (R, 7) bool, columns as SUBTASK_NAMES
    pano: np.ndarray | None  # (R,) bool
    compass: np.ndarray | None  # (R,) float32 degrees, NaN where unknown
    utm: np.ndarray | None  # (R, 2) float64 metres, easting and northing
    night: np.ndarray | None  # (R,) bool
    view_direction: np.ndarray | None  # (R,) uint8, index into VIEW_DIRECTIONS

    def __len__(self) -> int:
        return len(self.keys)


def read_frames(folder: Path, contents: dict[str, bytes]) -> Frames:
    """Frames from the bytes of the CSVs of ``folder``, named as in FILES; seq_info.csv must be one.

    Raises DatasetError, one line with file, row and remedy, for a malformed file, a missing column, a
    value of the wrong type, a coordinate that is not finite, a doubled key, and rows that do not align.
    """
    tables = {name: parse(folder / name, data) for name, data in contents.items()}
    info = tables[SEQUENCES]
    keys = info.required_text("key")
    _check_names(info, keys)
    _check_unique(info, keys)
    for table in tables.values():
        if table is not info:
            _check_aligned(info, keys, table)
    sequence = info.required_text("sequence_key")
    changes = np.concatenate([np.zeros(min(1, len(info)), bool), sequence[1:] != sequence[:-1]])
    return Frames(
        keys=decode(keys),
        drive=np.cumsum(changes, dtype=np.int32),
        frame_number=info.integers("frame_number"),
        subtasks=_subtasks(tables.get(SUBTASKS)),
        **_raw(tables.get(RAW)),
        **_positions(tables.get(POSITIONS)),
    )


def decode(fields: np.ndarray) -> np.ndarray:
    """UTF-8 byte strings as str."""
    try:
        return fields.astype(f"U{fields.dtype.itemsize}")
    except UnicodeDecodeError:
        return np.char.decode(fields, "utf-8")


def _subtasks(table: Table | None) -> np.ndarray | None:
    if table is None:
        return None
    return np.stack([table.booleans(name) for name in SUBTASK_NAMES], axis=1)


def _raw(table: Table | None) -> dict[str, np.ndarray | None]:
    if table is None:
        return {"pano": None, "compass": None}
    compass = table.floats("ca").astype(np.float32) if table.has("ca") else None
    return {"pano": table.booleans("pano"), "compass": compass}


def _positions(table: Table | None) -> dict[str, np.ndarray | None]:
    if table is None:
        return {"utm": None, "night": None, "view_direction": None}
    utm = np.stack([table.coordinates("easting"), table.coordinates("northing")], axis=1)
    _check_metres(table, utm)
    names = table.text("view_direction")
    view = np.full(len(table), len(VIEW_DIRECTIONS) - 1, np.uint8)
    for code, name in enumerate(VIEW_DIRECTIONS[:-1]):
        view[names == name.encode()] = code
    return {"utm": utm, "night": table.booleans("night"), "view_direction": view}


def _check_metres(table: Table, utm: np.ndarray) -> None:
    """Refuse degrees in the place of metres: with them every image lies within 25 of every other one."""
    spread = np.ptp(utm, axis=0) if len(utm) >= FEWEST_SPREAD else np.zeros(2)
    if spread.any() and (spread < 1).all() and (np.abs(utm) <= MOST_DEGREES).all():
        fault = f"easting and northing look like degrees ({utm[0, 0]:g}, {utm[0, 1]:g})"
        raise file_error(table.path, fault, "give metres, such as UTM; docs/guides/own_data.md makes them of degrees")


def _check_names(table: Table, keys: np.ndarray) -> None:
    """Keys are names of files inside the image folder, and words of prediction files."""
    letters = keys.view(np.uint8).reshape(len(keys), keys.itemsize)
    faulty = UNFIT[letters].any(1) | UNFIT_FIRST[letters[:, 0]]
    if faulty.any():
        row = int(np.argmax(faulty))
        fault = f"key '{keys[row].decode()}' is no name of an image"
        raise row_error(table.path, row, fault, "use letters, digits, '-' and '_', without '/', ',' or spaces")


def _check_unique(table: Table, keys: np.ndarray) -> None:
    order = np.argsort(keys, kind="stable")
    repeated = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(repeated):
        later = int(order[repeated + 1].min())
        first = int(np.flatnonzero(keys == keys[later])[0])
        fault = f"key '{keys[later].decode()}' stands already in row {first}"
        raise row_error(table.path, later, fault, "each image is listed once, so remove one row from each file")


def _check_aligned(info: Table, keys: np.ndarray, table: Table) -> None:
    """The table's keys are those of seq_info.csv, row by row."""
    other = table.text("key")
    shared = min(len(keys), len(other))
    different = np.flatnonzero(keys[:shared] != other[:shared])
    if len(different):
        row = int(different[0])
        fault = f"key '{other[row].decode()}' where {info.path.name} has '{keys[row].decode()}'"
        raise row_error(table.path, row, fault, ALIGN)
    if len(keys) != len(other):
        fault = f"{len(other)} rows where {info.path.name} has {len(keys)}, they part at row {shared}"
        raise file_error(table.path, fault, ALIGN)
