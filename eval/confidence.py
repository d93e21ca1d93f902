"""How good a confidence is: AUPRC beside the field's baselines, and the calibration error of probabilities.

A query is right when its first answer is. All take queries (Q,) or candidates (Q, K) in the final order.
"""

from dataclasses import dataclass

import numpy as np

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.ranking import Reranking, Shortlist
from vpr.retrieval.confidence import Curve

BINS = 10  # of probabilities, equally wide
SUE_ANSWERS, SUE_DECAY, SUE_LIMIT_M = 10, 350.0, 500.0  # of Zaffar et al., CVPR 2024


@dataclass(frozen=True)
class ConfidenceScore:
    """Figures of one stage, shares in [0, 1]; None where positions or scores are missing."""

    auprc: dict[str, float | None]  # ours, l2, pa, sue
    ece: float | None


def score_confidence(stage: Shortlist | Reranking, data: RetrievalSet, curve: Curve | None) -> ConfidenceScore:
    """Score the confidence of a stage's first answers over the queries that have a positive."""
    measures: dict[str, np.ndarray | None] = {"ours": stage.separation, "l2": None, "pa": None, "sue": None}
    if stage.similarity is not None:
        measures |= baselines(stage.similarity, data.places(stage.ranked))
    rows = data.scored
    right = first_is_right(stage.ranked[rows], data, rows)
    found = {
        name: None if measure is None else area_under_precision_recall(measure[rows], right)
        for name, measure in measures.items()
    }
    probabilities = None if curve is None or stage.separation is None else curve(stage.separation[rows])
    return ConfidenceScore(found, None if probabilities is None else calibration_error(probabilities, right))


def first_is_right(ranked: np.ndarray, data: RetrievalSet, queries: np.ndarray) -> np.ndarray:
    """(S,) bool: the first of each ranking (S, K) answers its query, the queries being given by number (S,)."""
    return np.array([first in data.answers[query] for first, query in zip(ranked[:, 0], queries)], bool)


def baselines(similarity: np.ndarray, places: np.ndarray | None) -> dict[str, np.ndarray | None]:
    """What the field goes by, each (Q,), higher is surer; from the cosines (Q, K) of global descriptors.

    l2: minus the distance of the first answer. pa, perceptual aliasing: minus the ratio of the first two distances.
    sue: minus the spread of the first 10 answers' positions (Q, K, 2), in square metres, each weighing exp(-350 times
    its distance), offsets cut at 500 m; None without positions.
    """
    distance = np.sqrt(np.maximum(2 - 2 * np.where(np.isfinite(similarity), similarity, -1), 1e-12))
    second = distance[:, min(1, distance.shape[1] - 1)]
    measures = {"l2": -distance[:, 0], "pa": -distance[:, 0] / second, "sue": None}
    if places is not None:
        measures["sue"] = -_spread(distance[:, :SUE_ANSWERS], places[:, :SUE_ANSWERS])
    return measures


def _spread(distance: np.ndarray, places: np.ndarray) -> np.ndarray:
    weights = np.exp(-SUE_DECAY * (distance - distance.min(1, keepdims=True)))
    weights /= weights.sum(1, keepdims=True)
    offset = places - places[:, :1]
    length = np.linalg.norm(offset, axis=2, keepdims=True)
    offset = offset * np.minimum(1, SUE_LIMIT_M / np.maximum(length, 1e-9))
    mean = (weights[..., None] * offset).sum(1, keepdims=True)
    return (weights * ((offset - mean) ** 2).sum(2)).sum(1)


def area_under_precision_recall(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """AUPRC in [0, 1] by trapezoids, as scikit-learn's curve has it; None where no query is right."""
    from sklearn.metrics import auc, precision_recall_curve

    if not right.any():
        return None
    precision, recall, _ = precision_recall_curve(right, confidence)
    return float(auc(recall, precision))


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: the mean over queries of |mean probability - share right| of the query's bin, over
    `BINS` bins (Guo et al., ICML 2017).

    >>> calibration_error(np.array([0.25, 0.25, 1.0, 1.0]), np.array([True, False, True, True]))
    0.125
    """
    gaps = [abs(probabilities[bin_].mean() - right[bin_].mean()) * bin_.mean() for bin_ in bins_of(probabilities)]
    return float(np.sum(gaps))


def bins_of(probabilities: np.ndarray) -> list[np.ndarray]:
    """(Q,) bool for each of `BINS` bins of probabilities that is not empty, rising: which queries it holds."""
    place = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    return [place == number for number in np.unique(place)]
