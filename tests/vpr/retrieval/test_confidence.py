"""How sure an answer is: separations worked out by hand and by a plain loop, and curves that recover what they draw."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from vpr.retrieval.confidence import (
    ELSEWHERE_M,
    GEOMETRY_WEIGHT,
    LIMIT,
    PRIOR_SEPARATIONS,
    Curve,
    Curves,
    answer_separation,
    separation,
    separations,
)

SIGMA = np.std([5.0, 4.0, 2.0, 1.0])
PLACES = np.array([[[0, 0], [20, 0], [30, 0], [500, 0]]], float)  # the second lies at the first one's place


def test_the_best_score_elsewhere_counts_and_not_the_second():
    scores = np.array([[5.0, 4.0, 2.0, 1.0]])
    assert separation(scores, PLACES) == pytest.approx((5 - 2) / SIGMA)
    assert separation(scores, None) == pytest.approx((5 - 4) / SIGMA)


def test_a_first_answer_below_another_place_is_doubtful():
    """Fusion may put first what our similarity does not."""
    assert separation(np.array([[1.0, 4.0, 2.0, 5.0]]), PLACES) == pytest.approx((1 - 5) / SIGMA)


def test_queries_with_few_candidates_stay_finite():
    missing = -np.inf
    scores = np.array([[3.0, missing, missing], [missing] * 3, [3.0, 1.0, missing], [2.0, 2.0, 2.0]])
    together = np.zeros((4, 3, 2))
    assert separation(scores, together) == pytest.approx([0, 0, 2, 0])  # where nothing is elsewhere, against the lowest
    alone = separation(np.array([[1.0, 1e-12, 0.0]]), None)
    assert np.isfinite(alone).all() and abs(alone[0]) <= LIMIT


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_separations_equal_a_plain_loop_and_ignore_the_order_of_the_rest(seed):
    rng = np.random.default_rng(seed)
    scores, places = rng.normal(size=(4, 6)), rng.uniform(0, 80, (4, 6, 2))
    found = separation(scores, places)
    for query in range(4):
        far = [
            score
            for score, place in zip(scores[query], places[query])
            if np.hypot(*(place - places[query, 0])) > ELSEWHERE_M
        ]
        best = max(far) if far else min(scores[query])
        assert found[query] == pytest.approx((scores[query, 0] - best) / np.std(scores[query]))
    order = np.r_[0, 1 + rng.permutation(5)]
    np.testing.assert_allclose(separation(scores[:, order], places[:, order]), found, atol=1e-12)
    np.testing.assert_allclose(separation(3 * scores + 2, places + 100), found, atol=1e-9)


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_the_separations_of_all_candidates_are_those_of_each_moved_to_the_front(monkeypatch, block):
    monkeypatch.setattr("vpr.retrieval.confidence.BLOCK", block)
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(7, 6)).astype(np.float32)
    scores[0, 4:] = scores[1, 1:] = scores[2] = -np.inf
    for places in (rng.uniform(0, 80, (7, 6, 3)), None):
        found = separations(scores, places)
        for column in range(6):
            order = [column, *(other for other in range(6) if other != column)]
            moved = None if places is None else places[:, order]
            known = np.isfinite(scores[:, column])
            np.testing.assert_allclose(found[known, column], separation(scores[:, order], moved)[known], atol=1e-6)
        assert found.shape == (7, 6) and np.isfinite(found).all()
    assert separations(np.zeros((2, 0)), None).shape == (2, 0)


def test_a_curve_recovers_the_probabilities_that_drew_the_answers():
    rng = np.random.default_rng(0)
    true, x = Curve(1.7, -0.6), rng.normal(0, 2, 20_000)
    fitted = Curve.fit(x, rng.random(len(x)) < true(x), Curve(0.0, 5.0))
    assert fitted.slope == pytest.approx(1.7, abs=0.1) and fitted.intercept == pytest.approx(-0.6, abs=0.1)


@pytest.mark.parametrize("right", [np.ones(50, bool), np.zeros(50, bool), np.arange(50) < 3, np.ones(0, bool)])
def test_with_few_wrong_or_right_answers_a_curve_is_the_likeliest_with_those_of_the_prior(right):
    prior, x = Curve(1.4, -0.8), np.linspace(-1, 6, len(right))
    fitted = Curve.fit(x, right, prior)

    def loss(parameters):
        curve, total = Curve(*parameters), 0.0
        for separation_, is_right in zip(x, right):
            total -= np.log(curve(separation_) if is_right else 1 - curve(separation_))
        for place in PRIOR_SEPARATIONS:
            total -= prior(place) * np.log(curve(place)) + (1 - prior(place)) * np.log(1 - curve(place))
        return float(total)

    best = minimize(loss, [1.0, 0.0])
    assert [fitted.slope, fitted.intercept] == pytest.approx(best.x, abs=0.05)
    if not len(right):
        assert [fitted.slope, fitted.intercept] == pytest.approx([1.4, -0.8], abs=0.05)


def test_curves_are_recorded_and_read_again():
    curves = Curves(None, Curve(2.0, -1.0))
    assert Curves.from_record(curves.record()) == curves and Curves.from_record({}) == Curves()


def test_the_separation_of_an_answer_goes_by_geometry_if_it_is_known():
    rng = np.random.default_rng(0)
    structural, geometry, places = rng.random((6, 8)), rng.random((6, 8)), rng.random((6, 8, 2)) * 100
    np.testing.assert_array_equal(answer_separation(structural, None, places), separation(structural, places))
    both = answer_separation(structural, geometry, places)
    np.testing.assert_allclose(both, separation(structural, places) + GEOMETRY_WEIGHT * separation(geometry, places))
    geometry[:, 3:] = -np.inf  # not among the first
    known = structural.copy(), geometry[:, :3], places[:, :3]
    expected = separation(structural, places) + GEOMETRY_WEIGHT * separation(*known[1:])
    np.testing.assert_allclose(answer_separation(structural, geometry, places), expected)
