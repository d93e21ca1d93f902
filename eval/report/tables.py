"""The tables of a page: the metrics, and recall by facets of the queries."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from vpr.datasets.msls.facets import facets
from vpr.datasets.msls.subtasks import subtask_members
from vpr.eval.metrics import first_hits
from vpr.eval.report.subject import Stage, Subject, Table, natural_key
from vpr.eval.tables import title_of

if TYPE_CHECKING:
    from vpr.datasets.msls.dataset import MSLS
    from vpr.datasets.retrieval_set import RetrievalSet

KS = (1, 5, 10)
NEAREST_M = (0, 5, 10, 15, 20)  # bounds of the classes of queries by their nearest positive


def headline(results: Mapping[str, Mapping[str, object]]) -> Table:
    """The metrics of each stage, in per cent."""
    names = [name for name, value in next(iter(results.values())).items() if isinstance(value, float)]
    rows = [(stage, *(_percent(metrics[name]) for name in names)) for stage, metrics in results.items()]
    return Table("Results", tuple(title_of(name) for name in names), tuple(rows))


def facet_tables(subject: Subject) -> list[Table]:
    """A table for each facet: Recall@1, 5 and 10 of each stage, by label of the scored queries."""
    data, scored = subject.data, subject.data.scored
    hits = [
        np.stack([first_hits(ranked, data.answers, max(KS), data.unanswered)[0] for ranked in stage.rankings])
        for stage in subject.stages
    ]
    tables = []
    for name, labels in subject.facets.items():
        members = labels[scored]
        rows = [
            (
                str(value),
                str(int((members == value).sum())),
                *_recalls([stage_hits[:, members == value] for stage_hits in hits]),
            )
            for value in sorted(set(members.tolist()), key=natural_key)
        ]
        tables.append(Table(f"Recall by {name}", _columns(subject.stages), tuple(rows)))
    return tables


def query_facets(dataset: MSLS) -> dict[str, np.ndarray]:
    """(Q,) str labels of the queries by facet: those of MSLS, and the distance of the nearest positive."""
    nearest = nearest_positive(dataset.retrieval_set)
    return facets(dataset) | ({} if nearest is None else {"nearest positive": nearest})


def nearest_positive(data: RetrievalSet) -> np.ndarray | None:
    """(Q,) str labels: the class of the distance from each query to its nearest positive.

    None if positions are unknown or all queries have one class.
    """
    if data.positions is None or data.query_positions is None or data.positives is None:
        return None
    labels = np.full(len(data.queries), "none", dtype=object)
    names = [f"{low} to {high} m" for low, high in pairwise(NEAREST_M)] + [f"{NEAREST_M[-1]} m and more"]
    for query in np.flatnonzero(data.positives.counts).tolist():
        offsets = data.positions[data.positives[query]] - data.query_positions[query]
        metres = np.linalg.norm(offsets, axis=1).min()
        labels[query] = names[int(np.searchsorted(NEAREST_M, metres, side="right")) - 1]
    return labels if len(set(labels[data.scored].tolist())) > 1 else None


def subtask_table(dataset: MSLS, stages: tuple[Stage, ...]) -> Table | None:
    """Recall by subtask. Of the rankings only the queries and database entries of the subtask count.

    None if the dataset has no subtasks.
    """
    rows = []
    data = dataset.retrieval_set
    for name, members in subtask_members(dataset).items():
        positives = [[entry for entry in data.answers[query] if members.database[entry]] for query in members.queries]
        if not any(positives):
            continue
        hits = [
            first_hits(_restrict(stage.ranked[members.queries], members.database), positives, max(KS))[0]
            for stage in stages
        ]
        rows.append((name, str(len(hits[0])), *_recalls(hits)))
    note = (
        "The rankings above, reduced to the queries and database entries of each subtask. With --subtask only these "
        "entries are searched, so more of them are found."
    )
    return Table("Recall by subtask", _columns(stages), tuple(rows), note) if rows else None


def _restrict(ranked: np.ndarray, database: np.ndarray) -> list[np.ndarray]:
    """The rankings with only the entries of a part of the database, (N,) bool."""
    return [row[(row >= 0) & database[row]] for row in ranked]


def _columns(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    return ("queries", *(f"R@{k}, {stage.name}" for stage in stages for k in KS))


def _recalls(hits: list[np.ndarray]) -> list[str]:
    """The recalls of each stage at each of `KS`; hits (..., s, K)."""
    return [_percent(stage_hits[..., :k].any(-1).mean()) for stage_hits in hits for k in KS]


def _percent(share: object) -> str:
    return f"{100 * float(share):.1f}"  # type: ignore[arg-type]
