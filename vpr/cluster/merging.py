"""Which part holds what, and one answer out of those of several parts."""

from collections.abc import Sequence

import numpy as np

from vpr.retrieval.fusion import NO_CANDIDATE


def spans(count: int, parts: int) -> list[tuple[int, int]]:
    """Where each of at most so many parts of ``count`` things begins and ends; none is empty.

    >>> spans(10, 3)
    [(0, 3), (3, 6), (6, 10)]
    """
    parts = max(1, min(parts, count))
    return [(part * count // parts, (part + 1) * count // parts) for part in range(parts)]


def first_of(parts: Sequence[tuple[np.ndarray, np.ndarray]], depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``depth`` of what several parts found: similarities (Q, K), falling, and rows (Q, K).

    parts: of each its similarities (Q, k) and rows (Q, k), in any order, filled up with -inf and -1. Of those that are
    equally similar higher rows come first, as FAISS has it; which of them it keeps at the end is left to chance.
    """
    similarity, rows = (np.concatenate(sides, axis=1) for sides in zip(*parts))
    order = np.lexsort((-rows, -similarity), axis=1)[:, :depth]
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(rows, order, 1)


def within(rows: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Rows of any shape, numbered from ``start``; -1 for those that lie outside of start to stop.

    >>> within(np.array([4, 9, -1, 5]), 4, 9).tolist()
    [0, -1, -1, 1]
    """
    return np.where((rows >= start) & (rows < stop), rows - start, NO_CANDIDATE)


def outside(rows: np.ndarray, start: int) -> np.ndarray:
    """The inverse: rows of a part that begins at ``start``, numbered through all parts; -1 stays."""
    return np.where(rows >= 0, rows + start, NO_CANDIDATE)
