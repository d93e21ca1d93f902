"""eval.table by the command: it trains, evaluates, writes, and continues where it was stopped."""

import json
import subprocess

import pytest
from commands import refused
from tiny import small_config

from eval import table


@pytest.fixture
def arguments(tiny_tree, tmp_path):
    usual = ["--data", tiny_tree, "--out", tmp_path / "table", "--seeds", 1, "--device", "cpu"]
    return [*map(str, usual), "--training", str(small_config(tmp_path / "tiny.yaml"))]


def test_the_table_is_written_and_complete_runs_are_kept(arguments, tmp_path, capsys, monkeypatch):
    assert table.main(arguments) == 0
    out = tmp_path / "table"
    record = json.loads((out / "table.json").read_text())
    assert list(record["recall"]) == [
        f"{name}{structure}" for name in ("NetVLAD", "scratch", "distilled") for structure in ("", " + structure")
    ]
    assert "R@1 of distilled - NetVLAD" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"seed0", "table.json", "table.txt", "table.csv", "table.png"}
    before = [(out / "seed0" / name / "model.safetensors").stat().st_mtime_ns for name in ("scratch", "distill")]
    assert table.main(arguments) == 0 and json.loads((out / "table.json").read_text()) == record
    assert before == [
        (out / "seed0" / name / "model.safetensors").stat().st_mtime_ns for name in ("scratch", "distill")
    ]


def test_a_training_that_fails_ends_the_command(arguments, capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))
    assert "seed0/scratch failed" in refused(capsys, table.main, *arguments)
