"""The page in a browser: headless Chromium, where there is one."""

import base64
import re

import pytest
from browser import MISSING, Opened, chromium_in
from photos import write_photo
from serving import KINDS, listening, make_map_of, until

from vpr.maps.photo_map import Map
from vpr.maps.results import share_text
from vpr.serving.served import ServedMap

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
DROP = """
const [target, name, data] = arguments;
const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
const given = new DataTransfer();
given.items.add(new File([bytes], name, { type: "image/jpeg" }));
target.dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
"""
HOSTILE = "<img src=x onerror=alert(1)>\u202egpj"


@pytest.fixture(scope="module")
def where(photo_map):
    with listening(ServedMap(photo_map), max_mb=0.5) as (_, port):
        yield f"http://localhost:{port}/"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with chromium_in(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


class Page(Opened):
    """What a person does with the page."""

    def choose(self, *paths):
        self.one("#choose").send_keys("\n".join(str(path) for path in paths))

    def drop(self, path, name):
        self.driver.execute_script(DROP, self.one("#drop"), name, base64.b64encode(path.read_bytes()).decode())

    def answers(self, count):
        """The cards, newest first, once there are ``count`` and none waits."""
        until(lambda: len(self.all("article")) == count and not self.all("article.waiting"))
        return self.all("article")


@pytest.fixture
def page(chromium, where):
    page = Page(chromium, where)
    yield page
    page.check(where, "data:", f"blob:{where}")


def inside(card, selector):
    return [node.text for node in card.find_elements("css selector", selector)]


def test_a_photo_that_is_chosen_is_answered(page, photo_map, tmp_path):
    assert inside(page.one("header"), "p") == ["The map map has 24 photos."]
    path = photo_map.content.table.keys[3]
    page.choose(path)
    (card,) = page.answers(1)
    wanted = photo_map.locate(path)
    assert inside(card, ".state") == ["Found" if wanted.on_map else "Not on this map"]
    assert f"{wanted.latitude:.6f}, {wanted.longitude:.6f}, within {wanted.radius_m:.0f} m" in inside(card, ".place")[0]
    assert f"{share_text(wanted.probability, wanted.on_map)} probable" in inside(card, ".confidence")[0]
    full, part = (card.find_element("css selector", selector).rect["width"] for selector in (".bar", ".bar span"))
    assert part / full == pytest.approx(wanted.probability, abs=0.01)
    assert inside(card, "figcaption") == ["003.jpg"]
    pictures = card.find_elements("css selector", ".matches img")
    assert len(pictures) == len(wanted.matches) == 5
    until(lambda: all(picture.get_property("naturalWidth") == 48 for picture in pictures))
    assert [item.get_attribute("title") for item in card.find_elements("css selector", "li")] == [
        match.photo for match in wanted.matches
    ]
    link = card.find_element("css selector", "a")
    latitude, longitude = f"{wanted.latitude:.6f}", f"{wanted.longitude:.6f}"
    marker, view = f"?mlat={latitude}&mlon={longitude}", f"#map=18/{latitude}/{longitude}"
    assert link.get_attribute("href") == f"https://www.openstreetmap.org/{marker}{view}"
    assert link.get_attribute("rel") == "noopener noreferrer"


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_of_a_map_that_is_not_on_earth(chromium, tmp_path, kind):
    photo_map = make_map_of(kind, tmp_path)
    with listening(ServedMap(photo_map)) as (_, port):
        where = f"http://localhost:{port}/"
        page = Page(chromium, where)
        page.choose(photo_map.content.table.keys[3])
        (card,) = page.answers(1)
        (place,) = inside(card, ".place")
        assert re.fullmatch(KINDS[kind][2], place.removeprefix("Best guess: "))
        assert not card.find_elements("css selector", "a") and len(inside(card, ".matches li")) == 5
        page.check(where, "data:", f"blob:{where}")


def test_the_page_works_under_a_path(chromium, photo_map):
    with listening(ServedMap(photo_map), prefix="/maps/vpr") as (_, port):
        where = f"http://localhost:{port}/maps/vpr/"
        page = Page(chromium, where)
        page.choose(photo_map.content.table.keys[3])
        (card,) = page.answers(1)
        assert inside(card, ".state")[0] in ("Found", "Not on this map")
        pictures = card.find_elements("css selector", ".matches img")
        until(lambda: [picture.get_property("naturalWidth") for picture in pictures] == [48] * 5)
        page.check(where, "data:", f"blob:http://localhost:{port}/")


def test_photos_are_answered_one_after_another_newest_first(page, photo_map):
    page.choose(*photo_map.content.table.keys[:3])
    assert [inside(card, "figcaption") for card in page.answers(3)] == [["002.jpg"], ["001.jpg"], ["000.jpg"]]
    page.choose(photo_map.content.table.keys[0])
    assert len(page.answers(4)) == 4, "the same photo may be chosen again"


def test_a_dropped_photo_of_a_hostile_name_runs_nothing(page, tmp_path):
    page.drop(write_photo(tmp_path / "a.jpg", None), HOSTILE)
    (card,) = page.answers(1)
    assert inside(card, "figcaption") == [HOSTILE] and inside(card, ".state")[0] in ("Found", "Not on this map")
    assert len(page.all("script")) == 1


def test_an_error_is_shown_as_a_sentence(page, tmp_path, chromium):
    (tmp_path / "large.jpg").write_bytes(bytes(500_001))
    (tmp_path / "text.jpg").write_text("no photo")
    page.choose(tmp_path / "large.jpg", tmp_path / "text.jpg")
    text, large = page.answers(2)
    assert inside(large, ".confidence") == ["The photo is larger than 0.5 MB. Send a smaller copy."]
    assert inside(text, ".confidence")[0].startswith("That is no photo that can be read; send JPEG")
    messages = [entry["message"] for entry in chromium.get_log("browser")]
    assert len(messages) == 1 and "415" in messages[0], "the answer, which the browser notes"


def test_a_photo_that_is_not_on_the_map_is_marked(page, seams, tmp_path):
    from dataclasses import replace

    locate_all = Map.locate_all
    seams.replace(
        "vpr.maps.photo_map.Map.locate_all",
        lambda *a: [replace(o, on_map=False, probability=None, on_map_probability=None) for o in locate_all(*a)],
    )
    page.choose(write_photo(tmp_path / "a.jpg", None))
    (card,) = page.answers(1)
    assert inside(card, ".state") == ["Not on this map"] and inside(card, ".place")[0].startswith("Best guess: ")
    assert (
        inside(card, ".confidence") == ["No probability available for this map"]
        and not card.find_element("css selector", ".bar").is_displayed()
    )


def test_a_service_that_is_gone_is_named(chromium, photo_map, tmp_path):
    with listening(ServedMap(photo_map)) as (_, port):
        page = Page(chromium, f"http://localhost:{port}/")
    page.choose(write_photo(tmp_path / "a.jpg", None))
    assert inside(page.answers(1)[0], ".confidence") == ["The service does not answer. Is it still running?"]
    chromium.get_log("browser")


def test_dark_and_light_and_a_phone(page, photo_map):
    light = page.paper()
    page.darken()
    assert light == "rgb(255, 255, 255)" and page.paper() == "rgb(20, 24, 28)"
    page.on_a_phone()
    page.choose(photo_map.content.table.keys[0])
    (card,) = page.answers(1)
    assert page.width() <= 360
    own, told = (card.find_element("css selector", selector).rect for selector in (".own", ".result"))
    assert told["y"] >= own["y"] + own["height"], "one below the other"


def test_the_page_can_be_used_by_keys(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    ActionChains(page.driver).send_keys(Keys.TAB).perform()
    assert page.driver.switch_to.active_element.get_attribute("id") == "choose"
    assert page.one("#drop").value_of_css_property("outline-style") == "solid"
