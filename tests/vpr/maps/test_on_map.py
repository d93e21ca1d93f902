"""The probability that a place is on the map: its numbers against plain loops, and what must not change them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photos import a_model, write_photos

from vpr.maps.candidates import Candidates
from vpr.maps.checking import check_answers
from vpr.maps.on_map import (
    FEATURES,
    LIMIT,
    MODELS,
    STRANGERS,
    OnMapModel,
    best_match_features,
    on_map_log_odds,
    probabilities,
    share_of_strangers,
    threshold_text,
)
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.results import Located
from vpr.maps.sources.positions import Photo
from vpr.positions.geodesy import to_places
from vpr.retrieval.reliability import calibration_error, equal_weights

UNKNOWN = np.array([0.2, 0.3, 0.35, 0.4], np.float32)


def drawn(photos=6, width=30, seed=0):
    """Candidates with drawn numbers; the last photo has fewer, and the one before it has none."""
    rng = np.random.default_rng(seed)
    rows = rng.permuted(np.tile(np.arange(100), (photos, 1)), axis=1)[:, :width]
    structural, similar = rng.uniform(0.1, 0.5, (2, photos, width))
    geometry = np.where(np.arange(width) < 20, rng.uniform(0, 1, (photos, width)), -np.inf)
    places = rng.uniform(0, 500, (100, 3))[rows]
    for photo, known in ((photos - 1, width // 2), (photos - 2, 0)):
        rows[photo, known:] = -1
        places[photo, known:] = np.nan
        for scores in (structural, similar, geometry):
            scores[photo, known:] = -np.inf
    return Candidates(rows, similar, structural, structural, places, geometry)


def test_the_numbers_of_the_best_match_equal_plain_loops():
    found = drawn()
    told, odds = best_match_features(found, UNKNOWN), on_map_log_odds(found, UNKNOWN)
    assert tuple(told) == FEATURES
    for photo in (0, 1, 2, 3, 5):
        known = found.rows[photo] >= 0
        expected = {}
        own = found.global_similarity[photo][known].tolist()
        mean = sum(own) / len(own)
        expected["global"] = (own[0] - mean) / (sum((one - mean) ** 2 for one in own) / len(own)) ** 0.5
        expected["separation"] = found.separations[photo, 0]
        expected["geometry"] = found.geometry[photo, 0]
        expected["familiar"] = (found.structural[photo, 0] - UNKNOWN.mean()) / UNKNOWN.std()
        total = MODELS[True, True].intercept
        for name, value in expected.items():
            assert told[name][photo] == pytest.approx(value, abs=1e-5)
            total += MODELS[True, True].weights[name] * value
        assert odds[photo] == pytest.approx(total, abs=1e-5)
    assert odds[4] == -np.inf and probabilities(odds[4:5]) == pytest.approx(0)


def test_what_is_not_known_is_not_asked_for():
    found = drawn()
    for geometry in (True, False):
        for scores in (UNKNOWN, UNKNOWN[:0]):
            some = found if geometry else replace(found, geometry=None)
            told = best_match_features(some, scores)
            assert ("geometry" in told, "familiar" in told) == (geometry, len(scores) > 0)
            assert set(MODELS[geometry, len(scores) > 0].weights) == set(told)
            models = {(geometry, len(scores) > 0): OnMapModel({"global": 2.0}, 1.0)}
            np.testing.assert_allclose(on_map_log_odds(some, scores, models)[:3], 1 + 2 * told["global"][:3])


def test_candidates_of_one_place_say_nothing():
    found = drawn()
    places = found.places.copy()
    places[0] = places[0, 0]
    odds = on_map_log_odds(replace(found, places=places), UNKNOWN)
    assert np.isnan(odds).tolist() == [True] + [False] * 5 and np.isnan(probabilities(odds)[0])


def test_neither_units_nor_the_order_of_photos_matter():
    found = drawn()
    odds = on_map_log_odds(found, UNKNOWN)
    far = replace(found, places=7 * found.places, place_m=7 * found.place_m)
    np.testing.assert_allclose(on_map_log_odds(far, UNKNOWN), odds)
    other = replace(found, structural=3 * found.structural + 1, global_similarity=2 * found.global_similarity - 5)
    np.testing.assert_allclose(on_map_log_odds(other, 3 * UNKNOWN + 1), odds, atol=1e-4)
    alone = [on_map_log_odds(found.take(slice(n, n + 1)), UNKNOWN)[0] for n in range(len(found))]
    np.testing.assert_array_equal(alone, odds)


def test_numbers_without_a_spread_are_limited():
    found = drawn(width=20)
    flat = replace(found, structural=np.where(found.rows >= 0, 0.5, -np.inf), geometry=None)
    odds = on_map_log_odds(flat, np.full(20, 0.3, np.float32))
    told = best_match_features(flat, np.full(20, 0.3, np.float32))
    assert told["familiar"][0] == LIMIT and told["separation"][0] == 0 and np.isfinite(odds[:4]).all()


@pytest.mark.parametrize("model", MODELS.values(), ids=str)
def test_more_evidence_is_never_less_probable(model):
    assert all(weight >= 0 for weight in model.weights.values())


def test_a_threshold_has_a_meaning():
    assert STRANGERS[0] == 1 and (np.diff(STRANGERS) <= 0).all()
    assert share_of_strangers(0.5) == pytest.approx(STRANGERS[(len(STRANGERS) - 1) // 2], abs=1e-9)
    said = [threshold_text(threshold) for threshold in np.linspace(0, 1, 21)]
    assert said[0] == "all photos of unknown places pass" and said[-1].endswith("hardly one passes")
    assert (
        threshold_text(0.5) == f"of photos of unknown places, about one in {round(1 / share_of_strangers(0.5))} passes"
    )


def test_the_error_of_a_check_counts_known_photos_and_strangers_the_same():
    photos = [Photo(Path(f"{n}.jpg"), (47 + 0.001 * (n < 4), 8.0)) for n in range(6)]
    told = [0.9, 0.9, 0.7, 0.1, 0.7, 0.2]
    located = [Located(p.key, True, *p.position, 25.0, 0.5, None, 1.0, 1, (), 0, t) for p, t in zip(photos, told)]
    result = check_answers(located, photos, to_places(np.array([47.001]), np.array([8.0])), 25.0, 0.5)
    known = np.array([True] * 4 + [False] * 2)
    repeated = [*range(4), 4, 4, 5, 5]
    expected = calibration_error(np.array(told)[repeated], known[repeated])
    assert result.on_map_error == pytest.approx(expected)
    assert expected == pytest.approx(calibration_error(np.array(told), known, equal_weights(known)))
    assert result.as_json()["results"]["on_map_ece"] == result.on_map_error
    assert threshold_text(0.5) in "\n".join(result.lines())
    assert np.isnan(replace(result, photos=result.photos[:4]).on_map_error)


def test_the_decision_of_a_map_goes_by_the_probability_that_it_reports(tmp_path):
    model, photos = a_model(), write_photos(tmp_path / "photos", range(40))
    photo_map = Map.build(tmp_path / "map", photos, model=model)
    found, names, _ = photo_map.find([photos / "007.jpg"])
    context, one = photo_map.context(), photo_map.locate(photos / "007.jpg")
    assert names == [one.photo] and len(context.unknown_scores) == 40
    expected = probabilities(on_map_log_odds(found, context.unknown_scores))
    assert [one.on_map_probability] == pytest.approx(expected) and one.on_map == (expected[0] >= 0.5)
    for threshold, accepted in ((one.on_map_probability, True), (one.on_map_probability + 1e-6, False)):
        assert photo_map.locate(photos / "007.jpg", LocateConfig(threshold=threshold)).on_map == accepted
    few = photo_map.locate(photos / "007.jpg", LocateConfig(depth=5))
    assert few.on_map_probability is None and few.on_map
    cut = replace(photo_map, content=replace(photo_map.content, unknown_scores=np.zeros(0, np.float32)))
    prior = probabilities(on_map_log_odds(found, np.zeros(0, np.float32)))
    assert [cut.locate(photos / "007.jpg").on_map_probability] == pytest.approx(prior)
