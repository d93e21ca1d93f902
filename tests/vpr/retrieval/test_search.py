"""Search: the nearest by inner product, group by group."""

import numpy as np
import pytest

from vpr.retrieval.search import search, search_groups


def unit(rng, *shape):
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


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


def test_groups_are_searched_apart():
    rng = np.random.default_rng(1)
    queries, database = unit(rng, 5, 8), unit(rng, 9, 8)
    spans = [(slice(0, 2), slice(0, 3)), (slice(2, 5), slice(3, 9))]
    similarity, ranked = search_groups(queries, database, iter(spans), 4)
    for group, rows in spans:
        for query in range(group.start, group.stop):
            expected = sorted(range(rows.start, rows.stop), key=lambda row: -queries[query] @ database[row])[:4]
            assert ranked[query].tolist() == expected + [-1] * (4 - len(expected))
            assert np.isneginf(similarity[query, len(expected) :]).all()
