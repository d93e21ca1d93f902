"""The page in a browser: headless Chromium, where there is one."""

from dataclasses import replace

import pytest
from browser import MISSING, Opened, chromium_in
from commands import evaluate
from pages import HOSTILE, QUERIES, small_set, small_subject

from vpr.eval.report.page import write_report
from vpr.eval.report.subject import ReportOptions

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with chromium_in(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


class Page(Opened):
    """What a person does with a report."""

    def __init__(self, driver, path):
        super().__init__(driver, path.as_uri())

    def keys(self):
        return [node.text for node in self.all(".card .key")]

    def press(self, key):
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.keys import Keys

        ActionChains(self.driver).send_keys(getattr(Keys, key, key)).perform()

    def choose(self, selector, text):
        from selenium.webdriver.support.ui import Select

        Select(self.one(selector)).select_by_visible_text(text)

    def point_at(self, node):
        from selenium.webdriver import ActionChains

        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", node)
        ActionChains(self.driver).move_to_element(node).perform()

    def chosen(self):
        return self.one(".card.chosen .key").text

    def check(self):
        """No error on the console, and nothing was asked for but the file and what lies inside it."""
        super().check("file:", "data:", "blob:")


@pytest.fixture
def made_up(chromium, tmp_path):
    write_report(tmp_path / "a.html", small_subject(small_set(tmp_path / "set")), ReportOptions())
    page = Page(chromium, tmp_path / "a.html")
    yield page
    page.check()


@pytest.fixture(scope="module")
def evaluated(tiny_tree, distilled_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    evaluate(tiny_tree, distilled_run, out, "--rerank", "--mass", "0.6", "--report", out / "a.html")
    return out / "a.html"


@pytest.fixture
def real(chromium, evaluated):
    page = Page(chromium, evaluated)
    yield page
    page.check()


def test_filters_choose_queries(made_up):
    assert made_up.keys() == [f"query{number}" for number in range(QUERIES)]
    assert not made_up.one("#more").is_displayed()
    made_up.choose("#outcome", "gained (1)")
    assert made_up.keys() == ["query1"] and made_up.one("#count").text == "1 of 6 queries"
    made_up.choose("#outcome", "lost (1)")
    assert made_up.keys() == ["query2"]
    made_up.choose("#outcome", "all (6)")
    made_up.choose("[data-facet=light]", "night (2)")
    assert made_up.keys() == ["query2", "query3"]
    made_up.choose("[data-facet=light]", "any")
    made_up.one("#find").send_keys("RY4")
    assert made_up.keys() == ["query4"]
    made_up.one("#find").send_keys("nothing of the kind")
    assert made_up.keys() == [] and made_up.one("#count").text == "0 of 6 queries"


def test_the_least_sure_come_first(made_up):
    made_up.choose("#order", "highest probability first")
    assert made_up.keys() == [f"query{number}" for number in reversed(range(QUERIES))]
    made_up.choose("#order", "lowest probability first")
    assert made_up.keys() == [f"query{number}" for number in range(QUERIES)]


def test_frames_tell_right_from_wrong(made_up):
    rows = made_up.all(".card")[1].find_elements("css selector", ".answer")
    assert ["right" in node.get_attribute("class") for node in (rows[0], rows[5])] == [False, True]
    assert rows[5].text.startswith("✓ 5 m") and rows[0].text.startswith("✗ 116 m")


def test_arrows_go_through_the_queries(made_up):
    assert made_up.chosen() == "query0"
    for expected in ("query1", "query2"):
        made_up.press("ARROW_RIGHT")
        assert made_up.chosen() == expected
    made_up.press("ARROW_LEFT")
    assert made_up.chosen() == "query1"
    made_up.press("/")
    made_up.press("ARROW_RIGHT")
    assert made_up.chosen() == "query1", "in the field, arrows move the cursor"


def test_the_map_and_the_gallery_are_linked(made_up):
    assert len(made_up.all("#map-svg .query.right")) == 4 and len(made_up.all("#map-svg .query.wrong")) == 2
    dot = made_up.one('#map-svg .query[data-query="3"]')
    made_up.driver.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", dot)
    assert made_up.chosen() == "query3" and "chosen" in dot.get_attribute("class")
    made_up.choose("#outcome", "gained (1)")
    assert len(made_up.all("#map-svg .query:not(.hidden)")) == 1
    before = made_up.one("#map-svg").get_dom_attribute("viewBox")
    made_up.one("[data-zoom=in]").click()
    assert made_up.one("#map-svg").get_dom_attribute("viewBox") != before


def test_pointing_at_a_patch_shows_where_its_mass_goes(real):
    real.press("ENTER")
    assert real.one("#pair").get_attribute("open") is not None
    assert len(real.all('[data-side="0"] rect')) == 9 and real.all("#pair-lines line")
    patch = real.one('[data-side="0"] rect[data-patch="4"]')
    real.point_at(patch)
    lit = [node for node in real.all('[data-side="1"] rect') if "255, 210" in node.value_of_css_property("fill")]
    assert lit and "here" in patch.get_attribute("class")
    assert "mass" in real.one("#pair-hint").text
    real.point_at(real.one('[data-side="1"] rect[data-patch="4"]'))
    assert real.one("#pair-hint").text == "The highlighted patches of the query send mass here."
    real.point_at(real.one("#pair-title"))
    assert real.all("#pair-lines line"), "away from the photos the lines are back"


def test_the_other_views_of_a_pair(real):
    real.press("ENTER")
    real.one("input[value=marginals]").click()
    assert "heat" in real.one("#pair-photos").get_attribute("class") and not real.all("#pair-lines line")
    real.one("input[value='left out']").click()
    fills = {node.value_of_css_property("fill") for node in real.all('[data-side="0"] rect')}
    assert len(fills) > 1, "with a mass of 0.6 some patches take less part than others"
    real.one("input[value=geometry]").click()
    grids = len(real.all("#pair-lines line"))
    assert grids and grids % 4 == 0, "as many lines down as across, on both photos"
    first = real.one("#pair-title").text
    real.one("#pair-title").click()
    real.press("ARROW_RIGHT")
    assert first.startswith("Answer 1,") and real.one("#pair-title").text.startswith("Answer 2,")
    real.press("ESCAPE")
    assert real.one("#pair").get_attribute("open") is None


def test_dark_and_light(made_up):
    light = made_up.paper()
    made_up.darken()
    assert light == "rgb(255, 255, 255)" and made_up.paper() == "rgb(20, 24, 28)"
    ink = made_up.driver.execute_script("return getComputedStyle(document.querySelector('svg.chart')).color")
    assert ink == "rgb(230, 233, 236)"


def test_a_phone_shows_it_without_scrolling_sideways(real):
    real.on_a_phone()
    assert real.width() <= 360
    real.one(".answer").click()
    sides = [photo.rect for photo in real.all(".photo")]
    assert sides[1]["y"] >= sides[0]["y"] + sides[0]["height"], "one photo below the other"
    assert real.width() <= 360


def test_a_hostile_name_runs_nothing(chromium, tmp_path):
    data = small_set(tmp_path / "set", [HOSTILE, *(f"query{number}" for number in range(1, QUERIES))])
    subject = small_subject(data)
    stages = (replace(subject.stages[0], name=HOSTILE), subject.stages[1])
    write_report(tmp_path / "a.html", replace(subject, title=HOSTILE, stages=stages), ReportOptions())
    page = Page(chromium, tmp_path / "a.html")
    page.press("ENTER")
    shown = HOSTILE.replace("\u202e", r"\u202e").replace("\u0007", r"\u0007")
    assert page.keys()[0] == shown
    assert page.one("#pair figcaption").text == "query " + shown
    assert len(page.all("script")) == 2
    page.check()


def test_methods_beside_one_another(chromium, tmp_path):
    subject = small_subject(small_set(tmp_path / "set"))
    stages = tuple(replace(stage, name=name) for stage, name in zip(subject.stages, ("one", "two")))
    write_report(tmp_path / "a.html", replace(subject, stages=stages, versus=True), ReportOptions())
    page = Page(chromium, tmp_path / "a.html")
    page.choose("#outcome", "only two is right (1)")
    assert page.keys() == ["query1"]
    page.choose("#outcome", "only one is right (1)")
    assert page.keys() == ["query2"]
    page.check()
