"""Splitting rows into shards, and merging the answers of several shards."""

from collections.abc import Sequence

import numpy as np

from vpr.retrieval.fusion import NO_CANDIDATE


def spans(count: int, parts: int) -> list[tuple[int, int]]:
    """Start and stop of at most ``parts`` non-empty parts of ``count`` rows.

    >>> spans(10, 3)
    [(0, 3), (3, 6), (6, 10)]
    """
    parts = max(1, min(parts, count))
    return [(part * count // parts, (part + 1) * count // parts) for part in range(parts)]


def merge(parts: Sequence[tuple[np.ndarray, np.ndarray]], depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The best ``depth`` results of several shards: similarities (Q, K), descending, and rows (Q, K).

    parts: similarities (Q, k) and rows (Q, k) of each shard, in any order, padded with -inf and -1. Equal similarities
    are ordered by descending row, as in FAISS. FAISS does not define which of them it keeps at the end.
    """
    similarity, rows = (np.concatenate(sides, axis=1) for sides in zip(*parts))
    order = np.lexsort((-rows, -similarity), axis=1)[:, :depth]
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(rows, order, 1)


def to_local(rows: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Global rows of any shape as rows of the shard from start to stop; -1 if they lie outside.

    >>> to_local(np.array([4, 9, -1, 5]), 4, 9).tolist()
    [0, -1, -1, 1]
    """
    return np.where((rows >= start) & (rows < stop), rows - start, NO_CANDIDATE)


def to_global(rows: np.ndarray, start: int) -> np.ndarray:
    """The inverse of `to_local`: rows of the shard that begins at ``start`` as global rows; -1 stays -1."""
    return np.where(rows >= 0, rows + start, NO_CANDIDATE)
