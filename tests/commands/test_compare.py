"""Runs and files side by side: names, trainings, protocols, formats, figures."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from commands import evaluate, refused
from pages import data_of

from vpr.base.errors import VprError
from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.subtasks import subtask_members
from vpr.eval import compare
from vpr.eval.comparison.intervals import interval, resampling_groups
from vpr.eval.comparison.methods import parse_methods
from vpr.eval.files.foreign import read_rankings
from vpr.eval.metrics import recall_at_k
from vpr.eval.report.subject import Stage
from vpr.eval.report.tables import subtask_table

pytestmark = pytest.mark.slow


def compared(tree, *arguments):
    assert compare.main([str(argument) for argument in [*arguments, "--data", tree, "--device", "cpu"]]) == 0


def test_rows_are_those_of_each_evaluation_alone(tiny_tree, distilled_run, perfect, tmp_path, capsys):
    compared(tiny_tree, f"mine={perfect}", distilled_run, "--json", tmp_path / "c.json")
    record = json.loads((tmp_path / "c.json").read_text())
    assert list(record) == ["chance", "7x7-pixel thumbnails", "mine", "NetVLAD of distill",
                            "NetVLAD of distill, re-ranked", "distill", "distill, re-ranked"]  # fmt: skip
    alone = evaluate(tiny_tree, distilled_run, tmp_path, "--rerank")["results"]
    for name, stage in (("distill", "shortlist"), ("distill, re-ranked", "rerank")):
        metrics = {key: value for key, value in alone[stage].items() if key != "confidence"}
        assert {key: value for key, value in record[name].items() if key != "intervals"} == metrics
    assert record["mine"]["recall@1"] == 1.0 and record["mine"]["intervals"]["recall@1"] == [1.0, 1.0]
    low, high = record["distill"]["intervals"]["recall@1"]
    assert low <= record["distill"]["recall@1"] <= high
    assert "R@1 of distill, re-ranked - mine: -" in capsys.readouterr().out


def test_runs_of_one_name_are_trainings(tiny_tree, distilled_run, run_copy, tmp_path):
    compared(tiny_tree, f"both={distilled_run}", f"both={run_copy}", "--json", tmp_path / "c.json")
    record = json.loads((tmp_path / "c.json").read_text())
    compared(tiny_tree, distilled_run, "--json", tmp_path / "one.json")
    one = json.loads((tmp_path / "one.json").read_text())["distill, re-ranked"]
    assert record["both, re-ranked"]["recall@1"] == pytest.approx(one["recall@1"]), "the same run twice"


def test_names(tmp_path):
    for name in ("a/distill", "b/distill", "c/scratch"):
        (tmp_path / name).mkdir(parents=True)
    given = [str(tmp_path / name) for name in ("a/distill", "b/distill", "c/scratch")]
    assert [method.name for method in parse_methods([*given, "builtin"])] == [*given[:2], "scratch", "builtin"]
    assert [method.name for method in parse_methods([f"x={given[0]}", f"x={given[1]}"])] == ["x"]
    assert parse_methods([f"ours={given[0]}/lr=0.1"])[0].name == "ours"
    assert parse_methods(["runs/eps0.05"])[0].name == "eps0.05"
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert [method.name for method in parse_methods([str(odd)])] == ["a=b"]


@pytest.mark.parametrize(
    "given", [("x=run", "x=run"), ("x=run", "x=link"), ("run", "run/."), ("x=builtin", "x=builtin")]
)
def test_a_run_is_no_second_training_of_itself(tmp_path, monkeypatch, given):
    """As in a file of settings, see tests/commands/test_compare_sets.py."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    with pytest.raises(VprError, match="is given twice, but trainings of one method differ; leave one out"):
        parse_methods(given)
    assert [method.name for method in parse_methods(["a=run", "b=run"])] == ["a", "b"]


def test_formats_hold_the_same_numbers(tiny_tree, distilled_run, tmp_path, capsys):
    compared(tiny_tree, distilled_run, "--format", "csv", "--json", tmp_path / "c.json")
    record = json.loads((tmp_path / "c.json").read_text())
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {line["row"] for line in lines} == set(record)
    for line in lines:
        assert float(line["mean"]) == record[line["row"]][line["metric"]]
        assert (line["task"], line["subtask"]) == ("im2im", "all")
    shown = f"{100 * record['distill']['recall@1']:.1f} ("
    for form, begin in (("markdown", "| distill "), ("latex", "distill & "), ("text", "│ distill ")):
        compared(tiny_tree, distilled_run, "--format", form)
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(begin))
        assert shown in line


def test_every_task_and_subtask(tiny_tree, distilled_run, tmp_path, capsys):
    options = ["--task", "all", "--seq-length", "3", "--json", tmp_path / "c.json"]
    compared(tiny_tree, distilled_run, *options)
    record = json.loads((tmp_path / "c.json").read_text())
    assert {name.split(": ")[0] for name in record} == {
        f"{task} all" for task in ("im2im", "im2seq", "seq2im", "seq2seq")
    }
    compared(tiny_tree, distilled_run, "--subtask", "each", "--json", tmp_path / "c.json")
    record = json.loads((tmp_path / "c.json").read_text())
    parts = {name.split(": ")[0] for name in record}
    assert "im2im all" in parts and len(parts) > 1
    capsys.readouterr()
    compared(tiny_tree, distilled_run, "--subtask", "each", "--format", "csv")
    assert {line["subtask"] for line in csv.DictReader(io.StringIO(capsys.readouterr().out))} == {
        part.split()[1] for part in parts
    }, "one header, and every block below it"
    one = sorted(parts - {"im2im all"})[0].split()[1]
    compared(tiny_tree, distilled_run, "--subtask", one, "--json", tmp_path / "one.json")
    assert record[f"im2im {one}: distill"] == json.loads((tmp_path / "one.json").read_text())["distill"]


def test_curves_and_the_report(tiny_tree, distilled_run, perfect, tmp_path, capsys):
    page = tmp_path / "a.html"
    compared(tiny_tree, perfect, distilled_run, "--curves", tmp_path / "curves", "--report", page)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    held = data_of(page)
    assert held["stages"] == ["perfect", "distill, re-ranked"] and held["versus"]
    assert "Differences of Recall@1" in page.read_text(encoding="utf-8")


def test_what_does_not_go_together_is_said_at_once(tiny_tree, distilled_run, perfect, tmp_path, capsys):
    usual = ["--data", tiny_tree, "--device", "cpu"]
    for arguments, words in [
        ([distilled_run, "--task", "all", "--report", "a.html"], "need one protocol"),
        ([perfect, "--task", "all"], "is for one task"),
        ([distilled_run, perfect, "--submission", tmp_path / "a.zip"], "is a prediction file"),
        ([tmp_path / "none.csv"], "no such prediction file"),
        ([f"x={perfect}", f"x={distilled_run}"], "x names a prediction file and another source"),
        ([distilled_run, f"distill, re-ranked={perfect}"], "two rows would have the name distill, re-ranked"),
        ([f"chance={perfect}"], "two rows would have the name chance"),
    ]:
        assert words in refused(capsys, compare.main, *arguments, *usual)


def test_a_subtask_of_a_ranking_is_its_part(validation, perfect):
    """Against a loop over the queries of the subtask loaded by itself."""
    ranked = read_rankings(perfect, validation, strict=False)
    table = subtask_table(validation, (Stage("file", ranked),))
    whole = validation.retrieval_set
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows and set(rows) <= set(subtask_members(validation))
    for name, (count, *recalls) in rows.items():
        part = load(validation.root, Protocol(subtask=name)).retrieval_set
        kept, positives = [], []
        for query in part.scored:
            row = list(whole.queries.images[:, 0]).index(part.queries.images[query, 0])
            names = [whole.database.images[entry, 0] for entry in ranked[row] if entry >= 0]
            known = list(part.database.images[:, 0])
            kept.append([known.index(one) for one in names if one in known])
            positives.append(part.answers[query])
        assert int(count) == len(part.scored)
        assert recalls == [f"{100 * value:.1f}" for value in recall_at_k(kept, positives, (1, 5, 10)).values()]


def test_queries_of_one_drive_are_resampled_one_by_one(validation):
    data = validation.retrieval_set
    alone = type(data)(**{name: getattr(data, name) for name in data.__dataclass_fields__} | {"drives": None})
    one = type(data)(**{name: getattr(data, name) for name in data.__dataclass_fields__}
                     | {"drives": np.zeros(len(data.queries), int)})  # fmt: skip
    values = (np.arange(len(data.scored)) % 2).astype(float)
    assert interval(values, resampling_groups(one)) == interval(values, resampling_groups(alone))
    assert interval(values, resampling_groups(one)).low < interval(values, resampling_groups(one)).high


def test_cities_that_a_submission_needs_are_rendered_before_they_are_read(tiny_tree, distilled_run, tmp_path, seams):
    """A tree that holds the cities of the table alone, as the commands before may have left mini-MSLS."""
    part = tmp_path / "part"
    shutil.copytree(tiny_tree, part, ignore=shutil.ignore_patterns("test"))
    seams.replace("vpr.eval.compare.data_root", lambda root, cities, official: tiny_tree)
    compared(part, distilled_run, "--submission", tmp_path / "s.zip")
    assert (tmp_path / "s.zip").is_file()
