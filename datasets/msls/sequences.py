"""Sequences of consecutive frames, and filters of sequences by their centre frame."""

from __future__ import annotations

import numpy as np


def frame_sequences(drive: np.ndarray, frame_number: np.ndarray, length: int) -> np.ndarray:
    """All sequences of ``length`` frames, one for each row that can be a centre.

    A sequence is ``length`` consecutive rows of one drive (R,) whose frame_number (R,) rises by exactly
    1; sequences overlap, and none extends beyond the first or last row. ``length`` is odd; with 1 every
    row is a sequence. Returns (S, length) int32 row indices in the order of their centres.

    >>> frame_sequences(np.array([0, 0, 0, 0, 1]), np.array([4, 5, 6, 8, 9]), 3).tolist()
    [[0, 1, 2]]
    """
    rows = len(drive)
    if rows < length:
        return np.empty((0, length), np.int32)
    breaks = (drive[1:] != drive[:-1]) | (frame_number[1:] != frame_number[:-1] + 1)
    stretch = np.concatenate([[0], np.cumsum(breaks)])
    firsts = np.flatnonzero(stretch[length - 1 :] == stretch[: rows - length + 1])
    return (firsts[:, None] + np.arange(length)).astype(np.int32)


def centre_filter(sequences: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The sequences (S, L) whose centre frame has ``keep`` (R,) bool, in the same order."""
    kept: np.ndarray = sequences[keep[centres(sequences)]]
    return kept


def centres(sequences: np.ndarray) -> np.ndarray:
    """(S,) the row of each sequence's centre frame."""
    return sequences[:, sequences.shape[1] // 2]
