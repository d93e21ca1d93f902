"""Metrics of image retrieval with class labels: P@1, RP, MAP@R and Recall@k.

They take rankings (Q, K) of database entries, best first, filled up with negative numbers, and the positives of each
query, as `eval.metrics` does. R is the number of positives of a query:

- P@1: share of the queries whose first entry is a positive.
- RP, R-precision: share of positives among the first R, the mean over queries.
- MAP@R: the mean over i = 1..R of the precision at i if entry i is a positive, else of 0. A perfect ranking scores 1.
- Recall@k: share of the queries with a positive among the first k.

Source: Musgrave et al., "A Metric Learning Reality Check", ECCV 2020. A query is not a positive of itself, and is not
ranked. Queries without positives are not scored. If an entry is repeated, the first one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import get_args

import numpy as np

from vpr.base.errors import VprError
from vpr.datasets.ragged import Ragged
from vpr.eval.calibration.criterion import Criterion, Setting
from vpr.eval.metrics import Rankings, first_hits, rectangular
from vpr.retrieval.settings import Calibration
from vpr.transport.marginals import FromGlobals

BLOCK = 4096  # queries at a time
KS = (1, 2, 4, 8, 10, 100, 1000)


def evaluate_labels(
    ranked: np.ndarray | Rankings, positives: Rankings, ks: Sequence[int] = KS, *, count_query: bool = False
) -> dict[str, float]:
    """``p@1``, ``rp``, ``map@r`` and ``recall@k`` for each k up to the length of the rankings, in [0, 1].

    count_query: count as the code of the paper does (Zhang et al., BMVC 2022): the query is one of the R positives and
    is never found, so a perfect ranking scores R / (R + 1). Raises ValueError for rankings shorter than the largest R.

    >>> evaluate_labels(np.array([[3, 9, 4]]), Ragged.from_rows([[3, 4]]), ks=(1,))
    {'p@1': 1.0, 'rp': 0.5, 'map@r': 0.5, 'recall@1': 1.0}
    """
    reached = [k for k in ks if k <= max(len(row) for row in ranked)]
    blocks = list(_blocks(ranked, positives, count_query, reached))
    values = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return {name: float(shares.mean()) for name, shares in values.items()}


def metrics_per_query(ranked: np.ndarray | Rankings, positives: Rankings) -> dict[str, np.ndarray]:
    """``p@1``, ``rp`` and ``map@r`` of each query with positives, (S,) float in [0, 1]; errors as `evaluate_labels`."""
    blocks = list(_blocks(ranked, positives, False, ()))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _blocks(
    ranked: np.ndarray | Rankings, positives: Rankings, count_query: bool, ks: Sequence[int]
) -> Iterator[dict[str, np.ndarray]]:
    """The metrics of each query, `BLOCK` queries at a time."""
    depth = max(len(row) for row in ranked)
    largest = max((len(row) for row in positives), default=0)
    if depth < largest:
        raise ValueError(f"rankings of {depth} are shorter than the {largest} positives of a query")
    if not largest:
        raise VprError("no query has a positive, so nothing can be scored; classes need two images")
    wide = ranked if isinstance(ranked, np.ndarray) else rectangular(ranked, depth)
    ranks = np.arange(1, depth + 1)
    for start in range(0, len(wide), BLOCK):
        rows = [np.asarray(positives[row]) for row in range(start, min(start + BLOCK, len(wide)))]
        if not any(len(row) for row in rows):
            continue
        hits, counts = first_hits(wide[start : start + BLOCK], rows, depth)
        within = hits & (ranks <= counts[:, None])
        divisor = counts + int(count_query)
        precision = within * np.cumsum(hits, axis=1) / ranks
        shares = {"p@1": hits[:, 0] * 1.0, "rp": within.sum(1) / divisor, "map@r": precision.sum(1) / divisor}
        yield shares | {f"recall@{k}": hits[:, :k].any(1) * 1.0 for k in ks}


LABEL_CRITERION = Criterion(
    metrics=partial(evaluate_labels, ks=(1,)),
    per_query=metrics_per_query,
    names=("p@1", "map@r"),
    marginals=get_args(FromGlobals),
    adapt=False,
    needs_all_positives=True,
    measured_with=Setting("complement", 1.0, Calibration().weight),
)


def chance_of_labels(positives: Ragged, database: int) -> dict[str, float]:
    """The expected metrics of a random order.

    database: number of entries other than the query. Every rank holds a positive with probability p = R / database, so
    P@1 and RP are p. If rank i holds a positive, the i - 1 ranks before it hold (i - 1) (R - 1) / (database - 1)
    positives on average.
    """
    counts = positives.counts[positives.counts > 0].astype(np.float64)
    share = counts / database
    before = (counts - 1) / max(database - 1, 1)
    precision = [
        np.mean((1 + before[row] * np.arange(int(count))) / np.arange(1, int(count) + 1))
        for row, count in enumerate(counts)
    ]
    values = {"p@1": share, "rp": share, "map@r": share * np.array(precision)}
    return {name: float(shares.mean()) for name, shares in values.items()}
