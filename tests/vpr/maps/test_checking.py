"""The check of a map: figures against plain loops, and worked out by hand."""

import json
import math
import shutil

import numpy as np
import pytest
from photos import a_model, add, write_photo, write_photos

from vpr.maps.checking import CheckResult, check_answers
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.results import Located, MapMatch
from vpr.maps.sources.positions import Photo
from vpr.positions.errors import MapError
from vpr.positions.geodesy import metres_between, to_places

PLACE_M, THRESHOLD = 30.0, 0.5
MAP = [(47 + 0.001 * number, 8.0) for number in range(20)]  # 111 m apart


def drawn_answers(seed=0, count=60):
    """Photos on and off the map, and drawn answers as with no test of the probability."""
    rng = np.random.default_rng(seed)
    photos, located = [], []
    for number in range(count):
        latitude = 47 + 0.001 * rng.integers(0, 30) + rng.choice([0, 1e-4, 4e-4])
        photos.append(Photo(f"{number}.jpg", (latitude, 8.0)))
        matches = tuple(MapMatch("m", *MAP[rng.integers(20)], 0.0, 0.5, 0.5) for _ in range(rng.integers(0, 12)))
        if not matches:
            located.append(Located.without_candidates(f"{number}.jpg", 0))
            continue
        if rng.random() < 0.5:
            matches = (MapMatch("m", min(latitude, 47.019), 8.0, 0.0, 0.5, 0.5), *matches)
        probability = None if rng.random() < 0.1 else float(rng.random())
        place = matches[0].latitude, 8.0, PLACE_M
        told = None if rng.random() < 0.1 else float(rng.random())
        located.append(Located(f"{number}.jpg", rng.random() < 0.9, *place, probability, 0.5, 1.0, 1, matches, 0, told))
    return located, photos


def apart(one, latitude, longitude):
    return metres_between((one.latitude, one.longitude), (latitude, longitude))


@pytest.fixture(scope="module")
def answers():
    return drawn_answers()


@pytest.fixture(scope="module")
def result(answers):
    return check_answers(*answers, to_places(*np.array(MAP).T), PLACE_M, THRESHOLD)


def test_figures_equal_plain_loops(answers, result):
    pairs = list(zip(*answers))
    known = [(one, photo) for one, photo in pairs if min(apart(photo, *at) for at in MAP) <= PLACE_M]
    strangers = [(one, photo) for one, photo in pairs if (one, photo) not in known]
    assert 10 < len(known) < 50 and [one.photo for one in result.known] == [one.photo for one, _ in known]

    def right(one, photo, rank=1):
        return any(apart(photo, match.latitude, match.longitude) <= PLACE_M for match in one.matches[:rank])

    for rank in (1, 5, 10):
        assert result.recall(rank) == pytest.approx(np.mean([right(*pair, rank) for pair in known]))
    for threshold in (0.1, 0.5, 0.85):
        decided = result.decide(threshold)

        def accepted(one, least=threshold):
            return one.on_map and (one.on_map_probability is None or one.on_map_probability >= least)

        assert decided.strangers_accepted == sum(accepted(one) for one, _ in strangers)
        assert decided.known_refused == sum(not accepted(one) for one, _ in known)
        assert decided.known_elsewhere == sum(accepted(one) and not right(one, photo) for one, photo in known)
    errors = sorted(math.inf if not one.matches else apart(photo, one.latitude, one.longitude) for one, photo in known)
    assert result.position_error_m() == pytest.approx(errors[math.ceil(len(errors) / 2) - 1], rel=1e-2, abs=0.01)
    gaps = 0.0
    judged = [(one.probability, right(one, photo)) for one, photo in known if one.probability is not None]
    for tenth in range(10):
        some = [pair for pair in judged if int(10 * pair[0]) == tenth]
        gaps += abs(sum(p for p, _ in some) - sum(is_right for _, is_right in some)) / len(judged)
    assert result.calibration_error == pytest.approx(gaps)


def test_wrong_answers_are_refused_known_photos_wrong_places_and_accepted_strangers(result):
    own = result.decide(THRESHOLD)
    assert len(result.wrong) == own.strangers_accepted + own.known_refused + own.known_elsewhere
    for one in result.wrong:
        assert ("A stranger" in one.summary()) == (not one.is_known) and one.photo in one.summary()
    assert own in result.decisions and [one.threshold for one in result.decisions] == [n / 10 for n in range(1, 10)]


def test_the_json_has_no_numbers_that_json_lacks(result):
    content = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert len(content["photos"]) == 60 and content["results"]["recall@1"] == result.recall()
    nothing = CheckResult((), PLACE_M, 0.35)
    assert math.isnan(nothing.recall()) and math.isnan(nothing.calibration_error)
    assert nothing.as_json()["results"]["median_error_m"] is None and "0.35" in "".join(nothing.lines())


def test_a_map_is_checked_by_photos_that_are_not_in_it(tmp_path):
    model = a_model()
    photos = write_photos(tmp_path / "photos", range(24))
    add(tmp_path / "map", model, photos)
    for number in (5, 11):
        write_photo(tmp_path / f"q{number:03d}.jpg", (47 + number * 1e-3, 8.0), seed=number, size=(50, 40))
    shutil.copy(photos / "007.jpg", tmp_path / "copy.jpg")
    (photos / "bad.jpg").write_bytes((photos / "003.jpg").read_bytes()[:-200])
    photo_map = Map.open(tmp_path / "map", model)
    for config in (LocateConfig(place=9.0, threshold=0.3), LocateConfig(place=9.0, threshold=0.3, sequence=True)):
        found = photo_map.check(
            photos, *(tmp_path / name for name in ("q005.jpg", "copy.jpg", "q011.jpg")), config=config
        )
        assert len(found.in_map) == 25 and found.place_m == 9.0 and len(found.left_out.unreadable) == 1
        assert [one.is_known for one in found.photos] == [True, True] and found.recall(10) == 1
        own = [one.matches[0].photo.endswith(one.photo[-7:]) for one in found.photos]
        assert [one.is_right() for one in found.photos] == own and found.recall() == np.mean(own)
    with pytest.raises(MapError, match="all 1 photos are in .*; give other photos of the same places"):
        photo_map.check(photos / "001.jpg")
    with pytest.raises(MapError, match="all 2 photos are in .* itself"):
        photo_map.check(photos / "001.jpg", tmp_path / "copy.jpg")
