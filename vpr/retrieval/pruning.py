"""Exact pruning: transport is skipped for candidates that an upper bound keeps out of the first ranks."""

import numpy as np

from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity
from vpr.transport import marginal_weights, upper_bound

CHUNK = 10  # candidates solved between two checks of the bound
SLACK = 1e-4  # scores may exceed the bound by the tolerance of the marginals times the largest similarity


def pruned_scores(
    images: tuple[np.ndarray, ...],
    global_similarity: np.ndarray,
    config: RerankConfig,
    weight: float,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """S_struct of one query's candidates, (K,) float32; for skipped candidates an upper bound of it.

    Skipped are candidates that cannot be among the first ``config.prune`` by S_global + weight * S_struct. Candidates
    are processed by descending bound. They end when the next bound, plus the slack, is below the ``prune``-th best
    score so far. docs/reference/transport.md derives the bound.

    images: query patches (P, C), database patches (K, Q, C), query guide (C,), database guides (K, C); see
    `marginal_guides`. global_similarity: S_global, (K,). weights: patch weights (P,) and (K, Q), for marginals that
    need them.
    """
    query, database, own, theirs = images
    wide = database.astype(np.float32)
    similarity = (wide.reshape(-1, query.shape[1]) @ query.T).reshape(*wide.shape[:2], len(query)).swapaxes(1, 2)
    mu, nu = marginal_weights(config.marginals, query, wide, own, theirs, weights)
    structural = np.asarray(upper_bound(similarity, mu, nu, config.mass), np.float32)
    bound = global_similarity + weight * (structural + SLACK)
    order = np.argsort(-bound, kind="stable")
    exact: list[float] = []
    for start in range(0, len(order), CHUNK):
        some = order[start : start + CHUNK]
        if len(exact) >= config.prune and bound[some[0]] < sorted(exact, reverse=True)[config.prune - 1]:
            break
        # the same call as without pruning, so that near ties have the same order
        given = None if weights is None else (weights[0], weights[1][some])
        pairs = query, database[some], own, theirs[some]
        structural[some] = structural_similarity(*pairs, transport=config.transport, weights=given, threads=1).score
        exact += (global_similarity[some] + weight * structural[some]).tolist()
    return structural
