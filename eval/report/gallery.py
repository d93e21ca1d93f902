"""The queries and database entries of a page, as plain values for its script."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vpr.eval.report.subject import Stage, Subject, natural_key

ANSWERS = 5  # first answers of each stage
SEED = 0  # of the sample
BETWEEN_CITIES_M = 1e6  # cities of a retrieval set are farther apart than this, and smaller


@dataclass(frozen=True, eq=False)
class Gallery:
    """The queries of a subject that are on the page."""

    subject: Subject
    queries: np.ndarray  # (q,) int64, rising query numbers

    @classmethod
    def sample(cls, subject: Subject, limit: int) -> Gallery:
        """The scored queries, or a random sample if there are more than the limit."""
        queries = subject.data.scored
        if len(queries) > limit:
            queries = np.sort(np.random.default_rng(SEED).choice(queries, limit, replace=False))
        return cls(subject, queries)

    @cached_property
    def entries(self) -> np.ndarray:
        """(e,) int64, rising numbers of the database entries among the first answers."""
        entries = np.unique(
            np.concatenate([stage.ranked[self.queries, :ANSWERS].ravel() for stage in self.subject.stages])
        )
        return entries[entries >= 0]

    @cached_property
    def files(self) -> list[str]:
        """The image files of the queries, then those of the entries. A sequence has its centre frame."""
        data = self.subject.data
        sides = (data.queries.images[self.queries], data.database.images[self.entries])
        return [name for images in sides for name in images[:, images.shape[1] // 2].tolist()]

    def pairs(self) -> list[tuple[int, int]]:
        """The numbers of query and entry of all pairs on the page, without repeats.

        First the first answers of the last stage, then the first answer of each other stage.
        """
        *others, last = self.subject.stages
        pairs: dict[tuple[int, int], None] = {}
        for stage, count in [(last, ANSWERS), *((stage, 1) for stage in others)]:
            for query in self.queries.tolist():
                pairs |= {(query, entry): None for entry in stage.ranked[query, :count].tolist() if entry >= 0}
        return list(pairs)

    def record(self) -> dict[str, Any]:
        """The data for the script of the page, without thumbnails and matches.

        Entries and labels are indices into lists.
        """
        data = self.subject.data
        labels = {name: labels[self.queries] for name, labels in self.subject.facets.items()}
        values = {name: sorted(set(column.tolist()), key=natural_key) for name, column in labels.items()}
        return {
            "stages": [stage.name for stage in self.subject.stages],
            "versus": self.subject.versus,
            "matched": self.subject.matched,
            "scored": data.positives is not None,
            "facets": [{"name": name, "values": values[name]} for name in labels],
            "queries": [self._query(query) for query in self.queries.tolist()],
            "entries": [
                {"key": str(data.database.names[entry]), "at": self._place(data.positions, entry)}
                for entry in self.entries.tolist()
            ],
            "labels": [[values[name].index(column[number]) for name, column in labels.items()]
                       for number in range(len(self.queries))],
        }  # fmt: skip

    def _query(self, query: int) -> dict[str, Any]:
        """One query: its key, its position, and the first answers of each stage."""
        data, stages = self.subject.data, self.subject.stages
        positives = set() if data.positives is None else set(data.positives[query].tolist())
        return {
            "key": str(data.queries.names[query]),
            "at": self._place(data.query_positions, query),
            "answers": [_answers(stage, query, self.entries, positives) for stage in stages],
        }

    @cached_property
    def _starts(self) -> np.ndarray | None:
        """(G,) the first easting of each city, in rising order; None if positions are unknown. Cities lie far apart."""
        data = self.subject.data
        if data.positions is None or data.query_positions is None:
            return None
        eastings = np.unique(np.concatenate([data.positions[:, 0], data.query_positions[:, 0]]))
        return eastings[np.r_[True, np.diff(eastings) > BETWEEN_CITIES_M]]

    def _place(self, positions: np.ndarray | None, number: int) -> list[float] | None:
        """City, easting from the first one of the city, and northing, in metres; None if positions are unknown."""
        if positions is None or self._starts is None:
            return None
        east, north = positions[number]
        city = int(np.searchsorted(self._starts, east, side="right")) - 1
        return [city, round(float(east - self._starts[city]), 1), round(float(north), 1)]


def _answers(stage: Stage, query: int, entries: np.ndarray, positives: set[int]) -> dict[str, Any]:
    """The first answers of a stage to a query."""
    ranked = stage.ranked[query]
    first = ranked[:ANSWERS]
    first = first[first >= 0]
    hits = np.flatnonzero(np.isin(ranked, list(positives)))
    sides = (stage.global_similarity, stage.structural)
    scores = [None if side is None else _round(side[query, : len(first)]) for side in sides]
    return {
        "entries": np.searchsorted(entries, first).tolist(),
        "right": [entry in positives for entry in first.tolist()],
        "global": scores[0],
        "structural": scores[1],
        "rank": int(hits[0]) + 1 if len(hits) else None,
        "probability": None if stage.probability is None else _round(stage.probability[query : query + 1])[0],
    }


def _round(values: np.ndarray) -> list[float | None]:
    return [round(float(value), 3) if np.isfinite(value) else None for value in values]
