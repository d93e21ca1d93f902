"""One clear line for each kind of bad input."""

import csv
import shutil

import pytest
from commands import evaluate, other_model, refused
from tiny import SMALL, TEACHER

from vpr import extract, scratch, teacher
from vpr.distill import __main__ as distill
from vpr.eval import compare, msls, table

pytestmark = pytest.mark.slow


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
    teacher_arguments = ["--data", tiny_tree, "--out", teacher_run, *TEACHER, "--clusters", "5"]
    assert "other settings (teacher.clusters)" in refused(capsys, teacher.main, *teacher_arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cities", "atlantis"], "no city 'atlantis'; it holds"),
        (["--task", "seq2seq", "--seq-length", "4"], "odd"),
        (["--run", "runs/nowhere"], "no run at runs/nowhere; check the path, or make it with: python -m vpr.distill"),
        (["--shortlist", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--predictions", "nowhere.csv"], "nowhere.csv"),
        (["--submission", "a.txt"], "a.txt"),
        (["--data", "nowhere"], "nowhere: the folder does not exist"),
    ],
)
def test_bad_combinations_of_evaluation(tiny_tree, distilled_run, capsys, arguments, words):
    usual = ["--data", tiny_tree, "--run", distilled_run, "--device", "cpu"]
    assert words in refused(capsys, msls.main, *usual, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--teacher", "nowhere", "--grid", "99"], "--grid 99 is finer than"),  # before the teacher is read
        (["--teacher", "nowhere"], "no run at nowhere; check the path, or make it with: python -m vpr.teacher"),
        (["--cities", "boston", "--held-out", "boston"], "boston is held out"),
        (["--cities", "boston,london", "--held-out", "boston,cph,london"], "boston, london are held out"),
        (["--cities", "atlantis"], "no city 'atlantis'"),
        (["--held-out", "atlantis"], "no city 'atlantis'"),
        (["--backbone", "resnet9000"], "no model 'resnet9000'"),
        (["--dim", "24"], "pass --dim 16 or --distillation relational"),
        (["--pooling", "cls"], "no class token"),
    ],
)
def test_bad_combinations_of_training(tiny_tree, teacher_run, tmp_path, capsys, arguments, words):
    usual = ["--data", tiny_tree, "--teacher", teacher_run, "--out", tmp_path / "run", *SMALL]
    assert words in refused(capsys, distill.main, *usual, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "none"], "--recipe: 'none' is not one of dinov2, dinov3, gsv_dinov2, gsv_resnet50, lite,"),
        (["--training", "nowhere.yaml"], "--training nowhere.yaml: no such file"),
        (["--cities", "atlantis"], "no city 'atlantis'"),
        (["--data", "nowhere"], "nowhere: the folder does not exist"),
    ],
)
def test_a_table_is_refused_before_anything_is_trained(tiny_tree, tmp_path, capsys, arguments, words):
    assert words in refused(capsys, table.main, "--data", tiny_tree, "--out", tmp_path / "table", *arguments)
    assert not (tmp_path / "table").exists()


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
        assert "1 of 20 scored queries have no row" in refused(capsys, msls.main, *usual, option, missing_query)
    assert "unknown prediction" in refused(capsys, msls.main, *usual, "--shortlist", unknown_prediction)
    assert "unknown prediction" in refused(capsys, msls.main, *usual, "--predictions", unknown_prediction, "--strict")
    evaluate(tiny_tree, distilled_run, tmp_path, "--predictions", unknown_prediction)


@pytest.mark.parametrize(
    ("main", "arguments", "line"),
    [
        (msls.main, ["--epsilon", "0"], "--epsilon: 0 is out of range, give a value > 0"),
        (msls.main, ["--mass", "1.5"], "--mass: 1.5 is out of range, give a value > 0 and <= 1"),
        (msls.main, ["--depth", "0"], "--depth: 0 is out of range"),
        (msls.main, ["--task", "im2vid"], "--task: 'im2vid' is not one of im2im, im2seq, seq2im, seq2seq"),
        (distill.main, ["--steps", "-1"], "--steps: -1 is out of range"),
        (distill.main, ["--learning-rate", "nan"], "--learning-rate: nan is out of range"),
        (table.main, ["--seeds", "0"], "--seeds: 0 is out of range"),
        (extract.main, [], "cache"),
        (scratch.main, ["--teacher", "x"], "unrecognized arguments: --teacher x"),
        (compare.main, ["runs/a", "--shortlist", "teacher"], "unrecognized arguments: --shortlist teacher"),
    ],
)
def test_bad_options_are_refused_before_any_work(capsys, main, arguments, line):
    assert line in refused(capsys, main, *arguments, code=2)
