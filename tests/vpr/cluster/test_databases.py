"""Databases of evaluations in shards, without Ray: searched and re-ranked as in one process."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from here import CLUSTER, hold_here

from vpr.cache import CacheError, CacheSpec, DescriptorCache, create
from vpr.cluster.errors import ClusterError
from vpr.cluster.shards import CacheShardSpec, ShardedIndex, shard_database
from vpr.datasets.msls import Protocol, load
from vpr.eval.descriptors import Sharding
from vpr.eval.evaluator import Evaluator
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.retrieval.index import LocalIndex
from vpr.retrieval.rerank import CachedImages
from vpr.retrieval.search import search_groups
from vpr.retrieval.settings import RerankConfig, RerankOptions
from vpr.retrieval.vector_index import VectorIndex


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    hold_here(monkeypatch)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("cache") / "a.h5"
    spec = CacheSpec("x", patches=4, dim=8, weights=True)
    create(path, [f"{row}.jpg" for row in range(40)], spec)
    weights = rng.uniform(0.1, 1, (40, 4))
    DescriptorCache(path, spec, writable=True).write(
        np.arange(40), unit(rng.normal(size=(40, 8))), unit(rng.normal(size=(40, 4, 8))), weights
    )
    return DescriptorCache(path, spec)


def local(cache):
    """All images of a cache as an index of this machine."""
    return LocalIndex(VectorIndex(cache.globals_), CachedImages(cache, np.arange(len(cache))))


DATABASE = np.random.default_rng(1).permutation(40)[:30][:, None]  # rows of the entries, in an order of their own


@pytest.mark.parametrize("marginals", ["complement", "rollout", "learnt"])
@pytest.mark.parametrize("shards", [1, 3, 30])
def test_re_ranking_in_shards_is_re_ranking(cache, shards, marginals):
    rng = np.random.default_rng(2)
    queries = rng.integers(0, 40, 150)
    candidates = np.where(rng.uniform(size=(150, 6)) < 0.2, -1, DATABASE[rng.integers(0, 30, (150, 6)), 0])
    config = RerankConfig(marginals)
    index = shard_database(CLUSTER, shards, cache, DATABASE)
    ours, whole = (one.compare(CachedImages(cache, queries), candidates, config) for one in (index, local(cache)))
    np.testing.assert_array_equal(ours.global_similarity, whole.global_similarity)
    np.testing.assert_allclose(ours.structural, whole.structural, atol=1e-6)


def test_pruning_in_shards_keeps_the_first_ranks(cache):
    queries = np.arange(40)
    candidates = np.tile(DATABASE[:, 0], (40, 1))
    first = []
    for index, prune in ((local(cache), 0), (shard_database(CLUSTER, 3, cache, DATABASE), 4)):
        found = index.compare(CachedImages(cache, queries), candidates, RerankConfig(prune=prune), weight=2.0)
        first.append(np.argsort(-(found.global_similarity + 2 * found.structural), axis=1)[:, :4])
    np.testing.assert_array_equal(*first)


@pytest.mark.parametrize("length", [1, 3])
def test_groups_are_searched_in_shards_as_in_one(cache, length):
    entries = np.stack([np.roll(DATABASE[:, 0], -step) for step in range(length)], 1)  # images lie in several
    shards = shard_database(CLUSTER, 4, cache, entries)
    database = unit(cache.globals_[entries].mean(1)) if length > 1 else cache.globals_[entries[:, 0]]
    queries, groups = unit(np.random.default_rng(3).normal(size=(10, 8))), [(0, 4, 0, 11), (4, 10, 11, 30)]
    cut = [(slice(a, b), slice(c, d)) for a, b, c, d in groups]
    for depth in (3, 15):
        ours, whole = (search_groups(queries, one, iter(cut), depth) for one in (shards, VectorIndex(database)))
        np.testing.assert_allclose(ours[0], whole[0], atol=1e-6)
        np.testing.assert_array_equal(ours[1], whole[1])


@pytest.mark.parametrize("task", ["im2im", "seq2seq"])
def test_an_evaluation_in_shards_is_an_evaluation(tiny_tree, tmp_path, task):
    data = load(tiny_tree, Protocol(task=task, seq_length=1 if task == "im2im" else 3)).retrieval_set
    source = SourceOptions(Path("builtin"), rerank=True, cache=tmp_path / "a.h5")
    options = RerankOptions(geometry=4 if task == "im2im" else 0)
    alone = Evaluator(RankingOptions(depth=8), options, torch.device("cpu"))
    whole = alone.answer(data, source)
    ours = replace(alone, sharding=Sharding(CLUSTER, 3)).answer(data, source)
    assert isinstance(ours.described.index, ShardedIndex) and ours.scores(data) == whole.scores(data)
    for name, stage in whole.stages().items():
        np.testing.assert_array_equal(ours.stages()[name].ranked, stage.ranked)
        np.testing.assert_allclose(ours.stages()[name].similarity, stage.similarity, atol=1e-6)
    np.testing.assert_allclose(ours.reranking.structural, whole.reranking.structural, atol=1e-5)


def test_an_evaluation_wants_every_shard(cache):
    shards = shard_database(CLUSTER, 3, cache, DATABASE)
    shards.actors.lose = [{1}]
    with pytest.raises(ClusterError, match="shard 2 does not answer, and an evaluation needs all"):
        shards.search(unit(np.ones((1, 8))), 5)
    part = CacheShardSpec(cache.path, cache.spec, "x", 0, DATABASE)
    with pytest.raises(ClusterError, match="has changed meanwhile"):
        part.open()


def test_a_part_of_a_cache_is_its_rows(cache):
    part = DescriptorCache(cache.path, cache.spec, part=slice(7, 19))
    assert part.keys.tolist() == cache.keys[7:19].tolist() and len(part) == 12
    np.testing.assert_array_equal(part.read_patches(np.array([0, 11])), cache.read_patches(np.array([7, 18])))
    assert part.rows(["9.jpg"]).tolist() == [2]
    with pytest.raises(CacheError, match="lacks 1 images"):
        part.rows(["3.jpg"])
