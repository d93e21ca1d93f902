"""Fusion: it permutes the shortlist, keeps ties in order, and adds or fuses as worked out by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vpr.retrieval.confidence import Curve, Curves
from vpr.retrieval.fusion import (
    LAMBDA_EVEN,
    LAMBDA_UNKNOWN,
    add_geometry,
    estimate_trust,
    fuse_ranks,
    fuse_with_trust,
    reorder,
    weighted_sum,
)

SHAPE = (3, 7)
scores_with_ties = arrays(np.float32, SHAPE, elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 0.5, 1.0]))


@given(scores_with_ties)
@settings(deadline=None)
def test_reordering_is_a_permutation_by_falling_score_and_ties_keep_their_order(scores):
    candidates = np.random.default_rng(0).permuted(np.tile(np.arange(100, 107), (3, 1)), axis=1)
    result = reorder(candidates, scores)
    for row, reordered, score in zip(candidates.tolist(), result.tolist(), scores.tolist()):
        places = [row.index(candidate) for candidate in reordered]
        assert sorted(places) == list(range(7))
        for before, after in itertools.pairwise(places):
            assert score[before] > score[after] or (score[before] == score[after] and before < after)


def test_reciprocal_rank_by_hand():
    # Ranked by our scores: the third, the first, the second; the shortlist's own order is first, second, third.
    fused = fuse_ranks(np.array([[0.5, 0.1, 0.9]], np.float32), constant=1.0)
    np.testing.assert_allclose(fused, [[1 / 2 + 1 / 3, 1 / 3 + 1 / 4, 1 / 4 + 1 / 2]], rtol=1e-6)
    assert reorder(np.array([[7, 8, 9]]), fused).tolist() == [[7, 9, 8]]
    usual = fuse_ranks(np.array([[0.0, 1.0]], np.float32))
    np.testing.assert_allclose(usual, [[1 / 61 + 1 / 62, 1 / 62 + 1 / 61]], rtol=1e-6)


@given(scores_with_ties)
@settings(deadline=None)
def test_agreeing_orders_stay_as_they_are(scores):
    falling = -np.sort(-scores, axis=1)
    candidates = np.tile(np.arange(7), (3, 1))
    assert (reorder(candidates, fuse_ranks(falling)) == candidates).all()


def test_the_weighted_sum_by_hand():
    sides = np.array([[0.5, 0.2]], np.float32), np.array([[0.1, 0.3]], np.float32)
    np.testing.assert_allclose(weighted_sum(*sides, 2.0), [[0.7, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(weighted_sum(*sides, 0.0), [[0.5, 0.2]], rtol=1e-6)


def test_trusted_ranks_by_hand():
    scores = np.array([[1.0, 3.0, -np.inf, 2.0]], np.float32)  # mean 2, standard deviation sqrt(2 / 3)
    expected = [-np.sqrt(1.5), np.sqrt(1.5) - 2 * np.log(2), -np.inf, -2 * np.log(4)]
    np.testing.assert_allclose(fuse_with_trust(scores, 2.0), [expected], rtol=1e-6)


def test_trusted_scores_by_hand():
    ours = np.array([[1.0, 3.0, -np.inf, 2.0]], np.float32)
    theirs = np.array([[0.9, 0.7, -np.inf, 0.8]], np.float32)  # of the same spread, the other way round
    expected = [-np.sqrt(1.5) + 2 * np.sqrt(1.5), np.sqrt(1.5) - 2 * np.sqrt(1.5), -np.inf, 0.0]
    np.testing.assert_allclose(fuse_with_trust(ours, 2.0, theirs), [expected], atol=1e-5)
    assert reorder(np.array([[7, 8, 9, 6]]), fuse_with_trust(ours, 2.0, theirs)).tolist() == [[7, 6, 8, 9]]


@given(scores_with_ties)
@settings(deadline=None)
def test_no_trust_gives_our_order_and_boundless_trust_gives_theirs(scores):
    candidates = np.tile(np.arange(7), (3, 1))
    assert (reorder(candidates, fuse_with_trust(scores, 0.0)) == reorder(candidates, scores)).all()
    finite = np.where(np.isfinite(scores), scores, 0)
    assert (reorder(candidates, fuse_with_trust(finite, 1e6)) == candidates).all()


def world(ours, theirs, queries=4000, seed=0):
    """Queries that each side answers rightly by itself with the given probability; entry 0 is always the right one.

    Returns our scores in the shortlist's order, S_struct, and the places, 100 m from one another.
    """
    rng = np.random.default_rng(seed)
    ranked = np.tile(np.arange(20), (queries, 1))
    wrong = rng.random(queries) > theirs
    ranked[wrong] = rng.permuted(ranked[wrong], axis=1)
    scores = rng.normal(0, 0.1, (queries, 20))
    right = rng.random(queries) < ours
    scores[np.arange(queries), np.where(right, 0, rng.integers(1, 20, queries))] += np.where(right, 2.0, 1.0)
    scores = np.take_along_axis(scores, ranked, 1).astype(np.float32)
    return scores, ranked[:, :, None] * np.array([100.0, 0.0]), right


def test_trust_estimates_both_sides_without_labels():
    for ours, theirs in ((0.6, 0.8), (0.7, 0.4)):
        scores, places, _ = world(ours, theirs)
        curve = Curve(0.0, float(np.log(ours / (1 - ours))))  # calibrated: every answer is right with this probability
        found = estimate_trust(scores, scores, places, Curves(rerank=curve))
        assert found.ours == pytest.approx(ours, abs=0.01)
        assert found.theirs == pytest.approx(theirs, abs=0.06)
    even = estimate_trust(*world(0.6, 0.6)[:1] * 2, world(0.6, 0.6)[1], Curves(rerank=Curve(0.0, float(np.log(1.5)))))
    assert even.fusion_weight == pytest.approx(LAMBDA_EVEN, abs=0.2)


def test_trust_grows_with_the_shortlist_and_is_said_to_be_unknown_without_a_calibration():
    found = []
    for theirs in (0.1, 0.4, 0.7, 0.9):
        scores, places, _ = world(0.6, theirs)
        found.append(estimate_trust(scores, scores, places, Curves(rerank=Curve(0.0, 0.4))).fusion_weight)
    assert found == sorted(found) and found[0] == 0 and found[-1] > 1
    unknown = estimate_trust(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), None, Curves())
    assert unknown.fusion_weight == LAMBDA_UNKNOWN and unknown.ours is None
    zeros = np.zeros((2, 3), np.float32)
    assert estimate_trust(zeros, zeros, None, Curves(), zeros).fusion_weight == LAMBDA_EVEN
    nobody = np.full((2, 3), -np.inf, np.float32)
    assert estimate_trust(nobody, nobody, None, Curves(rerank=Curve(1.0, 0.0))).theirs is None


def test_a_shortlist_that_agrees_by_sharing_our_errors_is_trusted_as_far_as_its_own_separations():
    scores, places, _ = world(0.6, 0.6)
    similarity = np.sort(scores, axis=1)[:, ::-1]  # it answers what we answer
    scores = np.take_along_axis(scores, np.argsort(-scores, axis=1), 1)
    sure = Curve(0.0, float(np.log(1.5)))
    blind = estimate_trust(scores, scores, places, Curves(rerank=sure))
    seen = estimate_trust(scores, scores, places, Curves(Curve(0.0, float(np.log(0.25))), sure), similarity)
    assert blind.theirs == pytest.approx(0.98) and blind.fusion_weight > 2
    assert seen.theirs == pytest.approx(0.2) and seen.fusion_weight == 0 and seen.agreement == blind.agreement == 1
    unsure = estimate_trust(scores, scores, places, Curves(rerank=sure), similarity)  # a run without that curve
    assert unsure == blind


def naive_geometry(scores, geometry, count, places):
    """`add_geometry` of one query by a plain loop: the new order of all its candidates."""
    first = sorted(range(len(scores)), key=lambda k: -scores[k])[:count]

    def standardised(values):
        return [(value - np.mean(values)) / np.std(values) for value in values]

    def lead(values):
        best = int(np.argmax(values))
        away = [v for v, k in zip(values, first) if np.linalg.norm(places[k] - places[first[best]]) > 25]
        return max((values[best] - max(away)) / np.std(values), 0.1)

    own, other = [scores[k] for k in first], [geometry[k] for k in first]
    trust = min(0.5 * lead(other) / lead(own), 2.0)
    total = [a + trust * b for a, b in zip(standardised(own), standardised(other))]
    rest = sorted(set(range(len(scores))) - set(first), key=lambda k: -scores[k])
    return [first[k] for k in np.argsort(-np.array(total), kind="stable")] + rest


def test_geometry_by_a_plain_loop():
    rng = np.random.default_rng(0)
    scores, places = rng.random((50, 12)).astype("f4"), 60 * rng.random((50, 12, 2))
    columns = np.argsort(-scores, axis=1)[:, :5]
    geometry = np.full((50, 12), -np.inf, "f4")
    np.put_along_axis(geometry, columns, rng.random((50, 5)).astype("f4"), 1)
    fused = add_geometry(scores, geometry, 5, places)
    lone = 0
    for row in range(50):
        spots = places[row][columns[row]]
        if (np.linalg.norm(spots[:, None] - spots, axis=2).max(1) <= 25).any():
            lone += 1  # a candidate without another place: its lead is taken to the lowest score
            continue
        expected = naive_geometry(scores[row], geometry[row], 5, places[row])
        assert np.argsort(-fused[row], kind="stable").tolist() == expected
    assert lone < 25


def test_geometry_that_tells_nothing_apart_changes_no_order():
    scores = np.array([[3.0, 1.0, 2.0, -np.inf], [-np.inf] * 4, [1.0, -np.inf, -np.inf, -np.inf]], np.float32)
    equal = np.where(np.isfinite(scores), 0.3, -np.inf).astype("f4")
    np.testing.assert_allclose(add_geometry(scores, equal, 3, None), scores)


def test_geometry_goes_by_the_size_of_a_place_and_needs_candidates():
    rng = np.random.default_rng(0)
    scores, geometry, places = rng.random((5, 8)).astype(np.float32), rng.random((5, 8)), rng.random((5, 8, 2)) * 20
    small = add_geometry(scores, geometry, 8, places, 5.0)
    np.testing.assert_array_equal(small, add_geometry(scores, geometry, 8, places * 10, 50.0))
    assert np.abs(small - add_geometry(scores, geometry, 8, places, 25.0)).max() > 1e-3
    assert add_geometry(scores[:, :0], geometry[:, :0], 8, places[:, :0]).shape == (5, 0)
