"""Evaluation from Python: the same results as the commands, and errors of its own for wrong arguments."""

import json
import shutil

import numpy as np
import pytest
from commands import evaluate as evaluate_by_command

from vpr.base.errors import VprError
from vpr.base.settings import fill_stages
from vpr.eval import compare as compare_command
from vpr.eval import msls
from vpr.eval.comparison.comparison import compare
from vpr.eval.evaluation import evaluate
from vpr.eval.options import RankingOptions, SourceOptions

pytestmark = pytest.mark.slow


def without_times(record):
    """A record as JSON has it, without what differs from call to call."""
    record = json.loads(json.dumps(record))
    assert all(value > 0 for value in record.pop("latency_ms", {}).values())
    return record


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, []),
        ({"shortlist": "teacher", "depth": 10, "weight": 2},
         ["--shortlist", "teacher", "--depth", "10", "--weight", "2"]),
        ({"task": "seq2seq", "seq_length": 3, "scope": "merged"},
         ["--task", "seq2seq", "--seq-length", "3", "--scope", "merged"]),
        ({"radius": 40.0}, ["--radius", "40"]),
        ({"split": "test", "cities": ["miami"]}, ["--split", "test", "--cities", "miami"]),
    ],
)  # fmt: skip
def test_an_evaluation_is_that_of_the_command(tiny_tree, distilled_run, tmp_path, capsys, options, arguments):
    expected = evaluate_by_command(tiny_tree, distilled_run, tmp_path, "--rerank", *arguments)
    printed = capsys.readouterr().out
    evaluation = evaluate(distilled_run, tiny_tree, device="cpu", **options)
    assert capsys.readouterr().out == "", "a library prints nothing"
    assert without_times(evaluation.record()) == without_times(expected)
    timed = " per query "
    lines = [[line for line in text.splitlines() if timed not in line] for text in (evaluation.table(), printed)]
    assert lines[0] == lines[1]


def test_the_shortlist_alone(tiny_tree, distilled_run, tmp_path):
    expected = evaluate_by_command(tiny_tree, distilled_run, tmp_path, "--cities", "cph")
    evaluation = evaluate(distilled_run, tiny_tree, rerank=False, cities=["cph"], device="cpu")
    assert without_times(evaluation.record()) == without_times(expected)
    assert list(evaluation.results) == ["shortlist"] and evaluation.weight is evaluation.fusion is None


def test_a_prediction_file_is_scored_without_a_run(tiny_tree, perfect, tmp_path):
    expected = evaluate_by_command(tiny_tree, tmp_path / "none", tmp_path, "--predictions", perfect)
    evaluation = evaluate(data=tiny_tree, predictions=perfect, rerank=False)
    assert without_times(evaluation.record()) == without_times(expected)
    assert evaluation.answers is None and evaluation.results["predictions"]["recall@1"] == 1
    with pytest.raises(VprError, match="only a prediction file was scored"):
        evaluation.write_submission(tmp_path / "s.zip")
    both = evaluate("builtin", str(tiny_tree), predictions=str(perfect), device="cpu")
    assert list(both.results) == ["shortlist", "rerank", "predictions"] and both.weight > 0


def test_files_are_those_of_the_command(tiny_tree, distilled_run, tmp_path):
    names = ("s.csv", "c.csv", "a.html")
    options = [f"--{name}" for name in ("submission", "confidence", "report")]
    arguments = [str(part) for pair in zip(options, (tmp_path / name for name in names)) for part in pair]
    evaluate_by_command(tiny_tree, distilled_run, tmp_path, "--rerank", *arguments)
    expected = [(tmp_path / name).read_bytes() for name in names]
    evaluation = evaluate(distilled_run, tiny_tree, device="cpu")
    assert evaluation.write_submission(tmp_path / "s.csv").startswith(f"submission: {tmp_path / 's.csv'}")
    evaluation.write_confidence(tmp_path / "c.csv")
    evaluation.write_report(tmp_path / "a.html")
    assert [(tmp_path / name).read_bytes() for name in names] == expected


def test_a_comparison_is_that_of_the_command(tiny_tree, distilled_run, perfect, tmp_path, capsys):
    runs = [distilled_run, f"mine={perfect}"]
    usual = ["--data", tiny_tree, "--device", "cpu", "--json", tmp_path / "c.json"]
    assert compare_command.main([str(part) for part in (*runs, *usual)]) == 0
    printed = capsys.readouterr().out
    comparison = compare(runs, tiny_tree, device="cpu")
    assert comparison.record() == json.loads((tmp_path / "c.json").read_text())
    assert comparison.table() == printed.rstrip("\n")
    assert comparison.table("markdown").count("\n| ") == 1 + len(comparison.record())


def test_without_true_positions_there_is_no_score(tiny_tree, distilled_run, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(tiny_tree, tree)
    for file in (tree / "test").rglob("postprocessed.csv"):
        file.unlink()
    evaluation = evaluate(distilled_run, tree, split="test", device="cpu")
    assert evaluation.results == {} and "no score: " in evaluation.table() and evaluation.weight is not None
    with pytest.raises(VprError, match="the true positions are unknown"):
        compare([distilled_run], tree, split="test")


def test_wrong_arguments_are_named(tiny_tree):
    with pytest.raises(TypeError, match="unknown option 'dept'"):
        evaluate(data=tiny_tree, dept=3)
    with pytest.raises(ValueError, match="depth: 0 is out of range|--depth: 0 is out of range"):
        evaluate(data=tiny_tree, depth=0)
    with pytest.raises(ValueError, match="task"):
        evaluate(data=tiny_tree, task="im2video")
    with pytest.raises(VprError, match="no such file"):
        evaluate(data=tiny_tree, shortlist="students")
    with pytest.raises(VprError, match="--geometry 5 is for single images"):
        evaluate(data=tiny_tree, task="seq2seq", geometry=5)
    with pytest.raises(VprError, match="leave --prune out"):
        evaluate(data=tiny_tree, geometry=5, prune=3)


def test_options_are_filled_by_name(tmp_path):
    source, ranking = fill_stages([SourceOptions, RankingOptions], {"run": tmp_path, "depth": 7, "weight": 2})
    assert source == SourceOptions(tmp_path) and ranking == RankingOptions(depth=7, weight=2.0)
    assert fill_stages([msls.FileOptions], {"strict": True})[0].strict
    assert np.isscalar(ranking.weight)
