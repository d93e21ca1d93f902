"""eval.compare --settings: several methods on several sets, by loops; what is done already is kept."""

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import refused
from hub_repositories import PLAIN_NET
from place_trees import by_plane, make_guide_sets, naive_recall, touch, utm_name, write_descriptors

from vpr.base.run_folder import ROOT
from vpr.eval import compare, places
from vpr.eval.comparison.pair_results import CODE, digest_of_file
from vpr.eval.comparison.set_comparison import file_name

KS = (1, 5, 10)


def make_set(folder: Path, seed: int) -> tuple[list[Path], list[Path], list[list[int]]]:
    """A set of two folders of empty files: its queries, its database, and the right numbers of each query."""
    rng = np.random.default_rng(seed)
    names = [
        sorted(
            utm_name(f"{500_000 + east:010.2f}", f"{4_000_000 + north:010.2f}", note=number)
            for number, (east, north) in enumerate(rng.uniform(0, 150, (count, 2)))
        )
        for count in (18, 40)
    ]
    sides = [[folder / side / name for name in some] for side, some in zip(("queries", "database"), names)]
    touch(*sides[0], *sides[1])
    return sides[0], sides[1], by_plane(*names)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two sets, with descriptors of two models and a prediction file; returns what a loop finds for each pair."""
    monkeypatch.chdir(tmp_path)
    expected = {}
    for seed, name in enumerate(("north", "south")):
        queries, database, right = make_set(tmp_path / name, seed)
        for model in (0, 1):
            vectors = write_descriptors(tmp_path / f"{name}-{model}.npy", [*queries, *database], seed=10 + seed + model)
            expected[f"model {model}", name] = naive_recall(vectors, queries, database, right, KS, True)
    rows = [" ".join([file.name, *(entry.name for entry in database[:5])]) for file in queries]
    (tmp_path / "south.csv").write_text("\n".join(rows) + "\n")
    hits = [[any(entry in row for entry in range(min(k, 5))) for row in right] for k in KS]
    expected["file", "south"] = {f"recall@{k}": float(np.mean(found)) for k, found in zip(KS, hits)}
    return expected


def settings(**changes):
    """The settings of the world, written to t.yaml."""
    content = {
        "sets": {name: {"data": name} for name in ("north", "south")},
        "methods": {
            **{f"model {model}": {"descriptors": {name: f"{name}-{model}.npy" for name in ("north", "south")}}
               for model in (0, 1)},
            "file": {"predictions": {"south": "south.csv"}},
        },
    }  # fmt: skip
    for part, values in changes.items():
        content[part] = {**content[part], **values}
    Path("t.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def run(*arguments):
    """Run eval.compare, which must succeed; returns what --json wrote."""
    options = ["--settings", "t.yaml", "--json", "t.json", "--device", "cpu", *arguments]
    assert compare.main([str(option) for option in options]) == 0
    return json.loads(Path("t.json").read_text())


def untimed(record):
    """A record without what differs from one evaluation to the next."""
    for by_set in record["results"].values():
        for found in by_set.values():
            found.pop("latency_ms")
    return record


def test_the_numbers_are_those_of_loops(world, capsys):
    settings()
    record = run("--format", "csv")
    for (method, name), recalls in world.items():
        found = record["results"][method][name]
        assert {key: found[key] for key in recalls} == pytest.approx(recalls), (method, name)
        for key, (low, high) in found["intervals"].items():
            assert low <= found[key] <= high
    assert record["results"]["file"].keys() == {"south"}
    assert record["results"]["model 0"]["north"]["bytes_per_image"] == 8 * 4
    assert record["sets"]["north"]["counts"]["database"] == 40
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    recalls = [line for line in lines if line["metric"].startswith("recall")]
    assert len(recalls) == len(world) * len(KS)
    for line in recalls:
        found = record["results"][line["method"]][line["set"]]
        assert float(line["mean"]) == found[line["metric"]]
        assert [float(line["low"]), float(line["high"])] == found["intervals"][line["metric"]]


def test_the_best_of_a_column_is_marked_in_every_form(world, capsys):
    settings()
    record = run()
    printed = capsys.readouterr().out
    shown = {}
    for form in ("markdown", "latex"):
        run("--format", form)
        shown[form] = capsys.readouterr().out
    for name in ("north", "south"):
        for k in KS:
            values = {
                method: found[name][f"recall@{k}"] for method, found in record["results"].items() if name in found
            }
            best = max(values.values())
            assert f"*{100 * best:.1f}" in printed
            assert f"**{100 * best:.1f}**" in shown["markdown"] and f"\\mathbf{{{100 * best:.1f}}}" in shown["latex"]
    rows = [line for line in shown["latex"].splitlines() if line.endswith(r"\\")]
    cells = {len(row.replace(r"\multicolumn{3}{c}", "&&").split("&")) for row in rows}
    columns = re.search(r"\\begin{tabular}{(\w+)}", shown["latex"])
    assert cells == {len(columns[1])} and len(rows) == 5
    assert {line.count("|") for line in shown["markdown"].splitlines() if line.startswith("|")} == {len(columns[1]) + 1}


def test_what_is_evaluated_already_is_kept(world, caplog, capsys):
    """Until something that it was made from changes: then that alone is evaluated again."""
    settings()
    first = untimed(run())

    def again(*arguments):
        caplog.clear()
        record = untimed(run(*arguments))
        lines = [re.match(r"(\w+), ([\w ]+?) \(\d of \d\): evaluating", line.getMessage()) for line in caplog.records]
        return record, [(line[2], line[1]) for line in lines if line]

    caplog.set_level("INFO", "vpr")
    assert again() == (first, [])
    Path("south.csv").write_text(Path("south.csv").read_text().replace(" ", "  "))
    assert again() == (first, [("file", "south")])
    kept = Path("runs/compare/t") / file_name("north", "model 1")
    whole = kept.read_bytes()
    for damage in (whole[:-20], b"[]", b"\xff", whole.replace(b'"recall@1"', b'"recall@2"'), b"[" * 5000):
        kept.write_bytes(damage)
        assert again() == (first, [("model 1", "north")])
        assert kept.read_bytes() not in (whole, damage)
    settings(sets={"north": {"data": "north", "radius": 40}})
    wider, made = again()
    assert made == [("model 0", "north"), ("model 1", "north")]
    assert wider["results"]["model 0"]["north"]["recall@1"] > first["results"]["model 0"]["north"]["recall@1"]
    settings()
    again()
    names = Path("north-0.txt").read_text().splitlines()
    Path("north-0.txt").write_text("\n".join([names[1], names[0], *names[2:]]))
    assert again()[1] == [("model 0", "north")]
    assert again("--depth", "50")[1] == [*world]  # of the file too: all options count
    assert again("--depth", "50", "--out", "elsewhere")[1] == [*world] and list(Path("elsewhere").iterdir())


def test_a_pair_that_fails_does_not_lose_the_others(world, capsys, caplog):
    settings(sets={"lost": {"data": "nowhere"}}, methods={"bad": {"predictions": {"south": "odd.csv"}}})
    Path("odd.csv").write_text("x y\n")
    line = refused(capsys, compare.main, "--settings", "t.yaml", "--json", "t.json")
    assert "5 of 12 evaluations failed" in line and "it keeps the others" in line
    record = json.loads(Path("t.json").read_text())
    for (method, name), recalls in world.items():
        assert {key: record["results"][method][name][key] for key in recalls} == pytest.approx(recalls)
    assert "the set has no query x" in record["results"]["bad"]["south"]["error"]
    assert all("nowhere" in record["results"][method]["lost"]["error"] for method in ("model 0", "bad", "file"))
    for form in ("text", "markdown", "latex"):
        assert compare.main(["--settings", "t.yaml", "--format", form]) == 1
        printed = capsys.readouterr().out
        assert "- [1]" in printed and "[1] bad on south: odd.csv, line 1: the set has no query x" in printed
        assert "[2] lost: there is no folder nowhere" in printed
    Path("odd.csv").write_text(Path("south.csv").read_text())
    settings(methods={"bad": {"predictions": {"south": "odd.csv"}}})
    assert run()["results"]["bad"]["south"]["recall@1"] == world["file", "south"]["recall@1"]


SETS, METHODS = "sets: {a: {data: north}}\n", "methods: {x: {descriptors: north-0.npy}}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "sets is missing or empty; write sets:"),
        (SETS, "methods is missing or empty"),
        ("sets: [a]\n" + METHODS, "sets is missing or empty"),
        (SETS + METHODS + "more: 1\n", "more is not known; a file of settings has sets and methods"),
        (SETS + METHODS + SETS, "sets is given twice, again in line 3; keep one"),
        ("sets: {a: north}\n" + METHODS, "sets, a: not a mapping"),
        (
            "sets: {a: {data: north, kind: mapillary}}\n" + METHODS,
            "sets, a: kind 'mapillary' is not one of places, msls",
        ),
        ("sets: {a: {data: north, radius: -1}}\n" + METHODS, "sets, a: --radius: -1 is out of range"),
        ("sets: {a: {data: north, radios: 9}}\n" + METHODS, "sets, a: unknown option 'radios'; known are crs, data"),
        ("sets: {a: {kind: msls, subtask: s2x}}\n" + METHODS, "'s2x' is not one of all, s2w"),
        (SETS + "methods: {x: {rerank: true}}\n", "methods, x: give one of run, predictions, descriptors"),
        (SETS + "methods: {x: {run: builtin, rerank: often}}\n", "methods, x: --rerank: 'often' is not a valid"),
        (SETS + "methods: {x: {run: builtin, cache: a.h5}}\n", "methods, x: cache is of one set"),
        (SETS + "methods: {x: {run: builtin, shortlist: t.yaml}}\n", "x: the shortlist of a file is ranked by no run"),
        (SETS + "methods: {x: {run: builtin, rerank: true, shortlist: s.csv}}\n", "methods, x: there is no s.csv"),
        (SETS + "methods: {x: {predictions: a.csv}}\n", "methods, x: there is no a.csv; check the path"),
        (
            SETS + "methods: {x: {predictions: {b: t.yaml}}}\n",
            "x, predictions: b is no set of this file; the sets are a",
        ),
        (SETS + "methods: {x: {predictions: t.yaml, weight: 2}}\n", "x: weight is for a run, not for predictions"),
        (SETS + "methods: {x: {descriptors: [t.yaml, t.yaml]}}\n", "x: several paths are for runs"),
        (SETS + "methods: {x: {descriptors: 3}}\n", "x, descriptors: 3 is not a path; write one as text"),
        (
            SETS + "methods: {x: {run: [builtin, runs/a, builtin]}}\n",
            "methods, x: builtin is given twice",
        ),
        ("sets: {a: [}\n", "not valid YAML in line 1"),
        ("a: &x {}\nb: *x\n", "anchors (*name) are not read"),
    ],
)
def test_bad_settings_are_one_line(world, capsys, text, words):
    Path("t.yaml").write_text(text)
    before = sorted(os.walk("."))
    line = refused(capsys, compare.main, "--settings", "t.yaml")
    assert "--settings t.yaml: " in line and words in line
    assert sorted(os.walk(".")) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--settings", "gone.yaml"], "--settings gone.yaml: it cannot be read (no such file or directory)"),
        (["--settings", "t.yaml", "south.csv"], "--settings names sets and methods; leave RUN"),
        (["--settings", "t.yaml", "--radius", "9"], "--settings names sets and methods; leave RUN"),
        (["--settings", "t.yaml", "--report", "r.html"], "--report are of one set"),
        (["--settings", "t.yaml", "--json", "t.yaml"], "--json t.yaml is an input"),
        (["--settings", "t.yaml", "--json", "truth.json"], "--json truth.json is an input"),
        (["--settings", "t.yaml", "--json", "north-0.txt"], "--json north-0.txt exists and is no JSON file"),
        (["--settings", "t.yaml", "--json", "t.json", "--out", "t.json"], "--out and --json are the same path"),
        (["--out", "o", "south.csv"], "--out is for --settings"),
        ([], "no method is given; name runs and files, or pass --settings FILE.yaml"),
    ],
)
def test_options_that_do_not_go_with_settings(world, capsys, options, words):
    Path("truth.json").write_text("[]")
    settings(sets={"south": {"data": "south", "truth": "truth.json"}})
    before = sorted(os.walk("."))
    assert words in refused(capsys, compare.main, *options)
    assert sorted(os.walk(".")) == before


@pytest.mark.slow
def test_a_run_has_the_figures_of_its_own_commands(tiny_tree, distilled_run, tmp_path, monkeypatch):
    """On a set of places and on MSLS; two trainings are averaged, and a file may be re-ranked."""
    monkeypatch.chdir(tmp_path)
    make_guide_sets(tmp_path)
    shutil.copytree(distilled_run, "again")
    ours = {"run": str(distilled_run), "rerank": True}
    content = {
        "sets": {"2024": {"data": "pitts30k"}, "MSLS": {"kind": "msls", "data": str(tiny_tree), "cities": ["cph"]}},
        "methods": {
            "shortlist": {"run": str(distilled_run)},
            "ours": ours,
            "two": {**ours, "run": [str(distilled_run), "again"]},
            "teacher": {**ours, "shortlist": "teacher"},
            "theirs": {**ours, "shortlist": {"2024": "theirs.csv"}, "fusion": "similarity"},
        },
    }
    Path("t.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    record = run("--depth", "10")
    usual = ["--run", str(distilled_run), "--device", "cpu", "--depth", "10", "--json", "a.json"]
    assert places.main(["--data", "pitts30k", *usual, "--rerank"]) == 0
    alone = json.loads(Path("a.json").read_text())["results"]
    found = {method: by_set["2024"] for method, by_set in record["results"].items()}
    for method, stage in (("shortlist", "shortlist"), ("ours", "rerank"), ("two", "rerank")):
        for k in KS:
            assert found[method][f"recall@{k}"] == alone[stage][f"recall@{k}"]
    assert (
        places.main(["--data", "pitts30k", *usual, "--rerank", "--shortlist", "theirs.csv", "--fusion", "similarity"])
        == 0
    )
    alone = json.loads(Path("a.json").read_text())["results"]["rerank"]
    assert found["theirs"]["recall@1"] == alone["recall@1"]
    config = json.loads((distilled_run / "config.json").read_text())["run"]["model"]
    patches = 9 * config["dim"] * 2
    assert found["ours"]["bytes_per_image"] - found["shortlist"]["bytes_per_image"] == patches
    assert all(result["latency_ms"]["describe_per_image"] > 0 for result in found.values())
    kept = {path: path.stat().st_mtime_ns for path in Path("runs/compare/t").iterdir()}
    assert len(kept) == 10 and run("--depth", "10") == record
    assert {path: path.stat().st_mtime_ns for path in Path("runs/compare/t").iterdir()} == kept
    photo = next(Path("pitts30k/images/test/queries").iterdir())
    os.utime(photo, ns=(1, 1))
    run("--depth", "10")
    changed = [path for path, time in kept.items() if path.stat().st_mtime_ns != time]
    assert len(changed) == 5 and all(path.name.startswith("2024") for path in changed)


def test_figures_that_cannot_be_kept_are_in_the_table(world, monkeypatch, caplog):
    settings()

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("vpr.eval.comparison.pair_results.write_bytes", full)
    assert run()["results"]["file"]["south"]["recall@1"] == world["file", "south"]["recall@1"]
    assert "cannot be kept, so it is evaluated again next time" in caplog.text


def test_a_digest_of_descriptors_has_their_names(tmp_path):
    write_descriptors(tmp_path / "d.npy", ["a.jpg", "b.jpg"])
    before = digest_of_file(tmp_path / "d.npy")
    (tmp_path / "d.txt").write_text("b.jpg\na.jpg\n")
    assert digest_of_file(tmp_path / "d.npy") != before


COUNTING = f"""
{PLAIN_NET}

def net():
    with open("loaded", "a") as file:
        file.write("once ")
    return Net()
"""


def test_a_model_is_loaded_once_for_all_sets(tmp_path, monkeypatch):
    make_guide_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "hubconf.py").write_text(COUNTING)
    sides = {split: f"pitts30k/images/{split}" for split in ("test", "val")}
    settings_of_sets = {
        split: {"database": f"{side}/database", "queries": f"{side}/queries"} for split, side in sides.items()
    }
    content = {"sets": settings_of_sets, "methods": {"theirs": {"run": "hub:.:net@64", "trust": True}}}
    Path("t.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert run()["results"]["theirs"].keys() == {"test", "val"}
    assert Path("loaded").read_text() == "once "


BREAKING = """
dependencies = ["torch"]
from torch import nn


class Net(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.backbone, self.value = nn.Conv2d(3, 8, 16, 16), value

    def forward(self, images):
        if len(images) > 2 and not self.value:
            raise KeyError("no key")
        return self.backbone(images).mean((2, 3)) * self.value


def fails():
    return Net(0)


def nan():
    return Net(float("nan"))


def zeros():
    return Net(1e-300)


def leaves():
    raise SystemExit("gone")
"""


def test_code_of_others_that_fails_does_not_lose_the_others(tmp_path, monkeypatch, capsys):
    """Whatever it raises, when it is loaded or when it describes; descriptors with NaN are not kept in a cache."""
    make_guide_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "hubconf.py").write_text(BREAKING)
    words = {
        "fails": "(KeyError: 'no key'); correct its code",
        "nan": "returns NaN or infinity for a photo",
        "zeros": "returns a descriptor of zeros for a photo",
        "leaves": "cannot be loaded (SystemExit: gone)",
    }
    methods = {name: {"run": f"hub:.:{name}@64", "trust": True} for name in words} | {
        "b": {"predictions": "theirs.csv"}
    }
    methods["misspelt"] = {"run": "eigenplaces-resnet18-64:."}
    content = {"sets": {"p": {"data": "pitts30k"}}, "methods": methods}
    Path("t.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert "5 of 6 evaluations failed" in refused(capsys, compare.main, "--settings", "t.yaml", "--json", "t.json")
    found = json.loads(Path("t.json").read_text())["results"]
    assert found["b"]["p"]["recall@1"] > 0
    for name, text in words.items():
        assert text in found[name]["p"]["error"], name
    assert "nor a published model; similar names: eigenplaces-resnet18-" in found["misspelt"]["p"]["error"]


def test_other_code_of_a_published_model_is_evaluated_again():
    """All code that descriptors go through is in the digest."""
    files = {file for pattern in CODE for file in ROOT.glob(pattern)}
    assert {*(ROOT / "vpr/models").rglob("*.py")} <= files
