"""Recall@k and mAP@k of rankings, as the official MSLS evaluator defines them.

Both take

ranked : (Q, K) int array, or Q sequences of uneven length
    Database indices of each query, best first. A negative number is a rank without a valid prediction, and counts as
    wrong. A row may be shorter than k.
positives : Ragged, or Q sequences of int
    Database indices of the positives of each query, in any order; a repeated index counts once.

Both have these rules:

- Ties: a ranking has none; ties of scores are broken before.
- Queries without positives are not scored, or if the caller wants that, they are scored as wrong. VprError is raised
  if no query has a positive.
- If a prediction is repeated, the first one counts, and the others are wrong.
- Self-matches are not special: queries and database are different images in MSLS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vpr.base.errors import VprError
from vpr.datasets.ragged import Ragged
from vpr.datasets.retrieval_set import Unanswered

KS: tuple[int, ...] = (1, 5, 10, 20)

Metrics = Callable[[np.ndarray, Ragged], dict[str, float]]  # rankings (Q, K) and positives to figures
Rankings = Ragged | Sequence[Sequence[int]] | Sequence[np.ndarray]


def recall_at_k(
    ranked: np.ndarray | Rankings, positives: Rankings, ks: Sequence[int] = KS, unanswered: Unanswered = "left out"
) -> dict[int, float]:
    """Share of the queries with at least one positive among the first k, for each k, in [0, 1].

    >>> recall_at_k([[7, 3], [1, 2]], [[3], [9]], ks=(1, 2))
    {1: 0.0, 2: 0.5}
    """
    return _recall(first_hits(ranked, positives, max(ks), unanswered)[0], ks)


def map_at_k(
    ranked: np.ndarray | Rankings, positives: Rankings, ks: Sequence[int] = KS, unanswered: Unanswered = "left out"
) -> dict[int, float]:
    """Mean over queries of AP@k = (sum of precision at each hit within k) / min(#positives, k).

    >>> map_at_k([[7, 3, 4]], [[3, 4]], ks=(1, 3))
    {1: 0.0, 3: 0.5833333333333333}
    """
    return _mean_average_precision(*first_hits(ranked, positives, max(ks), unanswered), ks)


def evaluate(
    ranked: np.ndarray | Rankings, positives: Rankings, ks: Sequence[int] = KS, unanswered: Unanswered = "left out"
) -> dict[str, float]:
    """Both metrics: {"recall@1": ..., "recall@5": ..., "map@1": ..., ...}."""
    hits, counts = first_hits(ranked, positives, max(ks), unanswered)
    recall = {f"recall@{k}": value for k, value in _recall(hits, ks).items()}
    return recall | {f"map@{k}": value for k, value in _mean_average_precision(hits, counts, ks).items()}


def recalls_per_query(
    ranked: np.ndarray | Rankings, positives: Rankings, ks: Sequence[int] = KS
) -> dict[str, np.ndarray]:
    """``recall@k`` of each query with positives, (S,) float, 0 or 1; the mean is that of `evaluate`."""
    hits, _ = first_hits(ranked, positives, max(ks))
    return {f"recall@{k}": hits[:, :k].any(axis=1).astype(float) for k in ks}


def _recall(hits: np.ndarray, ks: Sequence[int]) -> dict[int, float]:
    return {k: float(hits[:, :k].any(axis=1).mean()) for k in ks}


def _mean_average_precision(hits: np.ndarray, counts: np.ndarray, ks: Sequence[int]) -> dict[int, float]:
    ranks = np.arange(1, hits.shape[1] + 1)
    precision_at_hits = hits * np.cumsum(hits, axis=1) / ranks
    sums = np.cumsum(precision_at_hits, axis=1)
    return {k: float((sums[:, k - 1] / np.clip(counts, 1, k)).mean()) for k in ks}


def rectangular(rows: np.ndarray | Rankings, columns: int) -> np.ndarray:
    """(Q, columns) int64: each row, cut to ``columns`` entries or filled up with -1."""
    result = np.full((len(rows), columns), -1, np.int64)
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        width = min(columns, rows.shape[1])
        result[:, :width] = rows[:, :width]
        return result
    for place, row in zip(result, rows):
        width = min(columns, len(row))
        place[:width] = row[:width]
    return result


def first_hits(
    ranked: np.ndarray | Rankings, positives: Rankings, depth: int, unanswered: Unanswered = "left out"
) -> tuple[np.ndarray, np.ndarray]:
    """The hits, (S, depth) bool, and the number of positives, (S,) int, of the scored queries.

    A hit is the first rank of a positive. unanswered: whether queries without a positive are scored, as wrong. Raises
    VprError if no query has a positive.
    """
    if len(ranked) != len(positives):
        raise ValueError(f"{len(ranked)} rankings for {len(positives)} queries; give one for each query")
    ranked = rectangular(ranked, depth)
    rows = [_list(row) for row in positives]
    counts = np.array([len(set(row)) for row in rows], dtype=np.int64)
    scored = np.arange(len(counts)) if unanswered == "wrong" else np.flatnonzero(counts)
    if not counts.any():
        raise VprError("no query has a positive, so nothing can be scored; widen the radius or the subtask")
    values = np.concatenate([np.asarray(rows[row], np.int64) for row in scored])
    lengths = [len(rows[row]) for row in scored]
    ranked = ranked[scored]
    base = int(max(ranked.max(), values.max())) + 1
    targets = np.sort(np.repeat(np.arange(len(scored)), lengths) * base + values)
    pairs = np.arange(len(scored))[:, None] * base + ranked
    nearest = np.minimum(np.searchsorted(targets, pairs), len(targets) - 1)
    hits = (targets[nearest] == pairs) & (ranked >= 0)
    _, first = np.unique(pairs[hits], return_index=True)
    unrepeated = np.zeros(int(hits.sum()), bool)
    unrepeated[first] = True
    hits[hits] = unrepeated
    return hits, counts[scored]


def _list(row: Sequence[int] | np.ndarray) -> list[int]:
    return row.tolist() if isinstance(row, np.ndarray) else list(row)
