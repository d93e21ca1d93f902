"""Re-ranking compares as `structural_similarity` does, pair by pair, however the queries are batched."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from comparing import compare

from vpr.cache import CacheError, CacheMismatch, CacheSpec, DescriptorCache, create
from vpr.retrieval import rerank
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity, structural_similarity_pairs
from vpr.transport.geometry import plan_geometry


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


BY_TORCH = partial(structural_similarity_pairs, backend="torch")
QUERIES = np.array([10, 11, 3])
CANDIDATES = np.array([[0, 5, 2, 5], [7, 1, -1, -1], [-1, -1, -1, -1]])


@pytest.mark.parametrize("config", [RerankConfig(), RerankConfig("uniform", 0.1, 0.6)])
def test_comparing_is_a_loop_over_pairs(cache, config):
    found = compare(cache, QUERIES, CANDIDATES, config)
    assert found.global_similarity.shape == found.structural.shape == CANDIDATES.shape
    for query, candidates, global_, structural in zip(QUERIES, CANDIDATES, found.global_similarity, found.structural):
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
    found = compare(cache, QUERIES, CANDIDATES, RerankConfig())
    scores = weighted_sum(found.global_similarity, found.structural, weight)
    if weight:
        assert not np.isnan(scores).any()
    result = reorder(CANDIDATES, scores)
    assert result[1, 2:].tolist() == [-1, -1] and sorted(result[1, :2]) == [1, 7]
    assert sorted(result[0]) == [0, 2, 5, 5] and result[2].tolist() == [-1] * 4


@pytest.mark.parametrize("memory_mb", [1, 512])
def test_batches_and_another_backend_give_what_one_query_at_a_time_gives(cache, memory_mb, monkeypatch, seams):
    expected = compare(cache, QUERIES, CANDIDATES, RerankConfig())
    monkeypatch.setattr(rerank, "MOST_QUERIES", 2)
    config = RerankConfig(memory_mb=memory_mb, threads=2)
    found = compare(cache, QUERIES, CANDIDATES, config)
    np.testing.assert_allclose(found.structural, expected.structural, atol=1e-6)
    seams.replace("vpr.retrieval.rerank.structural_similarity_pairs", BY_TORCH)
    found = compare(cache, QUERIES, CANDIDATES, config)
    np.testing.assert_allclose(found.structural, expected.structural, atol=2e-5)
    np.testing.assert_allclose(found.global_similarity, expected.global_similarity, atol=1e-6)


@pytest.mark.parametrize("kind", ["rollout", "learnt"])
def test_marginals_go_by_the_weights_of_the_cache(cache, tmp_path, monkeypatch, seams, kind):
    """Also pruned, in batches, by another backend; a cache without weights, or with a row of zeros, is named."""
    config, rng = RerankConfig(kind, mass=0.8), np.random.default_rng(3)
    with pytest.raises(CacheMismatch, match="no patch weights.*vpr.extract --rollout"):
        compare(cache, QUERIES, CANDIDATES, config)
    spec = CacheSpec("x", patches=9, dim=16, weights=True)
    create(tmp_path / "a.h5", cache.keys.tolist(), spec)
    weighted = DescriptorCache(tmp_path / "a.h5", spec, writable=True)
    weighted.write(np.arange(12), cache.globals_, cache.patches, rng.uniform(size=(12, 9)))
    found = compare(weighted, QUERIES, CANDIDATES, config).structural
    patches, weights, guides = np.asarray(cache.patches, np.float32), weighted.weights, cache.globals_
    for row, column in np.argwhere(CANDIDATES >= 0):
        query, candidate = QUERIES[row], CANDIDATES[row, column]
        given = weights[query], weights[[candidate]]
        sides = patches[query], patches[[candidate]], guides[query], guides[[candidate]]
        alone = structural_similarity(*sides, kind, mass=0.8, weights=given)
        assert found[row, column] == pytest.approx(float(alone.score[0]), abs=2e-5)
    pruned = compare(weighted, QUERIES, CANDIDATES, replace(config, prune=4)).structural
    np.testing.assert_allclose(pruned, found, atol=2e-5)
    monkeypatch.setattr(rerank, "MOST_QUERIES", 2)
    seams.replace("vpr.retrieval.rerank.structural_similarity_pairs", BY_TORCH)
    np.testing.assert_allclose(compare(weighted, QUERIES, CANDIDATES, config).structural, found, atol=2e-5)
    weighted.weights[5] = 0
    with pytest.raises(CacheError, match="descriptors with NaN or infinity, first of 5"):
        compare(weighted, QUERIES, CANDIDATES, config)


def test_global_descriptors_of_another_length_leave_the_marginals_to_the_patches(tmp_path):
    rng, spec = np.random.default_rng(2), CacheSpec("x", patches=5, dim=8, global_dim=12)
    create(tmp_path / "a.h5", [str(row) for row in range(6)], spec)
    patches = unit(rng, 6, 5, 8)
    DescriptorCache(tmp_path / "a.h5", spec, writable=True).write(np.arange(6), unit(rng, 6, 12), patches)
    cache = DescriptorCache(tmp_path / "a.h5", spec)
    queries, candidates = np.array([0]), np.array([[1, 2, 3]])
    mean = np.asarray(cache.patches, np.float32).mean(1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    for kind in ("complement", "uniform"):
        found = compare(cache, queries, candidates, RerankConfig(kind))
        both = np.asarray(cache.patches[0], np.float32), np.asarray(cache.patches[1:4], np.float32)
        expected = structural_similarity(*both, mean[0], mean[1:4], kind).score
        np.testing.assert_allclose(found.structural[0], expected, atol=2e-5)
        np.testing.assert_allclose(found.global_similarity[0], cache.globals_[1:4] @ cache.globals_[0], atol=1e-6)


def test_geometry_is_that_of_the_plans_of_the_first_candidates(cache):
    candidates, config = np.array([[0, 5, 2, 6], [7, 1, -1, -1], [-1, -1, -1, -1]]), RerankConfig(mass=0.7, geometry=2)
    found, plain = (compare(cache, QUERIES, candidates, c) for c in (config, replace(config, geometry=0)))
    assert plain.geometry is None
    np.testing.assert_array_equal(found.structural, plain.structural)
    first = np.argsort(-weighted_sum(found.global_similarity, found.structural, 1.0), axis=1, kind="stable")[:, :2]
    for row, columns in enumerate(first):
        for column, candidate in enumerate(candidates[row]):
            if column not in columns or candidate < 0:
                assert found.geometry[row, column] == -np.inf
                continue
            plan = structural_similarity(
                np.asarray(cache.patches[QUERIES[row]], np.float32), np.asarray(cache.patches[[candidate]], np.float32),
                cache.globals_[QUERIES[row]], cache.globals_[[candidate]], mass=0.7, plan=True,
            ).plan  # fmt: skip
            assert found.geometry[row, column] == pytest.approx(plan_geometry(plan).score[0], abs=1e-2)
