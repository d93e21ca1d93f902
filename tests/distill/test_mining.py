"""Mined tuples against a loop over pairs."""

import numpy as np
import pytest
from training import scattered

from vpr.distill.sampling.batches import BatchSampler
from vpr.distill.sampling.mining import MARGIN, TupleMining, hard_tuples, pool_size, similar_places
from vpr.distill.sampling.places import BatchShape, Guard, Places

DESCRIPTORS = np.random.default_rng(1).standard_normal((300, 6)).astype(np.float32)
DESCRIPTORS /= np.linalg.norm(DESCRIPTORS, axis=1, keepdims=True)


def naive(places, queries, others, negatives):
    """The tuples of some queries, by loops."""
    tuples = []
    for query in queries:
        distance = np.linalg.norm(DESCRIPTORS - DESCRIPTORS[query], axis=1)
        positive = min(places.positives(query), key=lambda photo: distance[photo])
        _, allowed = places.guard.masks(places.photos, np.array([query]), others)
        hardest = sorted(others[allowed[0]], key=lambda photo: distance[photo])[:negatives]
        if distance[positive] + MARGIN > distance[hardest[0]]:
            tuples.append([query, positive, *hardest])
    return tuples


@pytest.mark.parametrize("negatives", [1, 3])
def test_tuples_are_those_of_a_loop(negatives):
    places, described = Places(scattered(300), Guard()), []

    def describe(chosen):
        described.append(chosen)
        return DESCRIPTORS[chosen]

    tuples = hard_tuples(describe, places, TupleMining(40, 60, negatives), np.random.default_rng(0))
    rng = np.random.default_rng(0)
    queries, others = (np.sort(rng.choice(side, n, replace=False)) for side, n in ((places.anchors, 40), (300, 60)))
    assert tuples.tolist() == naive(places, queries, others, negatives) and len(tuples) > 5
    (chosen,) = described  # each photo once, and only those that are needed
    assert len(set(chosen)) == len(chosen) and set(tuples.ravel()) <= set(chosen) and len(chosen) < 300


def test_queries_follow_their_probabilities_and_a_cache_may_exceed_the_photos():
    places = Places(scattered(300), Guard())
    probabilities = np.zeros(len(places.anchors))
    probabilities[:20] = 1 / 20
    few = hard_tuples(DESCRIPTORS.__getitem__, places, TupleMining(15, 100, 1), np.random.default_rng(0), probabilities)
    assert set(few[:, 0]) <= set(places.anchors[:20])
    everyone = hard_tuples(DESCRIPTORS.__getitem__, places, TupleMining(1000, 1000, 1), np.random.default_rng(0))
    assert len(everyone) > 100


def test_all_tuples_are_kept_if_none_is_hard():
    places = Places(scattered(300), Guard())
    city = places.photos.city
    apart = np.eye(2, dtype=np.float32)[city]  # all photos of a city alike, other cities far away

    def mined(radius):
        guard = Guard(negative_radius_m=radius)
        return hard_tuples(
            apart.__getitem__, Places(places.photos, guard), TupleMining(30, 60, 2), np.random.default_rng(0)
        )

    assert (city[mined(25.0)[:, 2]] == city[mined(25.0)[:, 0]]).all()
    assert len(mined(1000.0)) == 30 and (city[mined(1000.0)[:, 2]] != city[mined(1000.0)[:, 0]]).all()


def test_a_batch_consists_of_tuples():
    places = Places(scattered(300), Guard())
    sampler = BatchSampler(places, BatchShape(4, 5), seed=0, tuples=True)
    assert len(sampler.batch(0)) == 20  # before the first mining
    sampler.mined = hard_tuples(DESCRIPTORS.__getitem__, places, TupleMining(40, 60, 3), np.random.default_rng(0))
    known = {tuple(row) for row in sampler.mined.tolist()}
    for step in range(5):
        groups = [tuple(row) for row in sampler.batch(step).reshape(4, 5).tolist()]
        assert set(groups) <= known and len(set(groups)) == 4
        assert sampler.batch(step).tolist() == sampler.batch(step).tolist()
    sampler.mined = sampler.mined[:0]
    assert len(sampler.batch(0)) == 20  # too few negatives for any tuple


def test_similar_places_are_those_of_the_pool():
    places, described = Places(scattered(300), Guard()), []

    def describe(chosen):
        described.append(chosen)
        return DESCRIPTORS[chosen]

    groups = similar_places(describe, places.anchors, 50, np.random.default_rng(0))
    (pool,) = described
    assert groups.shape == (50, 50) and groups[:, 0].tolist() == pool.tolist() and set(pool) <= set(places.anchors)
    nearest = [
        min(set(pool) - {anchor}, key=lambda photo: -DESCRIPTORS[photo] @ DESCRIPTORS[anchor]) for anchor in pool
    ]
    assert groups[:, 1].tolist() == nearest


@pytest.mark.parametrize(("anchors", "photos", "size"), [(0, 9, 0), (20_000, 9, 20_000), (20_001, 9, 5_000)])
def test_a_small_tree_is_mined_whole_and_a_large_one_in_proportion_to_the_steps(anchors, photos, size):
    assert pool_size(anchors, photos) == size
    assert pool_size(10**6, 7_000) == 7_000 and pool_size(10**6, 10**6) == 20_000
