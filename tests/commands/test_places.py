"""eval.places on sets of each layout: the numbers are those of a loop over queries and database photos."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from commands import refused
from pages import data_of
from PIL import Image
from place_trees import (
    by_degrees,
    by_plane,
    naive_recall,
    objects,
    picture,
    touch,
    utm_name,
    write_csv,
    write_descriptors,
)

from tools.photo_folder import write_side
from vpr.base.errors import VprError
from vpr.eval import places, results
from vpr.eval.metrics import first_hits, map_at_k, recall_at_k

KS = (1, 5, 10, 20, 100)


def run(folder, *arguments):
    """Run eval.places, which must succeed; returns what --json wrote."""
    assert places.main([str(argument) for argument in [*arguments, "--json", folder / "a.json"]]) == 0
    return json.loads((folder / "a.json").read_text())


def spread(rng, count, metres=400):
    return [
        utm_name(f"{500_000 + 5 * east:010.2f}", f"{4_000_000 + 5 * north:010.2f}", note=number)
        for number, (east, north) in enumerate(rng.integers(0, metres // 5, (count, 2)))
    ]


def make_sides(folder, **names):
    """The empty files of folders."""
    files = [[folder / side / name for name in some] for side, some in names.items()]
    touch(*(file for side in files for file in side))
    return files


def utm_set(folder):
    """Database and queries: the arguments, the files, what is right, and whether queries without it count."""
    rng = np.random.default_rng(0)
    queries, database = (sorted(spread(rng, count)) for count in (25, 60))
    files = make_sides(folder / "images/test", queries=queries, database=database)
    return ["--data", folder], files, by_plane(queries, database), True, None


def own_set(folder):
    """One folder is both sides."""
    names = sorted(spread(np.random.default_rng(1), 50, 200))
    (files,) = make_sides(folder, photos=names)
    right = [[entry for entry in row if entry != query] for query, row in enumerate(by_plane(names, names))]
    return ["--database", folder / "photos", "--queries", folder / "photos"], [files, files], right, True, range(50)


def array_set(folder):
    rows = [[0, 3], [1], [], [2, 4], [5], [0], [29]]
    chosen = [8, 1, 2, 3, 4, 5, 0]
    queries, database = ([f"{number:02d}.jpg" for number in range(count)] for count in (9, 30))
    files = make_sides(folder, q=queries, db=database)
    np.save(folder / "x_qImages.npy", np.array([f"q/{name}" for name in queries]))
    np.save(folder / "x_dbImages.npy", np.array([f"db/{name}" for name in database]))
    np.save(folder / "x_qIdx.npy", np.array(chosen))
    np.save(folder / "x_pIdx.npy", objects(rows))
    return ["--data", folder], [[files[0][query] for query in chosen], files[1]], rows, False, None


def bench_set(folder):
    rows = [[0], [3, 4], [], [7]]
    query, ref = ([f"{number:07d}.jpg" for number in range(count)] for count in (4, 20))
    files = make_sides(folder, query=query, ref=ref)
    np.save(folder / "ground_truth_new.npy", objects([[query, refs] for query, refs in enumerate(rows)]))
    return ["--data", folder], files, rows, False, None


def pair_set(folder):
    rows = [[0], [3, 4], [], [7]]
    queries, database = ([f"{number}.jpg" for number in range(count)] for count in (4, 9))
    files = make_sides(folder, queries=queries, database=database)
    pairs = [(f"{query}.jpg", f"{entry}.jpg") for query, row in enumerate(rows) for entry in row]
    truth = write_csv(folder / "truth.csv", ["query", "database"], pairs)
    return ["--data", folder, "--truth", truth], files, rows, False, None


def list_set(folder):
    rng = np.random.default_rng(2)
    steps = rng.integers(0, 20, (60, 2)) + rng.uniform(0, 0.3, (60, 2))
    spots = [(47 + 1e-4 * north, 8 + 1e-4 * east) for north, east in steps]
    (files,) = make_sides(folder, images=[f"{number:03d}.jpg" for number in range(60)])
    sides = ["query"] * 20 + ["database"] * 40
    rows = [(file.name, side, *spot) for file, side, spot in zip(files, sides, spots)]
    write_csv(folder / "photos.csv", ["file", "side", "latitude", "longitude"], rows)
    return ["--data", folder], [files[:20], files[20:]], by_degrees(spots[:20], spots[20:]), False, None


SETS = {
    "UTM": utm_set,
    "own": own_set,
    "arrays": array_set,
    "VPR-Bench": bench_set,
    "pairs": pair_set,
    "list": list_set,
}


@pytest.mark.parametrize("kind", SETS)
def test_the_numbers_are_those_of_a_loop(kind, tmp_path, capsys):
    folder = tmp_path / "set"
    folder.mkdir()
    arguments, (queries, database), right, wrong, own = SETS[kind](folder)
    vectors = write_descriptors(tmp_path / "d.npy", dict.fromkeys([*queries, *database]))
    record = run(tmp_path, *arguments, "--shortlist", tmp_path / "d.npy", "--submission", tmp_path / "s.csv")
    expected = naive_recall(vectors, queries, database, right, KS, wrong, own)
    found = record["results"]["shortlist"]
    assert {name: found[name] for name in expected} == expected and expected["recall@20"] > 0
    without = sum(not row for row in right)
    assert without and record["counts"] == {
        "queries": len(queries) - (0 if wrong else without), "queries_without_positives": without,
        "database": len(database),
    }  # fmt: skip
    protocol = record["protocol"]
    assert protocol["without_positives"] == ("wrong" if wrong else "left out")
    printed = capsys.readouterr().out
    assert protocol["rule"] in printed and f"{without} without positives" in printed
    again = run(tmp_path, *arguments, "--predictions", tmp_path / "s.csv", "--recall", "1,20")
    scored = again["results"]["predictions"]
    assert scored["recall@1"] == found["recall@1"] and scored["map@20"] == found["map@20"]
    assert set(scored) == {"recall@1", "recall@20", "map@1", "map@20"}
    rule = ["--without-positives", "left-out" if wrong else "wrong"]
    other = run(tmp_path, *arguments, "--shortlist", tmp_path / "d.npy", *rule)
    opposite = naive_recall(vectors, queries, database, right, KS, not wrong, own)
    assert {name: other["results"]["shortlist"][name] for name in opposite} == opposite


def test_queries_without_positives_count_as_wrong_if_asked_for():
    ranked, positives = np.array([[0, 1], [1, 0], [0, 1]]), [[0], [], [1]]
    assert recall_at_k(ranked, positives, (1, 2), "wrong") == {1: 1 / 3, 2: 2 / 3}
    assert recall_at_k(ranked, positives, (1, 2)) == {1: 0.5, 2: 1.0}
    assert map_at_k(ranked, positives, (2,)) == {2: 0.75} and map_at_k(ranked, positives, (2,), "wrong") == {2: 0.5}
    assert first_hits(ranked, positives, 1, "wrong")[1].tolist() == [1, 0, 1]


@pytest.fixture(scope="module")
def street_set(tiny_tree, tmp_path_factory):
    """Photos of the tiny world with EXIF, in two folders."""
    folder = tmp_path_factory.mktemp("streets")
    for side, name in (("query", "queries"), ("database", "database")):
        write_side(tiny_tree, "cph", side, folder / name)
    return folder


@pytest.mark.slow
def test_a_run_reranks_reports_and_writes_files(street_set, distilled_run, tmp_path, capsys):
    outputs = [tmp_path / name for name in ("s.csv", "c.csv", "r.html")]
    options = ["--data", street_set, "--run", distilled_run, "--device", "cpu", "--rerank"]
    record = run(tmp_path, *options, "--submission", outputs[0], "--confidence", outputs[1], "--report", outputs[2])
    assert set(record["results"]) == {"shortlist", "rerank"} and record["protocol"]["layout"] == "EXIF"
    assert record["latency_ms"].keys() >= {"shortlist_per_query", "rerank_per_query"} and record["weight"] > 0
    assert record["results"]["rerank"]["confidence"]["auprc"]["sue"] is not None
    scored = run(tmp_path, "--data", street_set, "--predictions", outputs[0])["results"]["predictions"]
    assert all(scored[f"recall@{k}"] == record["results"]["rerank"][f"recall@{k}"] for k in (1, 5, 10, 20))
    again = run(tmp_path, *options, "--shortlist", outputs[0], "--fusion", "similarity")
    assert set(again["results"]) == {"shortlist", "rerank"}
    page = data_of(outputs[2])
    assert page["scored"] and len(page["queries"]) == record["counts"]["queries"] and page["entries"][0]["at"]
    assert len(outputs[1].read_text().splitlines()) == 1 + len(list((street_set / "queries").rglob("*.jpg")))
    capsys.readouterr()
    compared = run(tmp_path, *options[:-1], "--compare", f"file={outputs[0]}")["comparison"]
    assert compared["file"]["recall@1"] == record["results"]["rerank"]["recall@1"]
    assert compared["distill, re-ranked"]["recall@1"] == record["results"]["rerank"]["recall@1"]
    assert "R@1 of file - distill, re-ranked: 0.0" in capsys.readouterr().out


@pytest.mark.slow
def test_without_labels_there_are_answers_and_pictures(street_set, distilled_run, tmp_path, capsys):
    """Also of photos that have no positions."""
    for side in ("queries", "database"):
        (tmp_path / side).mkdir()
        for path in sorted((street_set / side).rglob("*.jpg"))[:6]:
            Image.open(path).save(tmp_path / side / path.name)  # without EXIF
    options = [
        "--data",
        tmp_path,
        "--run",
        distilled_run,
        "--device",
        "cpu",
        "--rerank",
        "--report",
        tmp_path / "r.html",
    ]
    record = run(tmp_path, *options, "--submission", tmp_path / "s.zip")
    printed = capsys.readouterr().out
    assert record["results"] == {} and record["protocol"]["layout"] == "no labels"
    assert "no score: which database photos are right is unknown" in printed and "no ground truth, no score" in printed
    page = data_of(tmp_path / "r.html")
    assert not page["scored"] and len(page["queries"]) == 6 and len(page["thumbnails"]) == 12
    line = refused(capsys, places.main, *options[:-2], "--compare", "builtin")
    assert "nothing can be scored: which database photos are right is unknown" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recall", "1,x"], "--recall: 'x' is not a number of answers"),
        (["--recall", "0"], "--recall: '0' is not a number of answers"),
        (["--recall", "200"], "--recall: 200 is more than the 100 candidates of a shortlist; pass --depth 200"),
        (["--submission", "s.txt"], "a submission is a .csv or a .zip"),
        (["--predictions", "p.csv"], "p.csv: no such prediction file"),
        (["--json", "set"], "--json set is an input"),
        (["--json", "set/images/test/a.json", "--radius", "0.001"], "no query has a positive"),
    ],
)
def test_bad_options_are_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    _, files, _, _, _ = utm_set(Path("set"))
    write_descriptors(Path("d.npy"), [*files[0], *files[1]])
    before = sorted(os.walk("set"))
    line = refused(capsys, places.main, "--data", "set", "--shortlist", "d.npy", *arguments)
    assert words in line and sorted(os.walk("set")) == before


def test_a_short_shortlist_has_fewer_recalls(tmp_path):
    arguments, files, _, _, _ = utm_set(tmp_path / "set")
    write_descriptors(tmp_path / "d.npy", [*files[0], *files[1]])
    record = run(tmp_path, *arguments, "--shortlist", tmp_path / "d.npy", "--depth", "10")
    assert [name for name in record["results"]["shortlist"] if "recall" in name] == [f"recall@{k}" for k in (1, 5, 10)]


def test_a_prediction_file_has_recalls_beyond_the_depth(tmp_path):
    """The depth is of a shortlist; rows of a file may be longer."""
    rng = np.random.default_rng(7)
    queries, database = (sorted(spread(rng, count, 900)) for count in (6, 220))
    make_sides(tmp_path / "set", queries=queries, database=database)
    orders = [rng.permutation(len(database))[:210] for _ in queries]
    rows = [" ".join([query, *(database[entry] for entry in order)]) for query, order in zip(queries, orders)]
    (tmp_path / "p.csv").write_text("\n".join(rows) + "\n")
    options = ["--data", tmp_path / "set", "--predictions", tmp_path / "p.csv", "--depth", "10"]
    expected = recall_at_k(np.array(orders), by_plane(queries, database), (100, 200), "wrong")
    found = run(tmp_path, *options, "--recall", "100,200")["results"]["predictions"]
    assert [found[f"recall@{k}"] for k in (100, 200)] == [expected[100], expected[200]] and expected[200] > 0
    assert run(tmp_path, *options)["results"]["predictions"]["recall@100"] == expected[100]


@pytest.fixture
def scored_files(tmp_path):
    """A set of pairs of pictures, and two prediction files: one all right, one right for one query of three."""
    arguments, *_ = pair_set(tmp_path / "set")
    for number, path in enumerate(sorted((tmp_path / "set").rglob("*.jpg"))):
        picture(path, number)
    (tmp_path / "good.csv").write_text("0 0\n1 3\n3 7\n")
    (tmp_path / "bad.csv").write_text("0 0\n1 1\n3 1\n")
    return [*arguments, "--predictions", tmp_path / "good.csv"]


def test_prediction_files_are_compared_without_a_run(scored_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without runs/distill
    record = run(tmp_path, *scored_files, "--compare", f"b={tmp_path / 'bad.csv'}")
    compared = {name: record["comparison"][name]["recall@1"] for name in ("good", "b")}
    assert compared == {"good": 1.0, "b": pytest.approx(1 / 3)}
    assert record["results"]["predictions"]["recall@1"] == 1.0


def test_results_outlast_a_comparison_that_fails(scored_files, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise VprError("the comparison failed")

    monkeypatch.setattr(places, "_compare", fail)
    options = [*scored_files, "--compare", tmp_path / "bad.csv", "--json", tmp_path / "j.json"]
    assert "the comparison failed" in refused(capsys, places.main, *options)
    assert json.loads((tmp_path / "j.json").read_text())["results"]["predictions"]["recall@1"] == 1.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--compare", "gone.csv"], "gone.csv: no such prediction file"),
        (["--compare", "gone"], "no run at gone"),
        (["--compare", "odd.csv"], "odd.csv, line 1: the set has no query x"),
        (["--submission", "s.csv"], "photo 'b c.jpg' cannot be written into a prediction file; rename the image"),
    ],
)
def test_what_would_fail_later_fails_before_the_work(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    arguments, *_ = pair_set(tmp_path / "set")
    touch(tmp_path / "set/database/b c.jpg")
    (tmp_path / "odd.csv").write_text("x 1\n")
    monkeypatch.setattr(results, "evaluate_benchmark", lambda *_: pytest.fail("the photos are described"))
    assert words in refused(capsys, places.main, *arguments, "--run", "builtin", *options)


def test_a_name_with_a_space_is_no_name_of_a_prediction_file(tmp_path, capsys):
    for name in ("queries/a.jpg", "queries/b.jpg", "database/a.jpg", "database/b c.jpg"):
        touch(tmp_path / "set" / name)
    write_descriptors(tmp_path / "d.npy", sorted((tmp_path / "set").rglob("*.jpg")))
    options = ["--data", tmp_path / "set", "--shortlist", tmp_path / "d.npy"]
    assert run(tmp_path, *options)["results"] == {}
    line = refused(capsys, places.main, *options, "--submission", tmp_path / "s.csv")
    assert "photo 'b c.jpg' cannot be written into a prediction file; rename the image" in line


def test_files_that_are_found_by_looking_are_not_replaced(tmp_path, capsys):
    listed, arrays = tmp_path / "list", tmp_path / "arrays"
    for folder, make, name, words in (
        (listed, list_set, "photos.csv", "is an input"),
        (arrays, array_set, "x_pIdx.npy", "exists and is no CSV file"),
    ):
        folder.mkdir()
        arguments, *_ = make(folder)
        before = (folder / name).read_bytes()
        line = refused(capsys, places.main, *arguments, "--run", "builtin", "--confidence", folder / name)
        assert f"{name} {words}" in line and (folder / name).read_bytes() == before


PREDICTIONS = {
    "unknown": ("0 nowhere 1\n", "1 x unknown prediction, first on line 1: nowhere"),
    "repeated": ("queries/0.jpg 1 1\n", "1 x prediction repeated in its row"),
}


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_odd_predictions_are_counted_or_refused(tmp_path, capsys, caplog, kind):
    arguments, *_ = pair_set(tmp_path)
    row, words = PREDICTIONS[kind]
    path = tmp_path / "p.csv"
    path.write_text(row + "1 3\n3 7\n")
    record = run(tmp_path, *arguments, "--predictions", path)
    assert words in caplog.text and record["results"]["predictions"]["recall@1"] == pytest.approx(2 / 3)
    line = refused(capsys, places.main, *arguments, "--predictions", path, "--strict")
    assert words in line and line.endswith("remove them, or leave --strict out")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 1\n", "2 of 3 scored queries have no row, such as 1.jpg; add them"),
        ("0 1\nqueries/0.jpg 2\n1 3\n3 7\n", "line 2: query queries/0.jpg has an earlier row"),
        ("0 1\n0 2\n", "line 2: query 0 is already on line 1"),
        ("x 1\n", "line 1: the set has no query x; is the file for another set?"),
    ],
)
def test_prediction_files_that_do_not_fit(tmp_path, capsys, text, words):
    arguments, *_ = pair_set(tmp_path)
    (tmp_path / "p.csv").write_text(text)
    assert words in refused(capsys, places.main, *arguments, "--predictions", tmp_path / "p.csv")


def test_a_file_as_shortlist_is_compared_without_a_run(tmp_path, monkeypatch):
    """It ranks the database, so it is the first row; other descriptors are methods, too."""
    monkeypatch.chdir(tmp_path)
    arguments, (queries, database), right, wrong, _ = utm_set(tmp_path / "set")
    for number, path in enumerate([*queries, *database]):
        picture(path, number)  # for the baselines
    expected = {}
    for seed, name in enumerate(("mine", "other")):
        vectors = write_descriptors(tmp_path / f"{name}.npy", [*queries, *database], seed=seed)
        expected[name] = naive_recall(vectors, queries, database, right, (1, 5, 10), wrong)
    record = run(tmp_path, *arguments, "--shortlist", "mine.npy", "--compare", "theirs=other.npy")
    for row, name in (("mine", "mine"), ("theirs", "other")):
        assert {key: record["comparison"][row][key] for key in expected[name]} == pytest.approx(expected[name])


@pytest.mark.slow
def test_pairs_and_descriptors_for_other_tools(street_set, distilled_run, tmp_path, capsys):
    """The pairs are the ranking; the descriptors, read back, find the same."""
    options = ["--data", street_set, "--run", distilled_run, "--device", "cpu"]
    files = ["--pairs", tmp_path / "pairs.txt", "--pairs-per-query", "3", "--submission", tmp_path / "s.csv"]
    record = run(tmp_path, *options, *files, "--descriptors", tmp_path / "f.h5")
    printed = capsys.readouterr().out
    assert f"names are below {street_set}" in printed
    rows = [line.split() for line in (tmp_path / "s.csv").read_text().splitlines()]
    expected = [(f"queries/{query}", f"database/{entry}") for query, *entries in rows for entry in entries[:3]]
    pairs = [tuple(line.split()) for line in (tmp_path / "pairs.txt").read_text().splitlines()]
    assert sorted(pairs) == sorted(expected) and len(pairs) == 3 * len(rows)
    assert all((street_set / name).is_file() for pair in pairs for name in pair)
    run(tmp_path, *options, "--descriptors", tmp_path / "arrays")
    for listed in (tmp_path / "arrays").glob("*.txt"):
        listed.unlink()
    for path in (tmp_path / "f.h5", tmp_path / "arrays"):
        again = run(tmp_path, "--data", street_set, "--shortlist", path)["results"]["shortlist"]
        assert {key: again[key] for key in again if key != "confidence"} == {
            key: value for key, value in record["results"]["shortlist"].items() if key != "confidence"
        }
    theirs = ["--shortlist", tmp_path / "f.h5", "--descriptors", tmp_path / "g.h5"]
    assert "no photo was described; pass --rerank too" in refused(capsys, places.main, *options[:2], *theirs)


def test_names_that_pairs_cannot_have_are_found_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, *_ = pair_set(tmp_path / "set")
    touch(tmp_path / "set/database/b c.jpg")
    monkeypatch.setattr(results, "evaluate_benchmark", lambda *_: pytest.fail("the photos are described"))
    line = refused(capsys, places.main, *arguments, "--run", "builtin", "--pairs", "p.txt")
    assert "photo 'database/b c.jpg' cannot be written into a list of pairs; rename it" in line
