"""The size of a place: estimated from a sample of a map's photos, stored with the map, and asked for."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from photos import a_model, add, write_photos

from vpr.datasets.street_world.walk import Pass, Walk, write_walk
from vpr.maps.building import add_photos
from vpr.maps.familiarity import unknown_place_scores
from vpr.maps.map_sample import MapSample, search_sample
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.place_size import LONE, NEIGHBOURS, estimate_place_m
from vpr.maps.sources.positions import find_photos
from vpr.maps.store import State
from vpr.run import load


def sample_of(positions, alikeness):
    """A sample of all photos (N, 2) of a map, in which each finds all others. alikeness: by distance (N, N)."""
    places = np.column_stack([positions, np.zeros(len(positions))])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    scores = alikeness(apart) + 1e-3 * np.random.default_rng(0).random(apart.shape)
    order = np.argsort(-scores, axis=1)
    sorted_scores = np.take_along_axis(scores, order, 1)
    found = SimpleNamespace(places=places[order], scores=sorted_scores, structural=sorted_scores)
    return MapSample(np.arange(len(places)), found, places)


def walk(count, step):
    return np.column_stack([step * np.arange(count), np.zeros(count)])


def fades(within):
    """Alikeness that has faded to nothing at a distance, linearly."""
    return lambda apart: np.maximum(1 - apart / within, 0)


@pytest.mark.parametrize("scale", [0.2, 1.0, 30.0])
@pytest.mark.parametrize(
    ("positions", "alike", "expected"),
    [
        (walk(60, 10.0), lambda scale: fades(15 * scale), NEIGHBOURS * 12.5),  # 75 % at 1.25 steps
        (walk(60, 10.0), lambda scale: fades(100 * scale), NEIGHBOURS * 32.5),  # at 3.25
        (walk(60, 10.0), lambda scale: np.zeros_like, LONE * 10.0),  # neighbours are not alike
        (
            np.repeat(walk(30, 10.0), 4, axis=0),
            lambda scale: fades(15 * scale),
            NEIGHBOURS * 12.5,
        ),  # four photos at each position
    ],
    ids=["alike", "dense", "lone", "panoramas"],
)
def test_a_place_has_the_scale_of_its_map(positions, alike, expected, scale):
    estimated = estimate_place_m(sample_of(scale * positions, alike(scale)))
    assert estimated == pytest.approx(scale * expected, rel=0.01)


def test_two_drives_beside_each_other_have_the_places_of_one():
    """Photos of the same drive are more alike than those of the other one, 1 m beside it."""
    both = np.concatenate([walk(60, 10.0), walk(60, 10.0) + np.array([0, 1.0])])
    other = np.abs(np.arange(120)[:, None] // 60 - np.arange(120)[None] // 60)
    assert estimate_place_m(sample_of(both, lambda apart: fades(15.0)(apart) - 0.7 * other)) == pytest.approx(
        25.0, rel=0.3
    )


def test_maps_that_say_nothing_have_places_of_25_m():
    assert estimate_place_m(None) == estimate_place_m(sample_of(np.zeros((30, 2)), fades(1.0))) == 25.0


def test_a_map_keeps_the_size_that_is_set(tmp_path):
    model, photos = a_model(), write_photos(tmp_path / "photos", range(24))  # noise, 111 m apart
    found, folder = find_photos((photos,)).photos, tmp_path / "map"
    add(folder, model, photos)
    estimated = State.of(folder)
    assert 0.7 * 111 < estimated.place_m < 2.6 * 1112 and not estimated.place_is_set
    for place_m, more, wanted in ((40.0, 0, 40.0), (None, 1, 40.0), (0.0, 0, None), (40.0, 0, 40.0)):
        add_photos(folder, model, found, place_m=place_m)
        if more:
            add(folder, model, write_photos(tmp_path / "more", range(30, 32)))
        state = State.of(folder)
        assert state.place_is_set == (wanted is not None) and state.place_m == (wanted or state.place_m)
    changes = State.of(folder).change
    assert Map.build(folder, photos, model=model, place_m=40.0).place_m == 40 and State.of(folder).change == changes


def test_another_size_can_be_asked_for(tmp_path):
    model, photos = a_model(), write_photos(tmp_path / "photos", range(24))
    photo_map = Map.build(tmp_path / "map", photos, model=model, place_m=50.0)
    other = Map.build(tmp_path / "other", photos, model=model, place_m=1500.0)
    path, asked = photos / "003.jpg", LocateConfig(place=1500.0)
    told, wanted = photo_map.locate(path, asked), other.locate(path)
    assert told == replace(wanted, matches=told.matches) and told.radius_m >= 1500
    assert photo_map.locate(path).radius_m < 1500
    scores = unknown_place_scores(search_sample(photo_map.finder), 1500.0)
    np.testing.assert_array_equal(scores, other.content.unknown_scores)
    assert len(scores) and not np.array_equal(scores, photo_map.content.unknown_scores)


@pytest.mark.slow
def test_a_rendered_walk_has_the_same_answers_however_long_it_is_said_to_be(tmp_path):
    """The same photos, declared 2, 10 and 30 m apart."""
    passes = {"day": Pass("day", -1.0), "rain": Pass("rain", 1.0, 0.1, 0.3)}
    write_walk(tmp_path, Walk(3, 24, 4.0, supersample=1), passes)
    model, frames, answers = load("builtin", "cpu"), sorted((tmp_path / "rain").glob("*.jpg"))[:12], []
    for step in (2, 10, 30):
        listed = tmp_path / "day" / f"{step}.csv"
        rows = [f"{number:05d}.jpg,{400_000 + step * number},5000000" for number in range(24)]
        listed.write_text("\n".join(["file,easting,northing", *rows]))
        photo_map = Map.build(tmp_path / f"map {step}", listed, model=model, crs="EPSG:32631")
        assert 1.5 * step < photo_map.place_m < 10 * step
        answers.append([one for sequence in (False, True)
                        for one in photo_map.locate_all(frames, LocateConfig(sequence=sequence))])  # fmt: skip
    for one, *others in zip(*answers):
        for other in others:
            assert (one.matches[0].photo, one.on_map) == (other.matches[0].photo, other.on_map)
            assert one.probability == pytest.approx(other.probability, abs=0.03)
    assert [abs(int(one.matches[0].photo[-9:-4]) - at) <= 3 for at, one in enumerate(answers[0][12:])] == [True] * 12
