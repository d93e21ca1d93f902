"""Frames from a binary cache keyed by the content of the CSVs, or from the CSVs themselves.

A cache file is an uncompressed .npz, named by the SHA-256 of the bytes of the CSVs, so that changed metadata has
another name. A cache file that is damaged, foreign or of an older layout is ignored and written again. A folder that
cannot be written is no error: the cache only saves time.
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from vpr.base.files import cache_folder, replace_file
from vpr.datasets.msls.csv_table import read_bytes
from vpr.datasets.msls.metadata import FILES, SEQUENCES, SUBTASK_NAMES, Frames, decode, read_frames

LAYOUT = 4  # raise it if Frames or the checks change
FIELDS = tuple(field.name for field in fields(Frames))
KINDS = {"keys": "S", "drive": "i", "frame_number": "i", "compass": "f", "utm": "f", "view_direction": "u"}  # or bool
WIDTHS = {"subtasks": (len(SUBTASK_NAMES),), "utm": (2,)}  # of the fields that are tables
REQUIRED = ("keys", "drive", "frame_number")


def load_frames(folder: Path, cache: bool = True) -> tuple[Frames, str]:
    """The frames of one side and the fingerprint (SHA-256, hexadecimal) of its CSVs.

    Each CSV is read once, and parsed only if these bytes are not in the cache. Raises DatasetError as ``read_frames``,
    and if seq_info.csv is missing.
    """
    present = [name for name in FILES if name == SEQUENCES or (folder / name).exists()]
    contents = {name: read_bytes(folder / name) for name in present}
    fingerprint = _fingerprint(contents)
    path = cache_folder("metadata") / f"{fingerprint}.v{LAYOUT}.npz"
    frames = _read(path) if cache else None
    if frames is None:
        frames = read_frames(folder, contents)
        if cache:
            _write(path, frames)
    return frames, fingerprint


def _fingerprint(contents: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in contents.items():
        digest.update(f"{name} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _read(path: Path) -> Frames | None:
    """The cached frames; None if the file is missing or damaged (a zip file has checksums)."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] if name in stored.files else None for name in FIELDS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, TypeError):
        return None
    if any(arrays[name] is None for name in REQUIRED):
        return None
    rows = arrays["keys"].shape
    for name, array in arrays.items():
        if array is not None and (
            array.dtype.kind != KINDS.get(name, "b") or array.shape != rows + WIDTHS.get(name, ())
        ):
            return None
    return Frames(**{**arrays, "keys": decode(arrays["keys"])})


def _write(path: Path, frames: Frames) -> None:
    """Write the cache file atomically."""
    arrays = {name: getattr(frames, name) for name in FIELDS}
    arrays["keys"] = np.char.encode(frames.keys, "utf-8")
    with contextlib.suppress(OSError), replace_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
