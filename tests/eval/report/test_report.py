"""The page: its numbers, what it holds, how large it is, and that names stay text."""

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from commands import evaluate
from pages import HOSTILE, QUERIES, data_of, rankings, small_set, small_subject, unpack
from PIL import Image

from vpr.base.errors import VprError
from vpr.description.images import ImageError
from vpr.description.thumbnails import SIZES, fitting_size, thumbnail
from vpr.eval import msls, retrieval
from vpr.eval.metrics import recall_at_k
from vpr.eval.report import page
from vpr.eval.report.charts import precision_line
from vpr.eval.report.gallery import Gallery
from vpr.eval.report.matches import LINES, TARGETS, pack
from vpr.eval.report.page import write_report
from vpr.eval.report.subject import ReportOptions, Stage
from vpr.eval.report.tables import facet_tables, nearest_positive
from vpr.retrieval.matching import match
from vpr.retrieval.settings import RerankConfig


class Text(HTMLParser):
    """The tables of a page, and which elements it has."""

    def __init__(self):
        super().__init__()
        self.rows, self.cell = [], False

    def handle_starttag(self, tag, attrs):
        self.cell = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        for name, value in attrs:
            assert name not in ("href", "src") or not value or value.startswith(("data:", "#")), (name, value)

    def handle_endtag(self, tag):
        self.cell = False

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data.strip()


def parsed(page):
    text = Text()
    text.feed(page.read_text(encoding="utf-8"))
    return text


@pytest.fixture
def data(tmp_path):
    return small_set(tmp_path / "set")


def written(data, tmp_path, **options):
    write_report(tmp_path / "a.html", small_subject(data), ReportOptions(**options))
    return tmp_path / "a.html"


def test_the_page_has_the_numbers_of_the_json(tiny_tree, distilled_run, tmp_path):
    record = evaluate(tiny_tree, distilled_run, tmp_path, "--rerank", "--report", tmp_path / "a.html")
    page = tmp_path / "a.html"
    held = data_of(page)
    assert held["results"] == {
        stage: {name: value for name, value in metrics.items() if name != "confidence"}
        for stage, metrics in record["results"].items()
    }
    rows = {row[0]: row[1:] for row in parsed(page).rows}
    for stage, metrics in record["results"].items():
        assert rows[stage] == [f"{100 * value:.1f}" for name, value in metrics.items() if name != "confidence"]
    assert len(held["queries"]) == record["counts"]["queries"]
    right = np.mean([query["answers"][1]["right"][0] for query in held["queries"]])
    assert right == pytest.approx(record["results"]["rerank"]["recall@1"])
    assert held["matches"]["grid"] == 3 and held["matches"]["pairs"]


def test_a_report_of_labels_and_one_of_predictions(tiny_tree, tiny_set, distilled_run, tmp_path, capsys):
    page = tmp_path / "a.html"
    arguments = ["--data", tiny_set, "--run", distilled_run, "--cache", tmp_path / "a.h5", "--report", page]
    assert retrieval.main([*map(str, arguments), "--device", "cpu", "--json", str(tmp_path / "a.json")]) == 0
    held, record = data_of(page), json.loads((tmp_path / "a.json").read_text())
    assert held["results"] == record["results"] and held["queries"][0]["at"] is None
    assert "report: " in capsys.readouterr().out


def test_what_a_page_tells_of_each_query(data, tmp_path):
    held = data_of(written(data, tmp_path))
    assert [query["key"] for query in held["queries"]] == [f"query{number}" for number in range(QUERIES)]
    gained = held["queries"][1]["answers"]
    assert [answers["right"][0] for answers in gained] == [False, True]
    assert [answers["rank"] for answers in gained] == [3, 1]
    entry = held["entries"][gained[0]["entries"][0]]
    assert entry == {"key": "entry5", "at": [0, 150.0, 0.0]} and held["queries"][1]["at"] == [0, 34.0, 3.0]
    assert held["facets"] == [{"name": "light", "values": ["day", "night"]}]
    assert [labels[0] for labels in held["labels"]] == [0, 0, 1, 1, 0, 0]
    thumbnail = Image.open(io.BytesIO(base64.b64decode(held["thumbnails"][QUERIES])))
    assert thumbnail.size == (64, 48)


def test_hostile_names_stay_text(tmp_path):
    data = small_set(tmp_path / "set", [HOSTILE, *(f"query{number}" for number in range(1, QUERIES))])
    subject = small_subject(data)
    facets = {HOSTILE: np.array([HOSTILE, "b"] * 3, dtype=object)}
    stages = (Stage(HOSTILE, rankings([0] * 6)), *subject.stages)
    results = {HOSTILE: {"recall@1": 0.5}}
    hostile = replace(subject, title=HOSTILE, lines=(HOSTILE,), facets=facets, stages=stages, results=results)
    write_report(tmp_path / "a.html", hostile, ReportOptions())
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text.count("<script") == 2 and "alert(1)</script>" not in text
    assert "\u202e" not in text and "\u0007" not in text
    assert data_of(tmp_path / "a.html")["queries"][0]["key"] == HOSTILE


def test_the_page_asks_for_nothing_elsewhere(data, tmp_path):
    page = written(data, tmp_path)
    text = page.read_text(encoding="utf-8")
    parsed(page)
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:|@import|url\(\s*[\"']?http", text)
    assert "default-src 'none'" in text


def test_a_page_is_the_same_each_time(data, tmp_path):
    first = written(data, tmp_path).read_bytes()
    assert written(data, tmp_path).read_bytes() == first


def test_of_many_queries_a_sample_is_shown_and_said(data, tmp_path, capsys):
    page = written(data, tmp_path, report_queries=3)
    held = data_of(page)
    assert len(held["queries"]) == 3 and "3 of 6 queries, drawn at random" in page.read_text()
    rows = [row for row in parsed(page).rows if row and row[0] == "night"]
    assert rows[0][1] == "2", "the tables are of all queries"


@pytest.mark.slow
def test_the_page_keeps_to_its_size(tmp_path, monkeypatch):
    rng, root = np.random.default_rng(0), tmp_path / "set"
    data = small_set(root)
    for number in range(14):  # noise does not compress
        Image.fromarray(rng.integers(0, 256, (600, 800, 3), np.uint8)).save(root / f"images/{number}.jpg")
    whole = sum(map(len, data_of(written(data, tmp_path))["thumbnails"]))
    monkeypatch.setattr(page, "OTHER_BYTES", 900_000)
    held = data_of(written(data, tmp_path, report_mb=1))
    assert sum(map(len, held["thumbnails"])) <= 100_000 < whole and len(held["queries"]) == QUERIES
    shown = []
    for rest in range(20_000, 0, -2500):  # bytes
        monkeypatch.setattr(page, "OTHER_BYTES", 1_000_000 - rest)
        try:
            shown.append(len(data_of(written(data, tmp_path, report_mb=1))["queries"]))
        except VprError as error:
            assert "too small for a single query" in str(error)
            shown.append(0)
    assert shown == sorted(shown, reverse=True) and {QUERIES, 0} < set(shown)


def test_thumbnails_shrink_until_they_fit(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (480, 640, 3), np.uint8)).save(tmp_path / "a.png")
    large, small = (len(thumbnail(tmp_path / "a.png", size)) for size in (SIZES[0], SIZES[-1]))
    assert fitting_size(tmp_path, ["a.png"], 2 * large) == 0 and fitting_size(tmp_path, ["a.png"], 2 * large, 2) == 2
    assert fitting_size(tmp_path, ["a.png"], small) == len(SIZES) - 1
    assert fitting_size(tmp_path, ["a.png"], small // 2) == len(SIZES)
    assert Image.open(io.BytesIO(thumbnail(tmp_path / "a.png", SIZES[0]))).size == (288, 216)


def test_a_missing_photo_is_named_and_no_page_is_left(data, tmp_path):
    (data.root / "images/3.jpg").unlink()
    with pytest.raises(ImageError, match=r"3\.jpg is missing"):
        written(data, tmp_path)
    assert not list(tmp_path.glob("*a.html*"))


def test_recall_by_facet_is_a_count(data):
    subject = small_subject(data)
    [table] = facet_tables(subject)
    night = next(row for row in table.rows if row[0] == "night")
    for place, stage in enumerate(subject.stages):
        alone = recall_at_k(stage.ranked[2:4], [[2], [3]], (1, 5, 10))
        assert list(night[2 + 3 * place : 5 + 3 * place]) == [f"{100 * value:.1f}" for value in alone.values()]


def test_the_nearest_positive_is_told_in_classes(data):
    assert nearest_positive(data) is None, "all are 5 m away"
    moved = data.query_positions.copy()
    moved[0] += [9.0, 0.0]
    labels = nearest_positive(replace(data, query_positions=moved))
    assert labels.tolist() == ["10 to 15 m"] + ["5 to 10 m"] * 5


@pytest.mark.parametrize("mass", [1.0, 0.6])
def test_a_packed_match_is_the_match(mass):
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((2, 9, 8)).astype(np.float32)
    patches /= np.linalg.norm(patches, axis=-1, keepdims=True)
    found = match((patches[0], patches[1]), (patches[0, 0], patches[1, 0]), RerankConfig(mass=mass))
    held = unpack(base64.b64encode(pack(found)).decode(), 9, TARGETS, LINES)
    np.testing.assert_allclose(held["mu"], found.query_weights / found.query_weights.max(), atol=1 / 255)
    np.testing.assert_allclose(held["nu"], found.database_weights / found.database_weights.max(), atol=1 / 255)
    np.testing.assert_allclose(held["own"], found.moved_shares[0], atol=1 / 255)
    np.testing.assert_allclose(held["other"], found.moved_shares[1], atol=1 / 255)
    for patch in range(9):
        best = np.sort(found.plan[patch] / found.query_weights[patch])[::-1][:TARGETS]
        np.testing.assert_allclose(held["mass"].reshape(9, TARGETS)[patch], best, atol=1 / 255)
        to = held["to"].reshape(9, TARGETS)[patch]
        np.testing.assert_allclose(found.plan[patch, to] / found.query_weights[patch], best)
    lines = held["lines"].reshape(LINES, 2)[: held["count"][0]]
    assert lines.tolist() == found.strongest_pairs(LINES).tolist()
    assert held["geometry"][0] / 255 == pytest.approx(found.geometry.score[0], abs=1 / 255)
    np.testing.assert_allclose(held["map"], found.geometry.transform[0], atol=1e-3)


def test_every_first_answer_has_a_match_before_deeper_ones(data):
    gallery = Gallery.sample(small_subject(data), 10)
    pairs = gallery.pairs()
    assert len(pairs) == len(set(pairs)) and {(query, query) for query in (0, 1, 4, 5)} <= set(pairs)
    assert (1, 5) in pairs, "the first answer before re-ranking"


def test_the_confidence_that_is_enough_counts_ties_together():
    right = np.array([True] * 19 + [False] + [True] * 4 + [False] * 6)
    probability = np.array([0.9] * 20 + [0.8] * 10)
    said = precision_line(probability, right)
    assert said.endswith("90 % or more, 95.0 % are right: 20 of 30 queries (67 %).")
    assert "99 % or more, 100.0 % are right" in precision_line(np.array([0.996]), np.array([True]))
    assert "29 % or more" in precision_line(np.array([0.29]), np.array([True]))
    assert precision_line(np.array([0.5, 0.5]), np.array([True, False])).startswith("There is no probability above")


def test_the_confidence_that_is_enough_is_judged_by_the_percentage_that_is_shown():
    """Of 25 answers with 90 % or more 20 are right, whatever the digits behind the point."""
    probability, right = np.array([0.909] * 20 + [0.901] * 5), np.array([True] * 20 + [False] * 5)
    assert precision_line(probability, right).startswith("There is no probability above")
    said = precision_line(np.r_[probability, [0.92] * 30], np.r_[right, [True] * 30])
    assert said.endswith("92 % or more, 100.0 % are right: 30 of 55 queries (55 %).")


def test_without_ground_truth_nothing_is_scored(tiny_tree, distilled_run, tmp_path):
    tree = shutil.copytree(tiny_tree, tmp_path / "tree")
    for path in (tree / "test").glob("*/*/postprocessed.csv"):
        path.unlink()
    arguments = ["--split", "test", "--data", tree, "--run", distilled_run, "--device", "cpu"]
    assert msls.main([*map(str, arguments), "--report", str(tmp_path / "a.html")]) == 0
    held = data_of(tmp_path / "a.html")
    assert not held["scored"] and held["results"] == {} and held["queries"]


def test_cities_lie_apart_on_the_map_in_one_index_too(tiny_tree, distilled_run, tmp_path):
    arguments = ["--data", tiny_tree, "--run", distilled_run, "--device", "cpu", "--cache", tmp_path / "a.h5"]
    for scope in ("city", "merged"):
        page = tmp_path / f"{scope}.html"
        assert msls.main([*map(str, arguments), "--scope", scope, "--report", str(page)]) == 0
        held = data_of(page)
        places = [one["at"] for one in (*held["queries"], *held["entries"])]
        assert {city for city, *_ in places} == {0, 1} and max(east for _, east, _ in places) < 20_000
        city = next(number for number, facet in enumerate(held["facets"]) if facet["name"] == "city")
        assert all(query["at"][0] == labels[city] for query, labels in zip(held["queries"], held["labels"]))


def test_a_file_beside_a_run_is_a_method_and_not_a_stage(tiny_tree, distilled_run, perfect, tmp_path):
    arguments = ["--data", tiny_tree, "--run", distilled_run, "--device", "cpu", "--cache", tmp_path / "a.h5"]
    page = tmp_path / "a.html"
    assert msls.main([*map(str, arguments), "--rerank", "--predictions", str(perfect), "--report", str(page)]) == 0
    held = data_of(page)
    assert held["stages"] == ["predictions", "shortlist", "rerank"] and held["versus"]


def test_bounds_of_pruned_candidates_are_not_shown(tiny_tree, distilled_run, tmp_path):
    evaluate(tiny_tree, distilled_run, tmp_path, "--rerank", "--prune", "2", "--report", tmp_path / "a.html")
    for query in data_of(tmp_path / "a.html")["queries"]:
        known = [score is not None for score in query["answers"][1]["structural"]]
        assert known == [True, True, False, False, False][: len(known)]


def test_queries_without_candidates_have_a_card(tiny_tree, distilled_run, validation, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{name}\n" for name in validation.retrieval_set.queries.names))
    arguments = ["--data", tiny_tree, "--run", distilled_run, "--device", "cpu", "--cache", tmp_path / "a.h5"]
    page = tmp_path / "a.html"
    assert msls.main([*map(str, arguments), "--rerank", "--shortlist", str(path), "--report", str(page)]) == 0
    assert all(query["answers"][0]["entries"] == [] for query in data_of(page)["queries"])


def test_recall_of_several_trainings_is_their_mean(data):
    subject = small_subject(data)
    wrong = Stage("x", rankings([7] * 6), others=(rankings(list(range(6))),))
    [table] = facet_tables(replace(subject, stages=(wrong,)))
    assert {row[2] for row in table.rows} == {"50.0"}


@pytest.mark.parametrize("side", [1, 2, 3])
def test_small_grids_are_packed_whole(side):
    patches = np.eye(9, dtype=np.float32)[: side**2]
    packed = pack(match((patches, patches), (patches[0], patches[0]), RerankConfig("uniform")))
    targets = min(TARGETS, side**2)
    assert len(packed) == (4 + 2 * targets) * side**2 + 1 + 2 * LINES + 13
    held = unpack(base64.b64encode(packed).decode(), side**2, targets, LINES)
    assert held["to"].reshape(side**2, targets)[:, 0].tolist() == list(range(side**2))
