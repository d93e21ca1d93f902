"""From similarities to an order: global and structural similarity added, or two orders fused by ranks."""

import numpy as np

NO_CANDIDATE = -1  # fills rankings (Q, K) of queries with fewer than K candidates


def reorder(candidates: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Each row of candidates (Q, K) by falling score (Q, K); equal scores keep the shortlist's order. A permutation."""
    return np.take_along_axis(candidates, np.argsort(-scores, axis=1, kind="stable"), 1)


def weighted_sum(global_: np.ndarray, structural: np.ndarray, weight: float) -> np.ndarray:
    """S_global + weight * S_struct, (Q, K) float32; S_global alone for weight 0."""
    return global_ + np.float32(weight) * structural if weight else global_


def reciprocal_rank(scores: np.ndarray, constant: float = 60.0) -> np.ndarray:
    """Fuse the shortlist's order with ours where the shortlist has no scores (reciprocal rank fusion, Cormack et al.,
    SIGIR 2009).

    scores (Q, K): ours, in the shortlist's order. Returns (Q, K) float32: 1 / (constant + rank in the shortlist) +
    1 / (constant + rank by our scores), ranks from 1.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ours = np.empty_like(order)
    np.put_along_axis(ours, order, np.arange(scores.shape[1])[None], 1)
    theirs = np.arange(scores.shape[1])[None]
    return (1 / (constant + 1 + theirs) + 1 / (constant + 1 + ours)).astype(np.float32)
