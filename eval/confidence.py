"""The quality of a confidence: AUPRC beside the usual baselines, and the calibration error of its probabilities.

A query is right if its first answer is right. Arrays are (Q,) for queries, or (Q, K) for candidates in the final order.
"""

from dataclasses import dataclass

import numpy as np

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.ranking import Reranking, Shortlist
from vpr.retrieval.confidence import Curve
from vpr.retrieval.reliability import calibration_error

SUE_ANSWERS, SUE_DECAY, SUE_LIMIT_M = 10, 350.0, 500.0  # of Zaffar et al., CVPR 2024


@dataclass(frozen=True)
class ConfidenceScore:
    """The scores of one stage, in [0, 1]; None if positions or scores are missing."""

    auprc: dict[str, float | None]  # ours, l2, pa, sue
    ece: float | None  # expected calibration error of the probabilities


def score_confidence(stage: Shortlist | Reranking, data: RetrievalSet, curve: Curve | None) -> ConfidenceScore:
    """Score the confidence in the first answers of a stage, over the queries that have a positive."""
    measures: dict[str, np.ndarray | None] = {"ours": stage.separation, "l2": None, "pa": None, "sue": None}
    if stage.similarity is not None:
        measures |= confidence_baselines(stage.similarity, data.places(stage.ranked))
    rows = data.scored
    right = first_is_right(stage.ranked[rows], data, rows)
    areas = {
        name: None if measure is None else area_under_precision_recall(measure[rows], right)
        for name, measure in measures.items()
    }
    probabilities = None if curve is None or stage.separation is None else curve(stage.separation[rows])
    return ConfidenceScore(areas, None if probabilities is None else calibration_error(probabilities, right))


def first_is_right(ranked: np.ndarray, data: RetrievalSet, queries: np.ndarray) -> np.ndarray:
    """(S,) bool: whether the first entry of each ranking (S, K) is a positive. queries: (S,) numbers of the queries."""
    return np.array([first in data.answers[query] for first, query in zip(ranked[:, 0], queries)], bool)


def confidence_baselines(similarity: np.ndarray, places: np.ndarray | None) -> dict[str, np.ndarray | None]:
    """Measures of confidence from the cosines (Q, K) of global descriptors, each (Q,); higher is more confident.

    l2: minus the distance of the first answer. pa, perceptual aliasing: minus the ratio of the first two distances.
    sue: minus the variance of the positions (Q, K, 2) of the first 10 answers, in square metres; None without
    positions. The weight of an answer is exp(-350 times its distance). Offsets from the first answer are cut at 500 m.
    """
    distance = np.sqrt(np.maximum(2 - 2 * np.where(np.isfinite(similarity), similarity, -1), 1e-12))
    second = distance[:, min(1, distance.shape[1] - 1)]
    measures = {"l2": -distance[:, 0], "pa": -distance[:, 0] / second, "sue": None}
    if places is not None:
        measures["sue"] = -_spread(distance[:, :SUE_ANSWERS], places[:, :SUE_ANSWERS])
    return measures


def _spread(distance: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The weighted variance (Q,) of positions (Q, K, 2), as `confidence_baselines` describes it."""
    weights = np.exp(-SUE_DECAY * (distance - distance.min(1, keepdims=True)))
    weights /= weights.sum(1, keepdims=True)
    offset = places - places[:, :1]
    length = np.linalg.norm(offset, axis=2, keepdims=True)
    offset = offset * np.minimum(1, SUE_LIMIT_M / np.maximum(length, 1e-9))
    mean = (weights[..., None] * offset).sum(1, keepdims=True)
    return np.asarray((weights * ((offset - mean) ** 2).sum(2)).sum(1))


def area_under_precision_recall(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """AUPRC in [0, 1] by trapezoids, on scikit-learn's curve; None if no query is right."""
    from sklearn.metrics import auc, precision_recall_curve

    if not right.any():
        return None
    precision, recall, _ = precision_recall_curve(right, confidence)
    return float(auc(recall, precision))
