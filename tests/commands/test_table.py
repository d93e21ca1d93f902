"""eval.table by the command: it trains, evaluates, writes, and continues where it was stopped."""

import functools
import json

import pytest
from commands import in_this_process, refused
from tiny import small_config

from vpr.eval import table
from vpr.eval.comparison.published_results import published_lines

pytestmark = pytest.mark.slow


@pytest.fixture
def arguments(tiny_tree, tmp_path):
    usual = ["--data", tiny_tree, "--out", tmp_path / "table", "--seeds", 1, "--device", "cpu"]
    return [*map(str, usual), "--training", str(small_config(tmp_path / "tiny.yaml"))]


def test_the_table_is_written_and_complete_runs_are_kept(arguments, tmp_path, capsys):
    assert table.main(arguments, in_this_process) == 0
    out = tmp_path / "table"
    record = json.loads((out / "table.json").read_text())
    assert list(record["recall"]) == [
        f"{name}{structure}" for name in ("NetVLAD", "scratch", "distilled") for structure in ("", " + structure")
    ]
    assert "R@1 of distilled - NetVLAD" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"seed0", "table.json", "table.txt", "table.csv", "table.png"}
    for name in ("scratch", "distill"):  # from pretrained weights
        kept = json.loads((out / "seed0" / name / "metrics.json").read_text())["average_with_start"]
        assert set(kept["start"]) == set(kept["end"]) == {"amsterdam"} and 0 <= kept["kept_share"] <= 1
        assert not (out / "seed0" / name / "cache" / "measured").exists()
    before = [(out / "seed0" / name / "model.safetensors").stat().st_mtime_ns for name in ("scratch", "distill")]
    assert table.main(arguments, in_this_process) == 0 and json.loads((out / "table.json").read_text()) == record
    assert before == [
        (out / "seed0" / name / "model.safetensors").stat().st_mtime_ns for name in ("scratch", "distill")
    ]


def test_a_training_that_fails_ends_the_command(arguments, capsys):
    failing = functools.partial(table.main, start=lambda command, arguments: 1)
    assert "seed0/scratch failed" in refused(capsys, failing, *arguments)


def test_a_training_is_a_command_in_a_process_of_its_own(capfd):
    assert table.start_command("vpr.scratch", ["--steps", "x"]) == 2
    assert capfd.readouterr().err == "python -m vpr.scratch: error: --steps: 'x' is not a valid INT\n"


def test_the_table_of_retrieval_has_each_method_untrained_base_and_struct(tiny_set, tmp_path, capsys):
    small = {"steps": 2, "places": 2, "images_per_place": 2, "dim": 16, "grid": 2, "structural_negatives": 2}
    small |= {
        "struct_steps": 3,
        "held_out": 0.0,
        "device": "cpu",
        "global_dim": 20,
        "clusters": 4,
        "image_size": 64,
        "train_size": 0,
    }
    (tmp_path / "tiny.yaml").write_text("".join(f"{name}: {value}\n" for name, value in small.items()))
    usual = ["--retrieval", "--data", tiny_set, "--out", tmp_path / "table", "--training", tmp_path / "tiny.yaml"]
    arguments = [str(option) for option in (*usual, "--seeds", 1, "--recipe", "mini,lite", "--device", "cpu")]
    assert table.main(arguments, in_this_process) == 0
    record = json.loads((tmp_path / "table" / "table.json").read_text())
    rows = [f"{name}{structure}" for name in ("untrained", "base", "struct") for structure in ("", " + structure")]
    assert list(record["recall"]) == [f"{method}: {row}" for method in ("mini", "lite") for row in rows]
    assert set(record["recall"]["lite: base"]) == {"p@1", "rp", "map@r"} and record["classes"] == 4
    assert {name for name in record["differences"] if name.startswith("map@r: lite")} == {
        f"map@r: lite: {above} - lite: {below}"
        for above, below in (
            ("base + structure", "base"),
            ("struct + structure", "base"),
            ("struct + structure", "struct"),
            ("struct + structure", "untrained + structure"),
        )
    }
    untrained = json.loads((tmp_path / "table" / "seed0" / "lite" / "untrained" / "config.json").read_text())["run"]
    assert untrained["train"]["steps"] == 0
    assert "MAP@R of mini: base + structure - mini: base" in capsys.readouterr().out
    assert "leave the options of the MSLS protocol out" in refused(capsys, table.main, *arguments, "--cities", "cph")
    assert "--recipe: 'diml2' is not one of" in refused(capsys, table.main, *arguments, "--recipe", "diml2")
    assert "give one" in refused(capsys, table.main, "--recipe", "lite,mini")


def test_the_papers_figures_are_named_for_its_own_sets():
    assert len(published_lines("cub")) == len(published_lines("sop")) == 4
    assert published_lines(None) == published_lines("folders") == []
    assert "CvT-13: P@1 71.8 -> 73.7" in published_lines("cub")[2]
