"""Exact pruning: no transport for candidates that a bound keeps out of the first ranks."""

import numpy as np

from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity
from vpr.transport import marginal_weights, upper_bound

CHUNK = 10  # candidates solved between two looks at the bound
SLACK = 1e-4  # scores may lie above the bound by the tolerance of the marginals, times the largest similarity


def pruned_scores(
    images: tuple[np.ndarray, ...],
    known: np.ndarray,
    config: RerankConfig,
    weight: float,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """S_struct of one query's candidates, (K,) float32; an upper bound of it where it cannot matter.

    A bound stands for each candidate that cannot be among the first ``config.prune`` by S_global + weight * S_struct.
    images: query patches (P, C), database patches (K, Q, C), query guide (C,), database guides (K, C), by which
    marginals weigh. known: S_global, (K,). weights: of the patches, (P,) and (K, Q), which rollout marginals need.
    Candidates are taken by falling bound; once the bound of the next, plus the slack, is below the ``prune``-th best
    score so far, so are all that follow. docs/reference/transport.md derives the bound.
    """
    query, database, own, theirs = images
    wide = database.astype(np.float32)
    similarity = (wide.reshape(-1, query.shape[1]) @ query.T).reshape(*wide.shape[:2], len(query)).swapaxes(1, 2)
    mu, nu = marginal_weights(config.marginals, query, wide, own, theirs, weights)
    structural = np.asarray(upper_bound(similarity, mu, nu, config.mass), np.float32)
    bound = known + weight * (structural + SLACK)
    order = np.argsort(-bound, kind="stable")
    exact: list[float] = []
    for start in range(0, len(order), CHUNK):
        some = order[start : start + CHUNK]
        if len(exact) >= config.prune and bound[some[0]] < sorted(exact, reverse=True)[config.prune - 1]:
            break
        # by the very call that scores all candidates: near ties must fall the same way
        given = None if weights is None else (weights[0], weights[1][some])
        pairs = query, database[some], own, theirs[some]
        structural[some] = structural_similarity(*pairs, transport=config.transport, weights=given, threads=1).score
        exact += (known[some] + weight * structural[some]).tolist()
    return structural
