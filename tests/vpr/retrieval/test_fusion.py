"""Fusion: it permutes the shortlist, keeps ties in order, and adds or fuses as worked out by hand."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vpr.retrieval.fusion import reciprocal_rank, reorder, weighted_sum

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
    fused = reciprocal_rank(np.array([[0.5, 0.1, 0.9]], np.float32), constant=1.0)
    np.testing.assert_allclose(fused, [[1 / 2 + 1 / 3, 1 / 3 + 1 / 4, 1 / 4 + 1 / 2]], rtol=1e-6)
    assert reorder(np.array([[7, 8, 9]]), fused).tolist() == [[7, 9, 8]]
    usual = reciprocal_rank(np.array([[0.0, 1.0]], np.float32))
    np.testing.assert_allclose(usual, [[1 / 61 + 1 / 62, 1 / 62 + 1 / 61]], rtol=1e-6)


@given(scores_with_ties)
@settings(deadline=None)
def test_agreeing_orders_stay_as_they_are(scores):
    falling = -np.sort(-scores, axis=1)
    candidates = np.tile(np.arange(7), (3, 1))
    assert (reorder(candidates, reciprocal_rank(falling)) == candidates).all()


def test_the_weighted_sum_by_hand():
    sides = np.array([[0.5, 0.2]], np.float32), np.array([[0.1, 0.3]], np.float32)
    np.testing.assert_allclose(weighted_sum(*sides, 2.0), [[0.7, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(weighted_sum(*sides, 0.0), [[0.5, 0.2]], rtol=1e-6)
