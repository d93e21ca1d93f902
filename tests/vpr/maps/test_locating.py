"""Positions of candidates, votes of drives, and the search by an index: hand-worked cases, and evaluation."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from comparing import compare
from photos import a_model, add, write_photo, write_photos

from vpr.base.errors import VprError
from vpr.cache import CacheSpec, DescriptorCache, create
from vpr.description.foreign import ForeignDescriptors
from vpr.maps.candidates import SHARPNESS, Candidates
from vpr.maps.familiarity import unknown_place_scores
from vpr.maps.locating import MapContext, locate
from vpr.maps.map_sample import MapSample
from vpr.maps.on_map import OnMapModel
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.photo_versions import photo_key
from vpr.maps.results import as_geojson, as_rows
from vpr.maps.store import PhotoTable
from vpr.maps.tracking import Tracker
from vpr.positions.geodesy import to_places
from vpr.retrieval import vector_index
from vpr.retrieval.confidence import Curve, separation
from vpr.retrieval.vector_index import VectorIndex

DEGREE_M = 110574.4  # of latitude at the equator, metres
CURVE = Curve(2.0, -0.5)
LIKELY = dict.fromkeys([(False, True), (False, False)], OnMapModel({}, 2.0))  # of any photo: 88 %


def candidates(metres, structural, scores=None):
    """Candidates (Q, K) along a meridian, at distances north of the equator in metres."""
    metres, structural = np.atleast_2d(np.array(metres, float)), np.atleast_2d(np.array(structural, float))
    latitude = metres / DEGREE_M
    places = to_places(latitude.ravel(), 0 * latitude.ravel()).reshape(*metres.shape, 3)
    rows = np.arange(metres.size).reshape(metres.shape)
    table = PhotoTable.from_rows([(f"{n}.jpg", at, 0.0, 1, 1) for n, at in enumerate(latitude.ravel())])
    scores = structural if scores is None else np.atleast_2d(scores)
    return Candidates(rows, structural, structural, scores, places), table


def context(table, curve=CURVE, unknown_scores=()):
    return MapContext(table, curve, np.array(unknown_scores, np.float32), models=LIKELY)


def test_agreeing_candidates_make_the_position():
    found, table = candidates([0, 20, 500, -10], [4.0, 3.0, 2.0, 1.0])
    one = locate(found, ["q"], context(table), LocateConfig(top=2))[0]
    spread = np.std([4, 3, 2, 1])
    weights = np.exp(SHARPNESS * np.array([0, -1, -3]) / spread)
    mean = (weights * [0, 20, -10]).sum() / weights.sum()
    assert one.latitude * DEGREE_M == pytest.approx(mean, abs=0.01) and one.agreeing == 3
    assert one.radius_m == pytest.approx(25 + abs(mean), abs=0.01)
    assert one.separation == pytest.approx(2 / spread)
    assert one.probability == pytest.approx(float(CURVE(np.array(2 / spread)))) and one.on_map
    assert [match.photo for match in one.matches] == ["0.jpg", "1.jpg"]
    assert one.matches[1].metres == pytest.approx(20 - mean, abs=0.01)
    other = locate(found, ["q"], context(table), LocateConfig(threshold=0.9))[0]
    assert not other.on_map and other.summary() == "q: not on this map (on the map: 88 %)"
    assert other.on_map_probability == pytest.approx(1 / (1 + np.exp(-2))) and not other.is_unfamiliar
    assert as_rows([other], "M")[0][1:5] == (False, "", "", "")
    assert as_geojson([one, other], "M")["features"][1]["geometry"] is None
    strange = locate(found, ["q"], context(table, unknown_scores=[3, 5, 6, 7]), LocateConfig(familiarity=0.3))[0]
    assert not strange.on_map and strange.familiarity == 0.25 and "familiarity 25 %" in strange.summary()
    assert strange.is_unfamiliar and locate(found, ["q"], context(table, None), LocateConfig())[0].on_map
    unsure = locate(found, ["q"], context(table, None), LocateConfig())[0]
    assert unsure.probability is None and unsure.on_map_probability is None and unsure.on_map


def test_a_position_of_one_place_is_that_place_to_a_millimetre():
    """Scores are float32, and places lie millions of metres from the Earth's centre."""
    scores = np.random.default_rng(0).uniform(0, 9, (1, 40)).astype(np.float32)
    found, table = candidates([[7.0] * 39 + [900.0]], scores, scores)
    one = locate(found, ["q"], context(table), LocateConfig())[0]
    assert one.radius_m == pytest.approx(25, abs=1e-3) and one.matches[0].metres < 1e-3


def test_the_first_separation_is_that_of_evaluation():
    rng = np.random.default_rng(0)
    found, _ = candidates(rng.uniform(0, 300, (20, 30)), rng.normal(size=(20, 30)))
    np.testing.assert_allclose(found.separations[:, 0], separation(found.structural, found.places))
    lone, _ = candidates([[5.0]], [[1.0]])
    assert lone.separations.tolist() == [[0.0]]


def test_the_size_of_a_place_decides_what_agrees():
    found, table = candidates([0, 20, 500, -10], [4.0, 3.0, 2.0, 1.0])
    found = replace(found, place_m=5.0)
    one = locate(found, ["q"], MapContext(table, CURVE, np.zeros(0), 5.0), LocateConfig())[0]
    assert one.agreeing == 1 and one.radius_m == pytest.approx(5)
    assert one.separation == pytest.approx(1 / np.std([4, 3, 2, 1]))  # 20 m away is another place


def drive(count=30, step=111.0, strays=()):
    """Candidates of the frames of a drive along the photos of a map: its own place, and two far ones.

    strays: frames whose far candidates are better than their own place.
    """
    rng, own = np.random.default_rng(0), np.arange(count)
    rows = np.stack([own, (own + rng.integers(8, count - 8, count)) % count], 1)
    rows = np.concatenate([rows, (own[:, None] + count // 2) % count], 1)
    structural = np.tile([5.0, 1.0, 0.0], (count, 1))
    rows[[*strays], :2] = rows[[*strays], 1::-1]
    latitude = own * step / DEGREE_M
    places = to_places(latitude, 0 * latitude)
    table = PhotoTable.from_rows([(f"{n}.jpg", at, 0.0, 1, 1) for n, at in enumerate(latitude)])
    return Candidates(rows, structural, structural, structural, places[rows]), table


def test_frames_of_a_drive_are_located_together():
    found, table = drive(strays=(7, 20))
    names = [f"{number}.jpg" for number in range(30)]
    alone = locate(found, names, context(table), LocateConfig())
    together = locate(found, names, context(table), LocateConfig(sequence=True))
    assert [one.matches[0].photo == name for one, name in zip(alone, names)].count(False) == 2
    assert [one.matches[0].photo for one in together] == names
    for one, other in zip(together, alone):
        assert {match.photo for match in one.matches} == {match.photo for match in other.matches}
        assert one.on_map and 0.5 < one.probability <= 1 and one.radius_m == pytest.approx(25)


def test_a_frame_without_candidates_in_its_place_is_between_those_around_it():
    found, table = drive(step=10.0)
    rows = found.rows.copy()
    rows[15] = [2, 28, 25]
    places = table.places
    found = replace(found, rows=rows, places=places[rows])
    one = locate(found, table.keys.tolist(), context(table), LocateConfig(sequence=True))[15]
    assert one.latitude * DEGREE_M == pytest.approx(150, abs=15) and one.agreeing == 0
    assert one.matches[0].metres > 90 and one.radius_m < 40


def test_a_drive_that_moves_on_needs_no_familiarity():
    found, table = drive()
    strange = context(table, unknown_scores=[6, 7, 8])  # the best match of every frame is weaker
    names = table.keys.tolist()
    assert not any(one.on_map for one in locate(found, names, strange, LocateConfig(familiarity=0.1)))
    assert all(one.on_map for one in locate(found, names, strange, LocateConfig(familiarity=0.1, sequence=True)))
    few = locate(found.take(slice(0, 1)), names, strange, LocateConfig(familiarity=0.1, sequence=True))
    assert not few[0].on_map and few[0].familiarity == 0


def test_a_drive_is_on_the_map_as_its_frames_are_together():
    """Frames that are hardly known by themselves make an unknown drive, and one that is led astray does not."""
    found, table = drive(step=3.2, strays=(7,))  # it does not move on far enough to be on the map for that alone
    names = table.keys.tolist()
    told = {}
    for odds in (-1.0, 0.0, 1.0):
        models = dict.fromkeys(LIKELY, OnMapModel({}, odds))
        frames = locate(found, names, replace(context(table), models=models), LocateConfig(sequence=True))
        told[odds] = np.array([one.on_map_probability for one in frames])
        assert [one.on_map for one in frames] == (told[odds] >= 0.5).tolist()
    assert (told[-1.0] < told[0.0]).all() and (told[0.0] < told[1.0]).all() and told[1.0].min() > 0.8
    assert told[-1.0][10:20].max() < 0.5


def test_a_frame_whose_candidates_are_one_place_has_no_probability():
    found, table = drive(step=10.0)
    places = found.places.copy()
    places[5] = places[5, 0]
    told = locate(replace(found, places=places), table.keys.tolist(), context(table), LocateConfig(sequence=True))
    assert [one.probability is None for one in told] == [number == 5 for number in range(30)]


def test_a_tracker_answers_by_the_frames_so_far():
    found, table = drive(strays=(7, 20))
    tracker = Tracker(None, context(table), LocateConfig())
    live = [tracker.add_found(found.take(slice(n, n + 1)), name) for n, name in enumerate(table.keys)]
    whole = locate(found, table.keys.tolist(), context(table), LocateConfig(sequence=True))
    assert [one.matches[0].photo for one in live] == table.keys.tolist()
    assert live[-1].probability == pytest.approx(whole[-1].probability, abs=0.02)
    assert live[0].probability < whole[0].probability
    unsure = Tracker(None, context(table, None), LocateConfig()).add_found(found.take(slice(0, 1)), "q")
    assert unsure == locate(found, ["q"], context(table, None), LocateConfig())[0]


def test_unknown_place_scores_are_the_best_matches_elsewhere(tmp_path):
    model, photos = a_model(), write_photos(tmp_path / "photos", range(24))
    write_photo(photos / "100.jpg", (47.0, 8.0), seed=0)  # the same photo at the place of the first
    photo_map = Map.build(tmp_path / "map", photos, model=model)
    found = photo_map.locate_all(sorted(photos.iterdir()), LocateConfig(top=25, threshold=0.0))
    best = [
        next(m.s_struct for m in one.matches if abs(m.latitude - own) > 1e-9)
        for one, own in zip(found, [*photo_map.positions[:, 0]])
    ]
    np.testing.assert_allclose(photo_map.content.unknown_scores, np.sort(best), atol=1e-3)
    assert found[0].familiarity == np.mean(np.sort(photo_map.content.unknown_scores) < found[0].matches[0].s_struct)
    assert len(Map.build(tmp_path / "small", photos / "000.jpg", model=model).content.unknown_scores) == 0


@pytest.mark.parametrize(("alone", "told"), [(5, 0), (25, 25)])
def test_few_unknown_place_scores_give_no_familiarity(alone, told):
    """Of 40 photos only some have candidates farther than 25 m away."""
    places = np.zeros((40, 3))
    away = places[:, None] + np.where(np.arange(40) < alone, 1000.0, 0.0)[:, None, None]
    found = SimpleNamespace(places=away, scores=np.ones((40, 1)), structural=np.linspace(1, 0, 40)[:, None])
    expected = np.sort(found.structural[:told, 0]).astype(np.float32)
    np.testing.assert_array_equal(unknown_place_scores(MapSample(np.arange(40), found, places), 25.0), expected)


def test_the_similarities_are_those_of_re_ranking(tmp_path):
    model, photos = a_model(), write_photos(tmp_path / "photos", range(20))
    photo_map = Map.build(tmp_path / "map", photos, model=model)
    query = write_photo(tmp_path / "q.jpg", None, seed=50)
    one = photo_map.locate(query, LocateConfig(top=20, threshold=0.0))
    described, cache = model.describe([query]), photo_map.finder.photos.images.cache
    keys = ["q", *map(photo_key, cache.keys)]
    create(tmp_path / "a.h5", keys, CacheSpec("x", 4, 8))
    both = DescriptorCache(tmp_path / "a.h5", writable=True)
    globals_ = np.concatenate([described.globals_, cache.globals_])
    both.write(np.arange(21), globals_, np.concatenate([described.patches, cache.patches]))
    config = model.calibration.config()
    expected = compare(both, np.array([0]), np.arange(1, 21)[None], config)
    scores = dict(zip(keys[1:], zip(expected.global_similarity[0], expected.structural[0])))
    for match in one.matches:
        assert (match.s_global, match.s_struct) == pytest.approx(scores[match.photo], abs=1e-5)
    total = [match.s_global + model.calibration.weight * match.s_struct for match in one.matches]
    assert total == sorted(total, reverse=True) and len(total) == 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ivf", "ivf-pq"])
def test_an_index_finds_what_flat_search_finds(tmp_path, monkeypatch, kind):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(150, 16))
    points = centres[rng.integers(0, 150, 1500)] + 0.2 * rng.normal(size=(1500, 16))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    vector_index.build(points, kind, tmp_path / "i.faiss")
    exact, near = VectorIndex(points), VectorIndex(points, kind, tmp_path / "i.faiss")
    expected, found = exact.search(points[:50], 10), near.search(points[:50], 10)
    assert np.mean([len({*a} & {*b}) for a, b in zip(expected[1], found[1])]) > 9
    same = expected[1] == found[1]
    np.testing.assert_allclose(expected[0][same], found[0][same], atol=1e-5)
    with pytest.raises(RuntimeError, match="holds 1500 descriptors"):
        VectorIndex(points[:9], kind, tmp_path / "i.faiss")


@pytest.mark.slow
@pytest.mark.parametrize("limits", [(200, 1000), (200, 250)])
def test_a_map_takes_the_index_that_fits_its_number(tmp_path, seams, limits):
    model, photos, usual = a_model(), write_photos(tmp_path / "photos", range(300)), vector_index.kind_for
    seams.replace("vpr.retrieval.vector_index.kind_for", lambda count: usual(count, limits))
    add(tmp_path / "map", model, photos)
    photo_map = Map.open(tmp_path / "map", model)
    assert photo_map.content.state.index == usual(300, limits) != "flat"
    found = photo_map.locate(photos / "033.jpg", LocateConfig(depth=10))
    assert max(match.s_global for match in found.matches) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_importing_vpr_is_light_and_names_are_there_when_used():
    code = (
        "import sys, vpr; assert 'numpy' not in sys.modules; assert 'Map' in dir(vpr); vpr.LocateConfig();"
        "vpr.Map; assert 'numpy' in sys.modules and 'torch' not in sys.modules; assert not hasattr(vpr, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[3])


def test_the_candidates_of_another_model_are_re_ranked_by_ours(tmp_path):
    model, photos = a_model(), write_photos(tmp_path / "photos", range(12))
    add(tmp_path / "map", model, photos)
    photo_map = Map.open(tmp_path / "map", model)
    keys = photo_map.content.table.keys
    theirs = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    # the other model takes photo 3 for photo 7, and knows the map's photos by their names alone
    given = ForeignDescriptors(tmp_path, [Path(key).name for key in keys], theirs)
    query = write_photo(tmp_path / "q.jpg", (47, 8), seed=3)
    given.names.append("q.jpg")
    given = ForeignDescriptors(tmp_path, given.names, np.concatenate([theirs, theirs[7:8]]))
    nearest = np.argsort(-(theirs @ theirs[7]), kind="stable")[:4]
    config = LocateConfig(top=12, depth=4)
    one = photo_map.locate_all([query], config, by=given)[0]
    assert {match.photo for match in one.matches} == {*keys[nearest]} and len(one.matches) == 4
    own = {match.photo: match for match in photo_map.locate(query, LocateConfig(top=12)).matches}
    for match in one.matches:  # by our similarities, in our order
        assert match.s_struct == pytest.approx(own[match.photo].s_struct, abs=1e-6)
        assert match.s_global == pytest.approx(own[match.photo].s_global, abs=1e-6)
    assert [match.photo for match in one.matches] == [photo for photo in own if photo in {*keys[nearest]}]
    with pytest.raises(VprError, match="lacks 1 of 1 images"):
        photo_map.locate_all([write_photo(tmp_path / "z.jpg", (47, 8), seed=4)], config, by=given)
