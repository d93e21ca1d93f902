"""The commands on a tiny tree: what they write, what they keep, and one clear line for each kind of bad input."""

import csv
import importlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL
from PIL import Image
from safetensors.numpy import load_file, save_file

import vpr.images
from datasets.msls import Protocol, load
from eval import msls, submission
from eval.prediction_file import write_predictions
from vpr import distill, extract, scratch, teacher
from vpr.cache import DescriptorCache

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ["vpr.teacher", "vpr.scratch", "vpr.distill", "vpr.extract"]
COMMANDS += ["eval.msls", "eval.submission", "datasets.mini_msls"]


def evaluate(tree, run, out, *more):
    """Run eval.msls, which must succeed; returns what --json wrote."""
    arguments = ["--data", tree, "--run", run, "--json", out / "a.json", "--device", "cpu", *more]
    assert msls.main([str(argument) for argument in arguments]) == 0
    return json.loads((out / "a.json").read_text())


def refused(capsys, main, *arguments):
    """The one line on stderr of a command that fails, without a traceback."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if "error: " in line]
    assert len(errors) == 1 and captured.err.endswith(errors[0] + "\n") and "Traceback" not in captured.err
    assert errors[0].startswith("python -m ")
    return errors[0]


@pytest.fixture
def tree_copy(tiny_tree, tmp_path):
    """A tree that may be damaged."""
    return Path(shutil.copytree(tiny_tree, tmp_path / "tree"))


@pytest.fixture
def run_copy(distilled_run, tmp_path):
    """A run that may be damaged, without descriptor caches."""
    return Path(shutil.copytree(distilled_run, tmp_path / "run", ignore=shutil.ignore_patterns("*.h5")))


def other_model(run):
    """Change the run's weights a little."""
    weights = load_file(run / "model.safetensors")
    name = next(name for name, value in weights.items() if value.dtype == np.float32)
    save_file({**weights, name: weights[name] + 1}, run / "model.safetensors")


@pytest.fixture(scope="module")
def validation(tiny_tree):
    return load(tiny_tree, Protocol())


@pytest.fixture
def perfect(validation, tmp_path):
    """A prediction file that names a positive first, then nine others, for every scored query."""
    queries, database, rows = validation.query_names(), validation.database_names(), []
    for query in validation.scored:
        right = validation.positives[query].tolist()
        start, stop = next(
            (first, last)
            for first, last in zip(validation.database_offsets, validation.database_offsets[1:])
            if first <= right[0] < last
        )
        wrong = [entry for entry in range(start, stop) if entry not in right]
        rows.append([database[entry] for entry in [right[0], *wrong][:10]])
    return write_predictions(tmp_path / "perfect.csv", [queries[query] for query in validation.scored], rows)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_options_and_their_defaults(command, capsys):
    main = importlib.import_module(command).main
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and f"python -m {command}" in text and "default: " in text


@pytest.mark.parametrize("command", ["eval.msls", "vpr.distill"])
def test_commands_run_as_modules(command, tmp_path):
    arguments = [sys.executable, "-m", command, "--data", str(tmp_path / "nowhere")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"python -m {command}: error: ") and "nowhere" in done.stderr


def test_a_distilled_run_holds_what_made_it(distilled_run, tiny_tree):
    config = json.loads((distilled_run / "config.json").read_text())
    assert config["run"]["command"] == "vpr.distill" and config["run"]["train"]["steps"] == 4
    assert config["run"]["data"]["held_out"] == "amsterdam" and "amsterdam" not in config["run"]["data"]["cities"]
    assert not set(config["run"]["data"]["cities"]) & {"cph", "sf", "miami"}
    metrics = json.loads((distilled_run / "metrics.json").read_text())
    assert metrics["calibration"]["city"] == "amsterdam" and metrics["calibration"]["queries"] > 0
    assert {"in-batch", "distillation"} <= set(metrics["losses"])
    assert (distilled_run / "log.txt").read_text() and (distilled_run / "teacher" / "model.safetensors").is_file()
    assert not list(distilled_run.rglob("checkpoint.pt"))


def test_a_complete_run_is_not_trained_again(distilled_run, teacher_run, tiny_tree, monkeypatch):
    before = (distilled_run / "model.safetensors").read_bytes()
    monkeypatch.setattr(vpr.images, "read_image", lambda path, size: 1 / 0)
    arguments = ["--data", tiny_tree, "--teacher", teacher_run, "--out", distilled_run, "--grid", "3", *SMALL]
    assert distill.main([str(argument) for argument in arguments]) == 0
    assert (distilled_run / "model.safetensors").read_bytes() == before


def test_scratch_needs_no_teacher(tiny_tree, tmp_path):
    out = tmp_path / "scratch"
    arguments = ["--data", str(tiny_tree), "--out", str(out), "--grid", "3", *SMALL]
    assert scratch.main(arguments) == 0
    first = (out / "model.safetensors").read_bytes()
    assert scratch.main([*arguments, "--overwrite"]) == 0
    assert (out / "model.safetensors").read_bytes() == first  # the same seed, the same weights
    assert not (out / "teacher").exists()


def test_reranking_twice_gives_the_same_numbers_and_the_second_time_uses_the_cache(
    tiny_tree, run_copy, tmp_path, monkeypatch, validation
):
    first = evaluate(tiny_tree, run_copy, tmp_path, "--rerank")
    assert len(list((run_copy / "cache").glob("*.h5"))) == 1
    monkeypatch.setattr(vpr.images, "read_image", lambda path, size: 1 / 0)
    second = evaluate(tiny_tree, run_copy, tmp_path, "--rerank")
    assert first["results"] == second["results"] and set(first["results"]) == {"shortlist", "rerank"}
    assert first["protocol"] == {
        "split": "val", "cities": ["cph", "sf"], "task": "im2im", "subtask": "all",
        "seq_length": 1, "radius_m": 25.0, "scope": "city",
    }  # fmt: skip
    assert first["counts"] == validation.counts() and set(first["counts"]) == {
        "queries", "queries_without_positives", "database",
    }  # fmt: skip
    for metrics in first["results"].values():
        assert {f"{name}@{k}" for name in ("recall", "map") for k in (1, 5, 10, 20)} <= set(metrics)
        recalls = [metrics[f"recall@{k}"] for k in (1, 5, 10, 20)]
        assert recalls == sorted(recalls) and 0 <= recalls[0] and recalls[-1] <= 1
    assert all(value >= 0 for value in first["latency_ms"].values()) and first["latency_ms"]
    assert (run_copy / "log.txt").is_file()


def test_reranking_only_permutes_the_shortlist(tiny_tree, run_copy, tmp_path):
    rankings = []
    for more in ([], ["--rerank", "--weight", "5"]):
        evaluate(tiny_tree, run_copy, tmp_path, "--depth", "10", "--submission", tmp_path / "s.csv", *more)
        rows = [line.split() for line in (tmp_path / "s.csv").read_text().splitlines() if not line.startswith("#")]
        rankings.append({row[0]: row[1:] for row in rows})
    assert rankings[0].keys() == rankings[1].keys() and rankings[0] != rankings[1]
    assert all(sorted(rankings[0][query]) == sorted(rankings[1][query]) for query in rankings[0])


@pytest.mark.parametrize(("split", "suffix"), [("val", "zip"), ("test", "zip"), ("val", "csv")])
def test_a_submission_is_valid(tiny_tree, distilled_run, tmp_path, capsys, split, suffix):
    path = tmp_path / f"s.{suffix}"
    evaluate(tiny_tree, distilled_run, tmp_path, "--rerank", "--submission", path, "--split", split)
    assert "submission: " in capsys.readouterr().out
    assert submission.main([str(path), "--data", str(tiny_tree), "--split", split]) == 0
    if suffix == "zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == ["s.csv"]


def test_a_perfect_prediction_file_scores_1_without_a_model(tiny_tree, perfect, tmp_path):
    record = evaluate(tiny_tree, tmp_path / "no-run", tmp_path, "--predictions", perfect)
    assert set(record["results"]) == {"predictions"}
    assert all(record["results"]["predictions"][f"recall@{k}"] == 1 for k in (1, 5, 10, 20))


def test_a_perfect_prediction_file_is_reranked(tiny_tree, distilled_run, perfect, tmp_path):
    record = evaluate(tiny_tree, distilled_run, tmp_path, "--shortlist", perfect, "--rerank")
    assert record["results"]["shortlist"]["recall@1"] == 1 and record["fusion"] == "reciprocal-rank"
    assert record["results"]["rerank"]["recall@10"] == 1  # permuted, nothing lost
    ours = evaluate(tiny_tree, distilled_run, tmp_path, "--shortlist", perfect, "--rerank", "--fusion", "similarity")
    assert ours["fusion"] == "similarity" and ours["results"]["shortlist"] == record["results"]["shortlist"]


def test_the_teachers_shortlist_is_reranked(tiny_tree, distilled_run, tmp_path):
    record = evaluate(tiny_tree, distilled_run, tmp_path, "--shortlist", "teacher", "--rerank")
    assert set(record["results"]) == {"shortlist", "rerank"} and record["fusion"] == "similarity"


def test_sequences_are_reranked(tiny_tree, distilled_run, tmp_path):
    record = evaluate(tiny_tree, distilled_run, tmp_path, "--rerank", "--task", "seq2seq", "--seq-length", "3")
    assert record["protocol"]["seq_length"] == 3 and set(record["results"]) == {"shortlist", "rerank"}


def test_extraction_resumes_and_serves_evaluation(tiny_tree, run_copy, tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    arguments = ["--run", str(run_copy), "--data", str(tiny_tree), "--cache", str(path), "--device", "cpu"]
    assert extract.main(arguments) == 0
    whole = path.read_bytes()
    cache = DescriptorCache(path)
    assert cache.done.all() and cache.spec.patches == 9 and cache.spec.dim == 16
    os.truncate(path, len(whole) - 1000)
    assert extract.main(arguments) == 0 and path.read_bytes() == whole
    monkeypatch.setattr(vpr.images, "read_image", lambda path, size: 1 / 0)
    evaluate(tiny_tree, run_copy, tmp_path, "--rerank", "--cache", path)


def test_another_models_cache_is_refused_by_every_command(tiny_tree, distilled_run, run_copy, tmp_path, capsys):
    path = tmp_path / "a.h5"
    arguments = ["--data", tiny_tree, "--cache", path, "--device", "cpu"]
    assert extract.main([str(argument) for argument in ["--run", distilled_run, *arguments]]) == 0
    other_model(run_copy)
    for main in (extract.main, msls.main):
        line = refused(capsys, main, "--run", run_copy, *arguments)
        assert "a.h5 was made by another model" in line and "--overwrite" in line
    assert extract.main([str(argument) for argument in ["--run", run_copy, *arguments, "--overwrite"]]) == 0
    evaluate(tiny_tree, run_copy, tmp_path, "--cache", path)


def test_a_new_model_in_the_same_run_folder_does_not_meet_its_old_cache(tiny_tree, run_copy, tmp_path):
    evaluate(tiny_tree, run_copy, tmp_path)
    other_model(run_copy)
    evaluate(tiny_tree, run_copy, tmp_path)
    assert len(list((run_copy / "cache").glob("*.h5"))) == 2


def test_other_settings_for_a_run_are_refused(tiny_tree, distilled_run, teacher_run, capsys):
    arguments = ["--data", tiny_tree, "--teacher", teacher_run, "--out", distilled_run, *SMALL]
    assert "other settings (model.grid, train.seed)" in refused(
        capsys, distill.main, *arguments, "--grid", "4", "--seed", "9"
    )
    teacher_arguments = ["--data", tiny_tree, "--out", teacher_run, *SMALL, "--clusters", "5"]
    assert "other settings (teacher.clusters)" in refused(capsys, teacher.main, *teacher_arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cities", "atlantis"], "no city 'atlantis'; it holds"),
        (["--task", "seq2seq", "--seq-length", "4"], "odd"),
        (["--rerank", "--epsilon", "0"], "epsilon"),
        (["--rerank", "--mass", "1.5"], "mass"),
        (["--depth", "0"], "depth"),
        (["--run", "runs/nowhere"], "no run at runs/nowhere; make it with: python -m vpr.distill"),
        (["--run", "builtin"], "no weights are shipped"),
        (["--shortlist", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--predictions", "nowhere.csv"], "nowhere.csv"),
        (["--submission", "a.txt"], "a.txt"),
        (["--data", "nowhere"], "nowhere: the folder does not exist"),
    ],
)
def test_bad_options_of_evaluation(tiny_tree, distilled_run, capsys, arguments, words):
    usual = ["--data", tiny_tree, "--run", distilled_run, "--device", "cpu"]
    assert words in refused(capsys, msls.main, *usual, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--teacher", "nowhere"], "no run at nowhere; make it with: python -m vpr.teacher"),
        (["--cities", "amsterdam"], "amsterdam is held out"),
        (["--cities", "atlantis"], "no city 'atlantis'"),
        (["--held-out", "atlantis"], "no city 'atlantis'"),
        (["--backbone", "resnet9000"], "no model 'resnet9000'"),
        (["--dim", "24"], "pass --dim 16 or --distillation relational"),
        (["--pooling", "cls"], "no class token"),
    ],
)
def test_bad_options_of_training(tiny_tree, teacher_run, tmp_path, capsys, arguments, words):
    usual = ["--data", tiny_tree, "--teacher", teacher_run, "--out", tmp_path / "run", *SMALL]
    assert words in refused(capsys, distill.main, *usual, *arguments)


def test_an_unfinished_run_is_named(tiny_tree, run_copy, capsys):
    (run_copy / "metrics.json").unlink()
    assert "is not finished" in refused(capsys, msls.main, "--data", tiny_tree, "--run", run_copy)


def test_a_missing_csv_is_named(tree_copy, distilled_run, capsys):
    (tree_copy / "train_val/cph/query/seq_info.csv").unlink()
    line = refused(capsys, msls.main, "--data", tree_copy, "--run", distilled_run)
    assert "cph/query/seq_info.csv: the file is missing" in line


def test_a_missing_column_is_named(tree_copy, distilled_run, capsys):
    path = tree_copy / "train_val/sf/database/seq_info.csv"
    rows = list(csv.reader(path.open()))
    gone = rows[0].index("frame_number")
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([row[:gone] + row[gone + 1 :] for row in rows])
    line = refused(capsys, msls.main, "--data", tree_copy, "--run", distilled_run)
    assert "sf/database/seq_info.csv" in line and "column 'frame_number' is missing" in line


def test_an_empty_split_is_named(tree_copy, distilled_run, capsys):
    for city in ("cph", "sf"):
        shutil.rmtree(tree_copy / "train_val" / city)
    line = refused(capsys, msls.main, "--data", tree_copy, "--run", distilled_run)
    assert "no official city of the val split" in line


def test_a_corrupt_photo_is_named_in_evaluation_and_training(tree_copy, run_copy, teacher_run, tmp_path, capsys):
    for city, main, more in (
        ("cph", msls.main, ["--run", run_copy]),
        ("london", distill.main, ["--teacher", teacher_run, "--out", tmp_path / "new", *SMALL]),
    ):
        photo = sorted((tree_copy / "train_val" / city / "database/images").iterdir())[2]
        whole = photo.read_bytes()
        for content in (whole[: len(whole) // 2], b""):
            photo.write_bytes(content)
            assert f"{photo} cannot be decoded" in refused(capsys, main, "--data", tree_copy, *more)
        photo.unlink()
        assert f"{photo} is missing" in refused(capsys, main, "--data", tree_copy, *more)


def test_unknown_names_in_prediction_files(tiny_tree, distilled_run, perfect, tmp_path, capsys):
    lines = perfect.read_text().splitlines()
    unknown_query = tmp_path / "query.csv"
    unknown_query.write_text("\n".join([*lines, "notakey" + lines[0][lines[0].index(" ") :]]) + "\n")
    unknown_prediction = tmp_path / "prediction.csv"
    unknown_prediction.write_text("\n".join([lines[0] + "x", *lines[1:]]) + "\n")
    missing_query = tmp_path / "missing.csv"
    missing_query.write_text("\n".join(lines[1:]) + "\n")
    usual = ["--data", tiny_tree, "--run", distilled_run, "--device", "cpu"]
    for option in ("--predictions", "--shortlist"):
        assert "unknown query" in refused(capsys, msls.main, *usual, option, unknown_query)
        assert "1 of 20 queries to be scored have no row" in refused(capsys, msls.main, *usual, option, missing_query)
    assert "unknown prediction" in refused(capsys, msls.main, *usual, "--shortlist", unknown_prediction)
    assert "unknown prediction" in refused(capsys, msls.main, *usual, "--predictions", unknown_prediction, "--strict")
    evaluate(tiny_tree, distilled_run, tmp_path, "--predictions", unknown_prediction)


def test_images_of_other_sizes_and_kinds_are_described(tree_copy, run_copy, tmp_path):
    photos = sorted((tree_copy / "train_val/cph/database/images").iterdir())
    Image.open(photos[0]).convert("L").resize((80, 300)).save(photos[0])
    Image.open(photos[1]).resize((500, 40)).save(photos[1])
    evaluate(tree_copy, run_copy, tmp_path, "--cities", "cph")
