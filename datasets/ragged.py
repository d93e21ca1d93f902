"""Rows of uneven length in two arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of uneven length, one after another: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    offsets: np.ndarray  # (S + 1,) int64, from 0 to len(values)
    values: np.ndarray  # (N,) int32

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """Make it from a sequence of integer sequences."""
        values = np.concatenate([np.empty(0, np.int32), *(np.asarray(row, np.int32) for row in rows)])
        return cls(offsets_of([len(row) for row in rows]), values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        """A view of one row; negative indices count from the end. IndexError if there is no such row."""
        row = range(len(self))[row]
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    @property
    def counts(self) -> np.ndarray:
        """(S,) int64, the length of each row."""
        return np.diff(self.offsets)


def offsets_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Start and end offsets (S + 1,) int64 of S consecutive rows of these lengths.

    >>> offsets_of([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def concatenate(parts: Sequence[Ragged], shifts: Sequence[int]) -> Ragged:
    """The rows of all parts, with ``shifts[i]`` added to the values of part i."""
    counts = np.concatenate([part.counts for part in parts])
    values = np.concatenate([part.values + np.int32(shift) for part, shift in zip(parts, shifts)])
    return Ragged(offsets_of(counts), values)
