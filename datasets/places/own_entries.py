"""Photos that are on both sides of a set: a query is never an answer to itself."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from vpr.datasets.ragged import Ragged


def own_entries(queries: Sequence[str], database: Sequence[str]) -> np.ndarray | None:
    """(Q,) the database entry that is the same file as each query, -1 if there is none; None if there is none at all.

    Links to folders and to files are followed. If several entries are the same file, the one that is no link
    is taken, or else the last.
    """
    sides = _real_files(queries), _real_files(database)
    numbers = {file: number for number, file in enumerate(sides[1])}
    numbers |= {file: number for number, file in enumerate(database) if sides[1][number] == file}
    own = np.array([numbers.get(file, -1) for file in sides[0]], np.int64)
    return own if (own >= 0).any() else None


def _real_files(files: Sequence[str]) -> list[str]:
    """Absolute paths (N,) without links. Each folder is listed once, because a look at each file takes long."""
    places: dict[str, tuple[str, set[str]]] = {}
    result = list[str]()
    for file in files:
        folder, _, name = file.rpartition("/")
        if folder not in places:
            places[folder] = os.path.realpath(folder or "/").rstrip("/"), _links(folder or "/")
        real, links = places[folder]
        result.append(os.path.realpath(file) if name in links else f"{real}/{name}")
    return result


def _links(folder: str) -> set[str]:
    """The names in a folder that are links; none in a folder that cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except OSError:
        return set()


def without_own(positives: Ragged, own: np.ndarray, by_position: bool) -> tuple[Ragged, np.ndarray | None]:
    """The positives without the queries themselves, and which entries are never found.

    A truth that names a query as its own answer is kept as it is, as the code that reads such files does.
    """
    rows = np.repeat(np.arange(len(positives)), positives.counts)
    itself = positives.values == own[rows]
    if by_position:
        counts = positives.counts - np.bincount(rows[itself], minlength=len(positives))
        kept = Ragged(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), positives.values[~itself])
        return kept, own
    own = own.copy()
    own[rows[itself]] = -1
    return positives, own if (own >= 0).any() else None
