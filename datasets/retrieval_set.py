"""The retrieval set: queries, the database that is searched, and the correct answers.

All readers of datasets return it, and search, re-ranking, caches and baselines take it. It has image files, numbers and
positions, but no subtasks or classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.ragged import Ragged

Unanswered = Literal["left out", "wrong"]  # what a query without a positive counts as


@dataclass(frozen=True, eq=False)
class Entries:
    """Queries or database: S images, or S sequences of L images each, in consecutive groups."""

    images: np.ndarray  # (S, L) str, files relative to the set's root, forward slashes; L is 1 for single images
    names: np.ndarray  # (S,) str, the name of each entry in files
    offsets: np.ndarray  # (G + 1,) int64: group g holds the entries offsets[g] to offsets[g + 1]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> Entries:
        """The entries of ascending numbers (R,), in their groups."""
        return Entries(self.images[rows], self.names[rows], np.searchsorted(rows, self.offsets))


@dataclass(frozen=True, eq=False)
class RetrievalSet:
    """Queries, the database that is searched, and the answers. Entries are numbered through all groups."""

    root: Path  # the folder of the image files
    queries: Entries
    database: Entries
    positives: Ragged | None  # for each query the sorted numbers of the correct database entries; None if unknown
    fingerprint: str  # changes with the content
    positions: np.ndarray | None = None  # (N, 2) of database entries, metres; far apart between cities
    query_positions: np.ndarray | None = None  # (Q, 2) of queries, likewise
    drives: np.ndarray | None = None  # (Q,) int64, the same number for queries of one drive; None if unknown
    own: np.ndarray | None = None  # (Q,) int64, the entry that is the query itself and is never found; -1 for none
    unanswered: Unanswered = "left out"  # queries without a positive: not scored, or scored as wrong

    @cached_property
    def scored(self) -> np.ndarray:
        """(S,) numbers of the scored queries: those with a positive, or all; all if the answers are unknown."""
        if self.positives is None or self.unanswered == "wrong":
            return np.arange(len(self.queries))
        return np.flatnonzero(self.positives.counts)

    @property
    def answers(self) -> Ragged:
        """The positives; raises DatasetError if they are unknown."""
        if self.positives is None:
            raise DatasetError(f"{self.root}: the true answers are not known, so nothing can be scored")
        return self.positives

    def places(self, ranked: np.ndarray) -> np.ndarray | None:
        """Positions (Q, K, 2) of database entries (Q, K); None if positions are unknown."""
        return None if self.positions is None else self.positions[ranked]

    def spans(self) -> Iterator[tuple[slice, slice]]:
        """The queries of each group, and the database entries of the group."""
        sides = (zip(side.offsets, side.offsets[1:]) for side in (self.queries, self.database))
        for (first, last), (start, stop) in zip(*sides):
            yield slice(int(first), int(last)), slice(int(start), int(stop))

    def merged(self) -> RetrievalSet:
        """The same entries in one group: every query is searched in the whole database."""
        queries, database = (replace(side, offsets=np.array([0, len(side)])) for side in (self.queries, self.database))
        return replace(self, queries=queries, database=database)

    def without_own(self, similarity: np.ndarray, ranked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Remove each query itself from the results of a search, from (Q, K + 1) to (Q, K).

        The results are returned unchanged if the queries are not in the database.
        """
        if self.own is None:
            return similarity, ranked
        other = (ranked != self.own[:, None]) | (self.own[:, None] < 0)
        other[other.all(1), -1] = False  # the query itself is not among the results
        shape = len(ranked), ranked.shape[1] - 1
        return similarity[other].reshape(shape), ranked[other].reshape(shape)

    def thin(self, queries: int, database: int) -> RetrievalSet:
        """A set of evenly spaced entries. queries, database: their maximum numbers; every query still has answers.

        Raises DatasetError if the answers are unknown.
        """
        entries = _space_evenly(np.arange(len(self.database)), database)
        numbers = np.full(len(self.database), -1)
        numbers[entries] = np.arange(len(entries))
        answers = [kept[kept >= 0] for kept in (numbers[row] for row in self.answers)]
        answered = np.flatnonzero([len(row) > 0 for row in answers])
        chosen = _space_evenly(answered, queries)
        return RetrievalSet(
            self.root,
            self.queries.take(chosen),
            self.database.take(entries),
            Ragged.from_rows([answers[query] for query in chosen]),
            self.fingerprint,
            None if self.positions is None else self.positions[entries],
            None if self.query_positions is None else self.query_positions[chosen],
            None if self.drives is None else self.drives[chosen],
            None if self.own is None else np.where(self.own[chosen] < 0, -1, numbers[self.own[chosen]]),
            self.unanswered,
        )

    def image_files(self) -> np.ndarray:
        """(M,) str, the images of the queries, then those of the database; an image may be repeated."""
        return np.concatenate([self.queries.images.ravel(), self.database.images.ravel()])

    def counts(self) -> dict[str, int]:
        """Numbers of scored ``queries``, of ``queries_without_positives``, and of entries of the ``database``.

        If queries without positives are scored as wrong, they are among the scored ones.
        """
        without = 0 if self.positives is None else int((self.positives.counts == 0).sum())
        return {"queries": len(self.scored), "queries_without_positives": without, "database": len(self.database)}


def _space_evenly(numbers: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the numbers (N,), evenly spaced."""
    spaced: np.ndarray = numbers[np.unique(np.linspace(0, len(numbers) - 1, min(most, len(numbers))).astype(int))]
    return spaced
