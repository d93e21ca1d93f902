"""The middle of the project: queries, the database they are searched in, and which entries answer them.

Readers make it, MSLS by positions, others by labels or folders. Search, re-ranking, caches and floors take it.
It knows image files, numbers and where the database lies, nothing of subtasks or classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.ragged import Ragged


@dataclass(frozen=True, eq=False)
class Entries:
    """One side: S images, or S sequences of L images each, in groups that follow one another."""

    images: np.ndarray  # (S, L) str, files relative to the set's root, forward slashes; L is 1 for single images
    names: np.ndarray  # (S,) str, what files call each entry
    offsets: np.ndarray  # (G + 1,) int64: group g holds the entries offsets[g] to offsets[g + 1]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class RetrievalSet:
    """Queries, the database they are searched in, and the answers. Entries are numbered through all groups."""

    root: Path  # image files lie under it
    queries: Entries
    database: Entries
    positives: Ragged | None  # per query, sorted database numbers that answer it; None where the answers are not known
    fingerprint: str  # changes when the content does
    positions: np.ndarray | None = None  # (N, 2) of database entries, metres; far apart between cities
    query_positions: np.ndarray | None = None  # (Q, 2) of queries, likewise
    drives: np.ndarray | None = None  # (Q,) int64, the same number for queries taken in one go; None where unknown
    own: np.ndarray | None = None  # (Q,) int64, the database entry that is the query itself, which is never found

    @cached_property
    def scored(self) -> np.ndarray:
        """(S,) numbers of the queries with at least one positive; of all queries where the answers are not known."""
        return np.arange(len(self.queries)) if self.positives is None else np.flatnonzero(self.positives.counts)

    @property
    def answers(self) -> Ragged:
        """The positives; raises DatasetError where they are not known, as nothing can be scored then."""
        if self.positives is None:
            raise DatasetError(f"{self.root}: the true answers are not known, so nothing can be scored")
        return self.positives

    def places(self, ranked: np.ndarray) -> np.ndarray | None:
        """Positions (Q, K, 2) of database entries (Q, K); None where positions are not known."""
        return None if self.positions is None else self.positions[ranked]

    def spans(self) -> Iterator[tuple[slice, slice]]:
        """The queries of each group, and the database entries that they are searched in."""
        sides = (zip(side.offsets, side.offsets[1:]) for side in (self.queries, self.database))
        for (first, last), (start, stop) in zip(*sides):
            yield slice(int(first), int(last)), slice(int(start), int(stop))

    def merged(self) -> RetrievalSet:
        """The same entries in one group: every query is searched in the whole database."""
        queries, database = (replace(side, offsets=np.array([0, len(side)])) for side in (self.queries, self.database))
        return replace(self, queries=queries, database=database)

    def without_own(self, similarity: np.ndarray, ranked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A search's results (Q, K + 1) for all queries without each query itself, (Q, K); the same where queries and
        database are different images."""
        if self.own is None:
            return similarity, ranked
        other = ranked != self.own[:, None]
        other[other.all(1), -1] = False  # the query itself came later than that
        shape = len(ranked), ranked.shape[1] - 1
        return similarity[other].reshape(shape), ranked[other].reshape(shape)

    def image_files(self) -> np.ndarray:
        """(M,) str, every image of queries and database, those of the queries first; repeats stay in."""
        return np.concatenate([self.queries.images.ravel(), self.database.images.ravel()])

    def counts(self) -> dict[str, int]:
        """``queries``: the scored ones; ``queries_without_positives``: those set apart; ``database``."""
        queries = len(self.scored)
        apart = len(self.queries) - queries
        return {"queries": queries, "queries_without_positives": apart, "database": len(self.database)}
