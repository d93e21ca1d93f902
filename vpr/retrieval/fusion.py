"""From similarities to a ranking: S_global + w * S_struct, with geometry, or fusion with another model's shortlist."""

from dataclasses import dataclass

import numpy as np

from vpr.retrieval.confidence import ELSEWHERE_M, Curves, answer_separation, separation

NO_CANDIDATE = -1  # fills up rankings (Q, K) of queries with fewer than K candidates
LAMBDA_EVEN, LAMBDA_SLOPE, MAX_LAMBDA = 0.25, 0.78, 4.0  # fitted as described in docs/notes/confidence.md
LAMBDA_UNKNOWN = 0.5  # for ranks, if a run has no calibration to estimate trust from; for scores: LAMBDA_EVEN
MAX_TRUST = 0.98  # maximum trust in either side
GEOMETRY_SHARE, MAX_GEOMETRY = 0.5, 2.0  # chosen on rendered streets and altered photographs; docs/notes/geometry.md
LEAST_SEPARATION = 0.1  # keeps the trust in geometry finite


def reorder(candidates: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Each row of candidates (Q, K) sorted by descending score (Q, K), a permutation; equal scores keep their order."""
    return np.take_along_axis(candidates, np.argsort(-scores, axis=1, kind="stable"), 1)


def weighted_sum(global_similarity: np.ndarray, structural: np.ndarray, weight: float) -> np.ndarray:
    """S_global + weight * S_struct, (Q, K) float32; only S_global if the weight is 0."""
    return global_similarity + np.float32(weight) * structural if weight else global_similarity


def first_columns(scores: np.ndarray, count: int) -> np.ndarray:
    """The columns (Q, min(count, K)) of the best scores (Q, K) of each query, best first; equal scores in order."""
    order: np.ndarray = np.argsort(-scores, axis=1, kind="stable")
    return order[:, :count]


def add_geometry(
    scores: np.ndarray,
    geometry: np.ndarray,
    count: int,
    places: np.ndarray | None,
    elsewhere_m: float = ELSEWHERE_M,
) -> np.ndarray:
    """Scores (Q, K) float32 that also go by the geometry of the first ``count`` candidates of each query.

    scores: S_global + w * S_struct, -inf if there is no candidate. geometry (Q, K): `PatchGeometry.score`, -inf if it
    is not known. places: (Q, K, 2 or 3) or None, and elsewhere_m: as for `separation`.

    Among the first candidates, z + lambda z' decides, for z the score and z' the geometry in standard deviations from
    the mean of these candidates. Each query has a lambda of its own, without labels: half the separation of the best
    candidate by geometry, divided by that of the best one by score, at most 2. So geometry counts if it tells the
    candidates apart, as it does for cameras that stand still, and hardly if it does not. lambda z' is added in the unit
    of the scores. The other candidates stay behind them, in their order.
    """
    if not scores.shape[1]:
        return scores
    columns = first_columns(scores, count)
    own, other = (np.take_along_axis(side, columns, 1) for side in (scores, geometry))
    there = None if places is None else np.take_along_axis(places, columns[:, :, None], 1)
    by_geometry, by_score = (_best_separation(side, there, elsewhere_m) for side in (other, own))
    weight = np.minimum(GEOMETRY_SHARE * by_geometry / by_score, MAX_GEOMETRY)
    change = (weight * _spread(own))[:, None] * _standardise(other)
    changed = own + change
    fallen = np.where(np.isfinite(own), own, 0).min(1) - np.where(np.isfinite(own), changed, 0).min(1)
    fused = scores - np.maximum(fallen, 0)[:, None]  # the last of the first falls by so much, and the others with it
    np.put_along_axis(fused, columns, changed, 1)
    result: np.ndarray = fused.astype(np.float32)
    return result


def _best_separation(scores: np.ndarray, places: np.ndarray | None, elsewhere_m: float) -> np.ndarray:
    """The separation (Q,) of the best candidate by scores (Q, K) in any order, at least `LEAST_SEPARATION`."""
    order = np.argsort(-scores, axis=1, kind="stable")
    moved = None if places is None else np.take_along_axis(places, order[:, :, None], 1)
    best = separation(np.take_along_axis(scores, order, 1), moved, elsewhere_m=elsewhere_m)
    return np.asarray(np.maximum(best, LEAST_SEPARATION))


def fuse_ranks(scores: np.ndarray, constant: float = 60.0) -> np.ndarray:
    """Fuse the order of a shortlist with that of our scores: reciprocal rank fusion, Cormack et al., SIGIR 2009.

    scores (Q, K): ours, in the order of the shortlist. Returns (Q, K) float32: 1 / (constant + rank in the shortlist) +
    1 / (constant + rank by our scores), with ranks from 1.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ours = np.empty_like(order)
    np.put_along_axis(ours, order, np.arange(scores.shape[1])[None], 1)
    theirs = np.arange(scores.shape[1])[None]
    return (1 / (constant + 1 + theirs) + 1 / (constant + 1 + ours)).astype(np.float32)


@dataclass(frozen=True)
class Trust:
    """The weight of a shortlist in the fusion, and the estimated shares of queries behind it, None if not estimated."""

    fusion_weight: float  # lambda, the weight of the shortlist's scores
    ours: float | None = None  # share that our similarity answers right, by the calibrated confidence
    theirs: float | None = None  # share that the shortlist answers right
    agreement: float | None = None  # share for which both answers are the same place


def fuse_with_trust(scores: np.ndarray, fusion_weight: float, similarity: np.ndarray | None = None) -> np.ndarray:
    """Our scores fused with the shortlist's, z + lambda * z', (Q, K) float32; -inf if there is no candidate.

    scores, similarity: ours and the shortlist's, (Q, K) in the order of the shortlist. z and z' are these in standard
    deviations from the mean over the query's candidates. For a shortlist that has only ranks, z' is -ln(rank), with
    ranks from 1. fusion_weight: lambda.
    """
    theirs = -np.log(1 + np.arange(scores.shape[1]))[None] if similarity is None else _standardise(similarity)
    fused = _standardise(scores) + fusion_weight * theirs
    return np.where(np.isfinite(scores), fused, -np.inf).astype(np.float32)


def _standardise(scores: np.ndarray) -> np.ndarray:
    """Scores (Q, K) in standard deviations from the mean of their row; 0 for scores that are not finite."""
    return np.asarray(_offsets(scores) / np.maximum(_spread(scores), 1e-9)[:, None])


def _offsets(scores: np.ndarray) -> np.ndarray:
    """Scores (Q, K) minus the mean of their row; 0 for scores that are not finite."""
    present = np.isfinite(scores)
    count = np.maximum(present.sum(1, keepdims=True), 1)
    return np.where(present, scores - np.where(present, scores, 0).sum(1, keepdims=True) / count, 0)


def _spread(scores: np.ndarray) -> np.ndarray:
    """The standard deviation of each row of scores (Q, K), (Q,), of those that are finite."""
    count = np.maximum(np.isfinite(scores).sum(1), 1)
    return np.asarray(np.sqrt((_offsets(scores) ** 2).sum(1) / count))


def estimate_trust(
    scores: np.ndarray,
    structural: np.ndarray,
    places: np.ndarray | None,
    curves: Curves,
    similarity: np.ndarray | None = None,
    geometry: np.ndarray | None = None,
) -> Trust:
    """Estimate, without labels, how far to trust the shortlist of another model.

    scores, structural: our score and S_struct, (Q, K) in the order of the shortlist. places: (Q, K, 2) or None, as for
    `separation`. similarity (Q, K): the shortlist's scores; None if it has only ranks. curves: those of the run.
    geometry (Q, K): if our score goes by it, as for `add_geometry`.

    Let a be the mean probability of our first answers, and A the share of queries for which both first answers are one
    place. If both sides err independently, they agree only if both are right, so the shortlist is right for A / a of
    the queries. Two models that share errors agree more often; therefore a shortlist with scores is trusted at most as
    much as its separations are worth by the run's curve. lambda grows with the difference of the log odds of both
    sides.
    """
    answered = np.isfinite(scores).any(1)
    curve = curves.rerank if geometry is None else curves.geometry
    if curve is None or not answered.any():
        return Trust(LAMBDA_UNKNOWN if similarity is None else LAMBDA_EVEN)
    scores, structural = scores[answered], structural[answered]
    places = None if places is None else places[answered]
    order = np.argsort(-scores, axis=1, kind="stable")
    moved = None if places is None else np.take_along_axis(places, order[:, :, None], 1)
    by_geometry = None if geometry is None else np.take_along_axis(geometry[answered], order, 1)
    ours = float(curve(answer_separation(np.take_along_axis(structural, order, 1), by_geometry, moved)).mean())
    same = order[:, 0] == 0
    if places is not None and moved is not None:
        same |= np.linalg.norm(moved[:, 0] - places[:, 0], axis=1) <= ELSEWHERE_M
    agreement = float(same.mean())
    theirs = agreement / max(ours, 1e-9)
    if similarity is not None and curves.shortlist is not None:
        theirs = min(theirs, float(curves.shortlist(separation(similarity[answered], places)).mean()))
    ours, theirs = (min(max(share, 1 - MAX_TRUST), MAX_TRUST) for share in (ours, theirs))
    fusion_weight = LAMBDA_EVEN + LAMBDA_SLOPE * float(_log_odds(theirs) - _log_odds(ours))
    return Trust(min(max(fusion_weight, 0.0), MAX_LAMBDA), ours, theirs, agreement)


def _log_odds(share: float) -> float:
    return float(np.log(share / (1 - share)))
