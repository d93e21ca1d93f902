"""The frames of one side (query or database) of one city: its four CSVs, read, checked and aligned.

Columns are found by name, because their order differs between releases. Row i of all files is the same image, which is
checked by the keys.
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
FORBIDDEN_BYTES = np.isin(np.arange(256), [*range(1, 33), *b"/\\,"])  # bytes that are not in keys
FORBIDDEN_FIRST_BYTES = np.isin(np.arange(256), [*b".#"])  # bytes that do not start a key
MAX_DEGREES = 180.0, 90.0  # of longitude and latitude
MIN_ROWS = 20  # as many photos never lie within one metre, so if their numbers do, they are degrees
ALIGN = "the files of a folder must list the same images in the same order, so unpack them again together"


@dataclass(frozen=True, eq=False)
class Frames:
    """Every row of one side's CSVs, R of them; a field is None if its file is missing.

    Test cities have no raw.csv and postprocessed.csv, and training does not need subtask_index.csv.
    """

    keys: np.ndarray  # (R,) str, from seq_info.csv
    drive: np.ndarray  # (R,) int32, number of the drive: consecutive rows with one sequence_key
    frame_number: np.ndarray  # (R,) int64
    subtasks: np.ndarray | None  # (R, 7) bool, columns as SUBTASK_NAMES
    pano: np.ndarray | None  # (R,) bool
    compass: np.ndarray | None  # (R,) float32 degrees, NaN if unknown
    utm: np.ndarray | None  # (R, 2) float64 metres, easting and northing
    night: np.ndarray | None  # (R,) bool
    view_direction: np.ndarray | None  # (R,) uint8, index into VIEW_DIRECTIONS

    def __len__(self) -> int:
        return len(self.keys)


def read_frames(folder: Path, contents: dict[str, bytes]) -> Frames:
    """Frames from the bytes of the CSVs of ``folder``, by name as in FILES; seq_info.csv is required.

    Raises DatasetError, one line with file, row and remedy, for a malformed file, a missing column, a
    value of the wrong type, a coordinate that is not finite, a repeated key, and rows that do not align.
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
    """Refuse degrees instead of metres, as every image would be within 25 of every other one."""
    spread = np.ptp(utm, axis=0) if len(utm) >= MIN_ROWS else np.zeros(2)
    if spread.any() and (spread < 1).all() and (np.abs(utm) <= MAX_DEGREES).all():
        fault = f"easting and northing look like degrees ({utm[0, 0]:g}, {utm[0, 1]:g})"
        raise file_error(table.path, fault, "give metres, such as UTM; python -m eval.places reads degrees")


def _check_names(table: Table, keys: np.ndarray) -> None:
    """Refuse keys that are not file names, or not words of prediction files."""
    letters = keys.view(np.uint8).reshape(len(keys), keys.itemsize)
    faulty = FORBIDDEN_BYTES[letters].any(1) | FORBIDDEN_FIRST_BYTES[letters[:, 0]]
    if faulty.any():
        row = int(np.argmax(faulty))
        fault = f"key '{keys[row].decode()}' is not the name of an image"
        raise row_error(table.path, row, fault, "use letters, digits, '-' and '_', without '/', ',' or spaces")


def _check_unique(table: Table, keys: np.ndarray) -> None:
    order = np.argsort(keys, kind="stable")
    repeated = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(repeated):
        later = int(order[repeated + 1].min())
        first = int(np.flatnonzero(keys == keys[later])[0])
        fault = f"key '{keys[later].decode()}' is already in row {first}"
        raise row_error(table.path, later, fault, "each image is listed once, so remove one row from each file")


def _check_aligned(info: Table, keys: np.ndarray, table: Table) -> None:
    """Refuse a table whose keys differ from those of seq_info.csv, row by row."""
    other = table.text("key")
    shared = min(len(keys), len(other))
    different = np.flatnonzero(keys[:shared] != other[:shared])
    if len(different):
        row = int(different[0])
        fault = f"key '{other[row].decode()}' but {info.path.name} has '{keys[row].decode()}'"
        raise row_error(table.path, row, fault, ALIGN)
    if len(keys) != len(other):
        fault = f"{len(other)} rows, but {info.path.name} has {len(keys)}; they differ from row {shared} on"
        raise file_error(table.path, fault, ALIGN)
