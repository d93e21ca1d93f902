"""Places and batches: guard, headings, sampling."""

import numpy as np
import pytest
from training import scattered

from vpr.base.errors import VprError
from vpr.distill.sampling.batches import BatchSampler, sampling_weights
from vpr.distill.sampling.places import BatchShape, Guard, Photos, Places


def turn(a, b):
    return min((a - b) % 360, (b - a) % 360)


def naive_positives(given, guard, i):
    positives = []
    for j in range(len(given.paths)):
        if i == j or given.city[i] != given.city[j]:
            continue
        known = not (np.isnan(given.heading[i]) or np.isnan(given.heading[j]))
        if known and turn(float(given.heading[i]), float(given.heading[j])) > guard.heading_deg:
            continue
        if np.hypot(*(given.utm[i] - given.utm[j])) <= guard.positive_radius_m:
            positives.append(j)
    return positives


def test_positives_and_masks_against_loops():
    given, guard = scattered(), Guard()
    places = Places(given, guard)
    everyone = np.arange(60)
    positive, negative = guard.masks(given, everyone)
    for i in everyone:
        expected = naive_positives(given, guard, i)
        assert places.positives(i).tolist() == expected
        assert np.flatnonzero(positive[i]).tolist() == expected
        for j in everyone:
            near = given.city[i] == given.city[j] and np.hypot(*(given.utm[i] - given.utm[j])) <= 25
            assert negative[i, j] == (not near)
    assert places.anchors.tolist() == [i for i in everyone if naive_positives(given, guard, i)]


def test_headings_wrap_around_north():
    assert Guard().same_heading(np.float32(350), np.float32(20))
    assert not Guard().same_heading(np.float32(350), np.float32(80))
    assert Guard().same_heading(np.float32(np.nan), np.float32(180))


def test_batches_keep_places_apart_and_repeat_by_step():
    places = Places(scattered(300), Guard())
    sampler = BatchSampler(places, BatchShape(4, 3), seed=5)
    for step in range(20):
        batch = sampler.batch(step)
        assert batch.tolist() == sampler.batch(step).tolist()
        anchors = batch[::3]
        _, negative = places.guard.masks(places.photos, anchors)
        assert (negative | np.eye(len(anchors), dtype=bool)).all()
        for group in batch.reshape(-1, 3):
            assert set(group[1:]) <= set(places.positives(group[0]))
    assert sampler.batch(0).tolist() != sampler.batch(1).tolist()


def test_half_of_the_batches_come_from_the_mined_neighbours():
    places = Places(scattered(300), Guard())
    sampler = BatchSampler(places, BatchShape(3, 2), seed=0)
    sampler.mined = np.tile(places.anchors[:40], (5, 1))
    hard = sum(set(sampler.batch(step)[::2]) <= set(places.anchors[:40].tolist()) for step in range(60))
    assert 20 <= hard <= 45


def test_photos_without_pairs_are_refused():
    unknown, never = np.full(2, np.nan, np.float32), np.zeros(2, bool)
    lonely = Photos(np.array(["a", "b"]), np.array([[0.0, 0], [1000, 0]]), np.zeros(2, int), unknown, never, never)
    with pytest.raises(VprError, match="within 10.0 m"):
        Places(lonely, Guard())


def test_sampling_weights_are_the_official_ones():
    night, sideways = np.array([1, 0, 0, 0, 1], bool), np.array([1, 1, 0, 0, 0], bool)
    expected = [1 + n * 5 / 2 + s * 5 / 2 for n, s in zip(night, sideways)]
    assert sampling_weights(night, sideways).tolist() == expected
    assert sampling_weights(np.zeros(3, bool)).tolist() == [1, 1, 1]


def test_batches_by_condition_hold_more_photos_of_rare_conditions():
    places = Places(scattered(300), Guard())
    shares = []
    for by_condition in (False, True):
        sampler = BatchSampler(places, BatchShape(4, 1), seed=5, by_condition=by_condition)
        drawn = np.concatenate([sampler.batch(step) for step in range(200)])
        shares.append(places.photos.night[drawn].mean())
    weights = sampling_weights(places.photos.night[places.anchors], places.photos.sideways[places.anchors])
    expected = weights[places.photos.night[places.anchors]].sum() / weights.sum()
    assert shares[0] < 0.2 and shares[1] == pytest.approx(expected, abs=0.06) and shares[1] > 2 * shares[0]
