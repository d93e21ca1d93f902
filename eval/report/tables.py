"""The tables of a page: the headline, and recall by what is known of the queries."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from vpr.datasets.msls.facets import facets
from vpr.datasets.msls.subtasks import subtask_members
from vpr.eval.metrics import first_hits
from vpr.eval.report.subject import Stage, Subject, Table, in_order
from vpr.eval.tables import title_of

if TYPE_CHECKING:
    from vpr.datasets.msls.dataset import MSLS
    from vpr.datasets.retrieval_set import RetrievalSet

KS = (1, 5, 10)
NEAREST_M = (0, 5, 10, 15, 20)  # metres that divide the queries by their nearest positive


def headline(results: Mapping[str, Mapping[str, object]]) -> Table:
    """The metrics of each stage, as ``--json`` has them, in per cent."""
    names = [name for name, value in next(iter(results.values())).items() if isinstance(value, float)]
    rows = [(stage, *(_shown(metrics[name]) for name in names)) for stage, metrics in results.items()]
    return Table("Results", tuple(title_of(name) for name in names), tuple(rows))


def by_facet(subject: Subject) -> list[Table]:
    """Recall@1, 5 and 10 of each stage by each facet of the scored queries."""
    data, scored = subject.data, subject.data.scored
    hits = [
        np.stack([first_hits(ranked, data.answers, max(KS))[0] for ranked in stage.rankings])
        for stage in subject.stages
    ]
    tables = []
    for name, labels in subject.facets.items():
        own = labels[scored]
        rows = [
            (str(value), str(int((own == value).sum())), *_recalls([found[:, own == value] for found in hits]))
            for value in sorted(set(own.tolist()), key=in_order)
        ]
        tables.append(Table(f"Recall by {name}", _columns(subject.stages), tuple(rows)))
    return tables


def known_of(dataset: MSLS) -> dict[str, np.ndarray]:
    """(Q,) str labels of the queries by facet: what MSLS tells, and the distance of the nearest positive."""
    nearest = nearest_positive(dataset.retrieval_set)
    return facets(dataset) | ({} if nearest is None else {"nearest positive": nearest})


def nearest_positive(data: RetrievalSet) -> np.ndarray | None:
    """(Q,) str labels: metres from each query to its nearest positive; None where positions are not known, and where
    all queries fall into one class."""
    if data.positions is None or data.query_positions is None or data.positives is None:
        return None
    labels = np.full(len(data.queries), "none", dtype=object)
    names = [f"{low} to {high} m" for low, high in pairwise(NEAREST_M)] + [f"{NEAREST_M[-1]} m and more"]
    for query in data.scored.tolist():
        offsets = data.positions[data.positives[query]] - data.query_positions[query]
        metres = np.linalg.norm(offsets, axis=1).min()
        labels[query] = names[int(np.searchsorted(NEAREST_M, metres, side="right")) - 1]
    return labels if len(set(labels[data.scored].tolist())) > 1 else None


def by_subtask(dataset: MSLS, stages: tuple[Stage, ...]) -> Table | None:
    """Recall by subtask: the rankings with the subtask's queries and, of the database, its entries only; None where a
    dataset has no subtasks."""
    rows = []
    data = dataset.retrieval_set
    for name, members in subtask_members(dataset).items():
        positives = [[entry for entry in data.answers[query] if members.database[entry]] for query in members.queries]
        if not any(positives):
            continue
        hits = [
            first_hits(_kept(stage.ranked[members.queries], members.database), positives, max(KS))[0]
            for stage in stages
        ]
        rows.append((name, str(len(hits[0])), *_recalls(hits)))
    note = (
        "Of each subtask's queries, in the order of the rankings above with the database entries of the subtask alone. "
        "--subtask searches those alone, and finds deeper ones too."
    )
    return Table("Recall by subtask", _columns(stages), tuple(rows), note) if rows else None


def _kept(ranked: np.ndarray, database: np.ndarray) -> list[np.ndarray]:
    """The rankings without the entries that the database (N,) bool lacks."""
    return [row[(row >= 0) & database[row]] for row in ranked]


def _columns(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    return ("queries", *(f"R@{k}, {stage.name}" for stage in stages for k in KS))


def _recalls(hits: list[np.ndarray]) -> list[str]:
    """Of each stage whose hits (..., s, K) are given, for each of `KS`."""
    return [_shown(found[..., :k].any(-1).mean()) for found in hits for k in KS]


def _shown(share: object) -> str:
    return f"{100 * float(share):.1f}"  # type: ignore[arg-type]
