"""What parts found, merged, is what one search finds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr.cluster.merging import merge, spans, to_global, to_local
from vpr.retrieval.search import search


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@st.composite
def found_by_parts(draw):
    """Similarities out of few values, so that many are equal, and a part for each row."""
    width, count = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    values = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=width, max_size=width))
    return (
        np.array(values, np.float32),
        draw(st.lists(st.integers(0, count - 1), min_size=width, max_size=width)),
        count,
    )


@given(found_by_parts(), st.integers(1, 40))
def test_the_first_of_all_are_those_of_a_sorted_list(found, depth):
    values, owners, count = found
    parts = []
    for part in range(count):
        rows = sorted((row for row, owner in enumerate(owners) if owner == part), key=lambda row: (-values[row], -row))
        gaps = [-1] * (2 - len(rows))
        parts.append(
            (np.array([[*values[rows], *[-np.inf] * len(gaps)]], np.float32), np.array([[*rows, *gaps]], np.int64))
        )
    similarity, rows = merge(parts, depth)
    naive = sorted(range(len(values)), key=lambda row: (-values[row], -row))[:depth]
    assert rows[0, : len(naive)].tolist() == naive and (rows[0, len(naive) :] == -1).all()
    assert similarity[0, : len(naive)].tolist() == values[naive].tolist() and rows.shape[1] <= depth


@given(st.integers(1, 50), st.integers(1, 60))
def test_parts_hold_everything_once(count, parts):
    cut = spans(count, parts)
    assert [number for span in cut for number in range(*span)] == list(range(count))
    sizes = [stop - start for start, stop in cut]
    assert len(cut) == min(count, parts) and max(sizes) - min(sizes) <= 1
    rows = np.arange(-1, count)
    for start, stop in cut:
        there = to_global(to_local(rows, start, stop), start)
        assert there.tolist() == [row if start <= row < stop else -1 for row in rows]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 60), st.booleans())
def test_faiss_in_parts_is_faiss(parts, depth, twice):
    rng = np.random.default_rng(parts)
    database = unit(rng.normal(size=(50, 8)))
    if twice:
        database[25:] = database[:25]
    queries = unit(rng.normal(size=(40, 8)))
    found = [
        (similarity, to_global(rows, start))
        for start, stop in spans(50, parts)
        for similarity, rows in [search(queries, database[start:stop], depth)]
    ]
    ours, whole = merge(found, min(depth, 50)), search(queries, database, depth)
    np.testing.assert_allclose(ours[0], whole[0], rtol=0, atol=1e-6)
    sure = ours[0] > ours[0][:, -1:] + 1e-6 if depth < 50 else np.ones_like(ours[0], bool)  # of equal last ones any
    np.testing.assert_array_equal(ours[1][sure], whole[1][sure])
