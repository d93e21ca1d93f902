"""Measures of confidence: baselines by plain loops, areas and calibration errors worked out by hand."""

import numpy as np
import pytest

from vpr.eval.confidence import area_under_precision_recall, confidence_baselines


def test_baselines_equal_plain_loops():
    rng = np.random.default_rng(0)
    similarity = -np.sort(-rng.uniform(0.99, 1.0, (5, 12)), axis=1)
    places = rng.uniform(0, 2000, (5, 12, 2))
    found = confidence_baselines(similarity, places)
    for query in range(5):
        distance = [np.sqrt(2 - 2 * cosine) for cosine in similarity[query]]
        assert found["l2"][query] == pytest.approx(-distance[0])
        assert found["pa"][query] == pytest.approx(-distance[0] / distance[1])
        weights = np.array([np.exp(-350 * d) for d in distance[:10]])
        weights /= weights.sum()
        offsets = []
        for place in places[query, :10]:
            offset = place - places[query, 0]
            length = np.hypot(*offset)
            offsets.append(offset * (500 / length if length > 500 else 1))
        mean = sum(w * offset for w, offset in zip(weights, offsets))
        spread = sum(w * ((offset - mean) ** 2).sum() for w, offset in zip(weights, offsets))
        assert found["sue"][query] == pytest.approx(-spread, rel=1e-6)
    assert confidence_baselines(similarity, None)["sue"] is None


def test_one_candidate_is_enough_for_baselines():
    found = confidence_baselines(np.array([[0.5], [-np.inf]]), np.zeros((2, 1, 2)))
    assert all(np.isfinite(measure).all() for measure in found.values())


def test_the_area_of_a_perfect_and_of_a_useless_confidence():
    right = np.array([True, True, False, False])
    assert area_under_precision_recall(np.array([4.0, 3, 2, 1]), right) == pytest.approx(1)
    assert area_under_precision_recall(np.ones(4), right) == pytest.approx(0.75)  # from (1, 0.5) to (0, 1)
    assert area_under_precision_recall(np.ones(2), np.zeros(2, bool)) is None
