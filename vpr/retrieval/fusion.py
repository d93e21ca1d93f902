"""From similarities to an order: global and structural similarity added, or fused with another model's shortlist."""

from dataclasses import dataclass

import numpy as np

from vpr.retrieval.confidence import ELSEWHERE_M, Curves, separation

NO_CANDIDATE = -1  # fills rankings (Q, K) of queries with fewer than K candidates
LAMBDA_EVEN, LAMBDA_SLOPE, MOST_LAMBDA = 0.25, 0.78, 4.0  # docs/notes/confidence.md says how they were fixed
LAMBDA_UNKNOWN = 0.5  # for ranks where a run has no calibration, so that no trust can be estimated; scores: even
SUREST = 0.98  # no side is trusted more


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


@dataclass(frozen=True)
class Trust:
    """How far the shortlist's order is trusted, and why; shares of queries in [0, 1], None where not estimated."""

    lambda_: float
    ours: float | None = None  # answered right by our similarity alone, by the calibrated confidence
    theirs: float | None = None  # answered right by the shortlist's first
    agreement: float | None = None  # for which both answer the same place


def trusted(scores: np.ndarray, lambda_: float, similarity: np.ndarray | None = None) -> np.ndarray:
    """Our scores fused with the shortlist's, z + lambda * z', (Q, K) float32; -inf where there is no candidate.

    scores, similarity: ours and the shortlist's, (Q, K) in the shortlist's order; z and z' are both in standard
    deviations from the mean of the query's candidates. For a shortlist that has ranks only, -ln(rank) stands for z',
    ranks from 1.
    """
    theirs = -np.log(1 + np.arange(scores.shape[1]))[None] if similarity is None else _standardised(similarity)
    fused = _standardised(scores) + lambda_ * theirs
    return np.where(np.isfinite(scores), fused, -np.inf).astype(np.float32)


def _standardised(scores: np.ndarray) -> np.ndarray:
    """Scores (Q, K) in standard deviations from the mean of each row; 0 where one is not finite."""
    there = np.isfinite(scores)
    count = np.maximum(there.sum(1, keepdims=True), 1)
    offset = np.where(there, scores - np.where(there, scores, 0).sum(1, keepdims=True) / count, 0)
    spread = np.sqrt((offset**2).sum(1, keepdims=True) / count)
    return offset / np.maximum(spread, 1e-9)


def trust(
    scores: np.ndarray,
    structural: np.ndarray,
    places: np.ndarray | None,
    curves: Curves,
    similarity: np.ndarray | None = None,
) -> Trust:
    """Estimate, without labels, how far to trust a shortlist that another model made.

    scores, structural: our total and S_struct, (Q, K) in the shortlist's order; places (Q, K, 2) or None as
    `separation` takes them; similarity (Q, K): the shortlist's, None where it has ranks only. curves: of the run.

    a is the mean probability of our first answers. If both sides err independently, they agree where both are right,
    so the shortlist is right for A / a of the queries, A being the share on which both first answers are one place. It
    is trusted no further than its own separations are worth by the run's curve, where it has scores: two models that
    share their errors agree too often. lambda grows with the difference of the log odds of both sides.
    """
    answered = np.isfinite(scores).any(1)
    if curves.rerank is None or not answered.any():
        return Trust(LAMBDA_UNKNOWN if similarity is None else LAMBDA_EVEN)
    scores, structural = scores[answered], structural[answered]
    places = None if places is None else places[answered]
    order = np.argsort(-scores, axis=1, kind="stable")
    moved = None if places is None else np.take_along_axis(places, order[:, :, None], 1)
    ours = float(curves.rerank(separation(np.take_along_axis(structural, order, 1), moved)).mean())
    same = order[:, 0] == 0
    if places is not None and moved is not None:
        same |= np.linalg.norm(moved[:, 0] - places[:, 0], axis=1) <= ELSEWHERE_M
    agreement = float(same.mean())
    theirs = agreement / max(ours, 1e-9)
    if similarity is not None and curves.shortlist is not None:
        theirs = min(theirs, float(curves.shortlist(separation(similarity[answered], places)).mean()))
    ours, theirs = (min(max(share, 1 - SUREST), SUREST) for share in (ours, theirs))
    lambda_ = LAMBDA_EVEN + LAMBDA_SLOPE * float(_log_odds(theirs) - _log_odds(ours))
    return Trust(min(max(lambda_, 0.0), MOST_LAMBDA), ours, theirs, agreement)


def _log_odds(share: float) -> float:
    return float(np.log(share / (1 - share)))
