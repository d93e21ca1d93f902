"""Pages of located photos: what they show, where the sketch's dots lie, and that names stay text."""

from html.parser import HTMLParser

import numpy as np
import pytest
from photos import write_photos

from vpr.maps import pages
from vpr.maps.results import Located, MapMatch

DEGREE_M = 111_320.0


def one_located(photo, matches, on_map=True, latitude=0.0, longitude=0.0):
    found = tuple(MapMatch(str(match), 0.0, 0.0, 3.0, 0.5, 0.25) for match in matches)
    return Located(str(photo), on_map, latitude, longitude, 26.0, 0.75, 0.5, 1.0, 1, found)


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return sorted(write_photos(tmp_path_factory.mktemp("photos"), range(8)).iterdir())


def test_a_page_shows_each_photo_and_its_first_matches_and_asks_for_nothing(photos):
    located = [one_located(photos[0], photos[1:7]), one_located(photos[1], photos[3:5], on_map=False)]
    text = pages.page(located, np.zeros((3, 2)), "A title", "1 of 2")
    tags = Tags(text).found
    images = [given for tag, given in tags if tag == "img"]
    assert len(images) == 1 + pages.MATCHES + 1 + 2 and all(one["src"].startswith("data:image/jpeg") for one in images)
    assert "On the map: 1" in text and "Not on the map: 1" in text and "A title" in text and "1 of 2" in text
    assert str(photos[pages.MATCHES]) in text and str(photos[pages.MATCHES + 1]) not in text
    links = [given["href"] for tag, given in tags if tag == "a"]
    assert sorted(links) == [
        "#photo-0",
        "https://www.openstreetmap.org/?mlat=0.000000&mlon=0.000000#map=18/0.000000/0.000000",
    ]
    assert not [tag for tag, _ in tags if tag in ("script", "iframe", "object")] and "default-src 'none'" in text


def test_hostile_names_stay_text():
    hostile = '<script>alert(1)</script>" onerror="x\x1b[31m'
    text = pages.page([one_located(hostile, [hostile])], np.zeros((1, 2)), hostile, hostile)
    assert "<script" not in text and "\x1b" not in text and "&lt;script&gt;" in text
    assert not any("onerror" in given for _, given in Tags(text).found)
    assert "<script" not in pages.card(one_located(hostile, [hostile]))


def test_a_card_shows_the_best_match_and_leaves_out_what_is_gone(photos, tmp_path):
    text = pages.card(one_located(photos[0], [tmp_path / "gone.jpg", photos[1]]))
    assert text.count("<img") == 1 and "gone.jpg" in text and str(photos[1]) not in text
    assert "3.0 m, S_global 0.500, S_struct 0.250" in text
    assert one_located(photos[0], photos[1:2])._repr_html_().count("<img") == 2


@pytest.mark.parametrize(("latitude", "longitude"), [(60.0, 5.0), (-17.0, 179.9995)])
def test_the_sketch_has_north_up_and_one_scale(latitude, longitude):
    # three photos of a map: a corner, 100 m north of it, 200 m east of it, also beyond the 180th meridian
    east = 200 / DEGREE_M / np.cos(np.radians(latitude))
    positions = np.array([[latitude, longitude], [latitude + 100 / DEGREE_M, longitude], [latitude, longitude + east]])
    positions[:, 1] = (positions[:, 1] + 180) % 360 - 180
    half = (longitude + east / 2 + 180) % 360 - 180
    located = [one_located("a", [], latitude=latitude, longitude=half), one_located("b", [], on_map=False)]
    drawn = pages.sketch(located, positions)
    corner, north, eastern = np.array(drawn.photos)
    factor = (pages.WIDTH - 2 * pages.MARGIN) / 200
    assert corner == pytest.approx([pages.MARGIN, pages.MARGIN + 100 * factor], abs=0.6)
    assert north == pytest.approx(corner - np.array([0, 100 * factor]), abs=0.6)
    assert eastern == pytest.approx(corner + np.array([200 * factor, 0]), abs=0.6)
    ((number, x, y),) = drawn.located  # the other is not on the map
    assert number == 0 and (x, y) == pytest.approx(tuple((corner + eastern) / 2), abs=0.6)
    assert (drawn.bar_label, drawn.bar) == ("20 m", pytest.approx(20 * factor, abs=0.1)) and not drawn.is_sample


def test_a_sketch_of_one_photo_of_a_long_street_and_of_many():
    alone = pages.sketch([], np.array([[10.0, 20.0]]))
    assert alone.photos == [(pages.WIDTH / 2, pages.MARGIN)] and alone.located == []
    street = pages.sketch([], np.stack([np.linspace(50, 50.1, 40), np.full(40, 8.0)], 1))
    assert street.height == pages.TALLEST and {x for x, _ in street.photos} == {pages.WIDTH / 2}
    assert street.bar_label == "2 km" and street.bar < pages.WIDTH / 4
    many = pages.sketch([], np.random.default_rng(0).normal(size=(pages.DOTS * 2, 2)))
    assert len(many.photos) == pages.DOTS and many.is_sample


def test_pictures_shrink_until_they_fit(photos, monkeypatch, seams):
    def side(budget):
        monkeypatch.setattr(pages, "BUDGET", budget)
        asked = []
        seams.replace("vpr.maps.pages.thumbnail", lambda path, size: asked.append(size.pixels) or b"x")
        pages.pictures_of([one_located(photos[0], photos[1:4])])
        assert len(asked) == 4
        return asked[0]

    sides = [side(budget) for budget in (1e9, 4 * 9000, 4 * 3000, 1)]
    assert sides == sorted(sides, reverse=True) and sides[0] == 288 and sides[-1] == 88 and len({*sides}) == 4
