"""Search: the nearest by inner product, group by group."""

import inspect

import faiss
import numpy as np
import pytest

from vpr.retrieval import search as searching
from vpr.retrieval.search import gpu_resources, search, search_groups
from vpr.retrieval.vector_index import VectorIndex


def unit(rng, *shape):
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_the_shortlist_is_the_nearest_by_inner_product():
    rng = np.random.default_rng(1)
    queries, database = unit(rng, 4, 8), unit(rng, 20, 8)
    similarity, rows = search(queries, database, 5)
    assert (rows == np.argsort(-queries @ database.T, axis=1)[:, :5]).all()
    np.testing.assert_allclose(similarity, np.take_along_axis(queries @ database.T, rows, 1), atol=1e-6)


@pytest.mark.parametrize("depth", [0, 1, 7, 40])
def test_few_queries_find_what_many_find(monkeypatch, depth):
    """By numpy and by FAISS: the same entries in the same order, also among equal ones."""
    rng = np.random.default_rng(1)
    queries, database = unit(rng, 3, 8), unit(rng, 40, 8)
    database[[5, 11, 12, 30]], queries[0] = database[2], database[2]
    similarity, rows = search(queries, database, depth)
    monkeypatch.setattr(searching, "FEW_QUERIES", 0)
    expected, wanted = search(queries, database, depth)
    assert rows.tolist() == wanted.tolist() and (rows.dtype, similarity.dtype) == (wanted.dtype, expected.dtype)
    np.testing.assert_allclose(similarity, expected, atol=1e-6)


@pytest.mark.parametrize("depth", [100, np.int64(20), np.int64(100)])
def test_a_shortlist_is_no_longer_than_the_database(depth):
    rng = np.random.default_rng(1)
    _, rows = search(unit(rng, 2, 8), unit(rng, 20, 8), depth)
    assert [sorted(row) for row in rows.tolist()] == [list(range(20))] * 2


def test_groups_are_searched_apart():
    rng = np.random.default_rng(1)
    queries, database = unit(rng, 5, 8), unit(rng, 9, 8)
    spans = [(slice(0, 2), slice(0, 3)), (slice(2, 5), slice(3, 9))]
    similarity, ranked = search_groups(queries, VectorIndex(database), iter(spans), 4)
    for group, rows in spans:
        for query in range(group.start, group.stop):
            expected = sorted(range(rows.start, rows.stop), key=lambda row: -queries[query] @ database[row])[:4]
            assert ranked[query].tolist() == expected + [-1] * (4 - len(expected))
            assert np.isneginf(similarity[query, len(expected) :]).all()


def test_a_gpu_is_asked_once_for_its_memory_and_for_no_more_neighbours_than_it_finds(monkeypatch):
    """FAISS's call for GPUs, answered by the one for CPUs, which takes the same arguments but the first."""
    made, asked = [], []

    def knn_gpu(resources, queries, database, depth, metric):
        assert resources == "memory"
        asked.append(depth)
        return faiss.knn(queries, database, depth, metric=metric)

    monkeypatch.setattr(searching, "FEW_QUERIES", 0)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: made.append(1) or "memory", raising=False)
    gpu_resources.cache_clear()
    rng = np.random.default_rng(1)
    queries, database = unit(rng, 2, 8), unit(rng, 3000, 8)
    for depth in (5, 2048, 2049):
        _, rows = search(queries, database, depth)
        assert (rows == np.argsort(-queries @ database.T, axis=1)[:, :depth]).all()
    gpu_resources.cache_clear()
    assert asked == [5, 2048] and made == [1]


@pytest.mark.skipif(not hasattr(faiss, "knn_gpu"), reason="this FAISS is for CPUs alone")
def test_the_call_for_gpus_takes_what_it_is_given():
    assert {"k", "metric"} <= set(inspect.signature(faiss.knn_gpu).parameters)
    assert list(inspect.signature(faiss.knn_gpu).parameters)[:4] == ["res", "xq", "xb", "k"]
