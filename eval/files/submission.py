"""Rankings as names, and submission files of all queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.files.prediction_file import write_predictions


def name_rankings(data: RetrievalSet, ranked: np.ndarray) -> tuple[list[str], list[list[str]]]:
    """Rankings (Q, K) as names: the queries, and the predictions of each. Entries of -1 are dropped."""
    names = data.database.names.astype(object)
    return data.queries.names.tolist(), [names[row[row >= 0]].tolist() for row in ranked]


def write_submission(path: Path, data: RetrievalSet, ranked: np.ndarray) -> None:
    """Write the rankings of all queries, atomically: a .csv, or a .zip with one .csv at its root.

    ranked: (Q, K) int, the predictions of each query without repeats, filled up with -1. Rows may differ in length: a
    small city has fewer entries. Raises PredictionError for another suffix, and ValueError for a row that is empty or
    has a gap or a repeat, and for a wrong Q.
    """
    if len(ranked) != len(data.queries):
        raise ValueError(f"{len(ranked)} rankings for {len(data.queries)} queries; rank every query")
    valid, ordered = ranked >= 0, np.sort(ranked, axis=1)
    gaps = (~valid[:, :-1] & valid[:, 1:]).any() or not valid.any(1).all()
    if gaps or ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError("a ranking is empty, or has a gap or a repeat; give every query different predictions")
    write_predictions(path, *name_rankings(data, ranked))
