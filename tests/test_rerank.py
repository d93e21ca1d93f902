"""Re-ranking: it permutes the shortlist, keeps ties in order, and compares as `structural_similarity` does."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vpr import rerank
from vpr.cache import CacheSpec, DescriptorCache, create
from vpr.rerank import RerankConfig, Similarities, _batches, _Comparison, compare, reciprocal_rank, reorder
from vpr.shortlist import search
from vpr.similarity import structural_similarity, structural_similarity_pairs

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
        for before, after in zip(places, places[1:]):
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


def unit(rng, *shape):
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("cache") / "a.h5"
    spec = CacheSpec("x", patches=9, dim=16)
    create(path, [str(row) for row in range(12)], spec)
    DescriptorCache(path, spec, writable=True).write(np.arange(12), unit(rng, 12, 16), unit(rng, 12, 9, 16))
    return DescriptorCache(path)


QUERIES = np.array([10, 11, 3])
CANDIDATES = np.array([[0, 5, 2, 5], [7, 1, -1, -1], [-1, -1, -1, -1]])


@pytest.mark.parametrize("config", [RerankConfig(), RerankConfig("uniform", 0.1, 0.6)])
def test_comparing_is_a_loop_over_pairs(cache, config):
    found = compare(cache, QUERIES, CANDIDATES, config)
    assert found.global_.shape == found.structural.shape == CANDIDATES.shape
    for query, candidates, global_, structural in zip(QUERIES, CANDIDATES, found.global_, found.structural):
        for candidate, of_global, of_structure in zip(candidates, global_, structural):
            if candidate < 0:
                assert of_global == of_structure == -np.inf
                continue
            assert of_global == pytest.approx(cache.globals_[query] @ cache.globals_[candidate], abs=1e-6)
            expected = structural_similarity(
                np.asarray(cache.patches[query], np.float32), np.asarray(cache.patches[[candidate]], np.float32),
                cache.globals_[query], cache.globals_[[candidate]], config.marginals, config.epsilon, config.mass,
            ).score[0]  # fmt: skip
            assert of_structure == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_gaps_of_the_shortlist_stay_last(cache, weight):
    scores = compare(cache, QUERIES, CANDIDATES, RerankConfig()).combined(weight)
    if weight:
        assert not np.isnan(scores).any()
    result = reorder(CANDIDATES, scores)
    assert result[1, 2:].tolist() == [-1, -1] and sorted(result[1, :2]) == [1, 7]
    assert sorted(result[0]) == [0, 2, 5, 5] and result[2].tolist() == [-1] * 4


def test_the_combined_score_by_hand():
    found = Similarities(np.array([[0.5, 0.2]], np.float32), np.array([[0.1, 0.3]], np.float32))
    np.testing.assert_allclose(found.combined(2.0), [[0.7, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(found.combined(0.0), [[0.5, 0.2]], rtol=1e-6)


def test_the_shortlist_is_the_nearest_by_inner_product():
    rng = np.random.default_rng(1)
    queries, database = unit(rng, 4, 8), unit(rng, 20, 8)
    similarity, rows = search(queries, database, 5)
    assert (rows == np.argsort(-queries @ database.T, axis=1)[:, :5]).all()
    np.testing.assert_allclose(similarity, np.take_along_axis(queries @ database.T, rows, 1), atol=1e-6)


@pytest.mark.parametrize("depth", [100, np.int64(20), np.int64(100)])
def test_a_shortlist_is_no_longer_than_the_database(depth):
    rng = np.random.default_rng(1)
    _, rows = search(unit(rng, 2, 8), unit(rng, 20, 8), depth)
    assert [sorted(row) for row in rows.tolist()] == [list(range(20))] * 2


@pytest.mark.parametrize("memory_mb", [0, 512])
def test_batches_and_another_backend_give_what_one_query_at_a_time_gives(cache, memory_mb, monkeypatch):
    expected = compare(cache, QUERIES, CANDIDATES, RerankConfig())
    monkeypatch.setattr(rerank, "MOST_QUERIES", 2)
    found = compare(cache, QUERIES, CANDIDATES, RerankConfig(memory_mb=memory_mb, threads=2))
    np.testing.assert_allclose(found.structural, expected.structural, atol=1e-6)
    work = _Comparison(cache, QUERIES, CANDIDATES, RerankConfig(), 1.0, torch.device("cpu"))
    monkeypatch.setattr(rerank, "structural_similarity_pairs", partial(structural_similarity_pairs, backend="torch"))
    for batch in _batches(cache, CANDIDATES, RerankConfig(memory_mb=memory_mb)):
        work.compute(batch)
    np.testing.assert_allclose(work.result.structural, expected.structural, atol=2e-5)
    np.testing.assert_allclose(work.result.global_, expected.global_, atol=1e-6)
