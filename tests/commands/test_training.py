"""Training by the commands, on a tree large enough that every loss is a number."""

import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from commands import evaluate, refused
from safetensors.numpy import load_file
from tiny import SMALL, TEACHER

import vpr
from vpr import scratch, teacher
from vpr.base.errors import VprError
from vpr.datasets.held_out import held_out_cities
from vpr.datasets.msls import Protocol, load
from vpr.distill import __main__ as distill
from vpr.distill.msls_data import training_photos
from vpr.eval.calibration.criterion import PLACE_CRITERION
from vpr.eval.calibration.validator import Validator
from vpr.models.builtin import resolve_run

pytestmark = pytest.mark.slow


def test_a_distilled_run_holds_what_made_it(distilled_run, tiny_tree):
    config = json.loads((distilled_run / "config.json").read_text())
    assert config["run"]["command"] == "vpr.distill" and config["run"]["train"]["steps"] == 4
    assert config["run"]["data"]["held_out"] == "amsterdam" and "amsterdam" not in config["run"]["data"]["cities"]
    assert not set(config["run"]["data"]["cities"]) & {"cph", "sf", "miami"}
    metrics = json.loads((distilled_run / "metrics.json").read_text())
    assert metrics["calibration"]["city"] == "amsterdam" and metrics["calibration"]["queries"] > 0
    assert set(metrics["losses"]) == {"infonce", "distillation", "structural"}
    assert all(math.isfinite(loss) and loss > 0 for loss in metrics["losses"].values())
    assert (distilled_run / "log.txt").read_text() and (distilled_run / "teacher" / "model.safetensors").is_file()
    assert not list(distilled_run.rglob("checkpoint.pt"))


def test_a_complete_run_is_not_trained_again_and_a_teacher_pass_changes_nothing(
    distilled_run, teacher_run, tiny_tree, tmp_path, seams, caplog
):
    before = (distilled_run / "model.safetensors").read_bytes()
    images = seams.watch("vpr.description.image_files.read_uncropped")
    arguments = ["--data", str(tiny_tree), "--teacher", str(teacher_run), "--grid", "3", *SMALL]
    assert distill.main([*arguments, "--out", str(tmp_path / "run"), "--teacher-pass"]) == 0  # a new run reads images
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert "describing by the teacher: 0 of 59 photos" in caplog.text
    images.forbid()
    assert distill.main([*arguments, "--out", str(distilled_run)]) == 0
    assert (distilled_run / "model.safetensors").read_bytes() == before


def test_scratch_needs_no_teacher(tiny_tree, tmp_path):
    out = tmp_path / "scratch"
    arguments = ["--data", str(tiny_tree), "--out", str(out), "--grid", "3", *SMALL]
    assert scratch.main(arguments) == 0
    first = (out / "model.safetensors").read_bytes()
    assert scratch.main([*arguments, "--overwrite"]) == 0
    assert (out / "model.safetensors").read_bytes() == first  # the same seed, the same weights
    assert not (out / "teacher").exists()


def test_a_training_starts_from_the_weights_of_a_run_of_the_same_architecture(
    distilled_run, tiny_tree, tmp_path, capsys
):
    out = tmp_path / "run"
    usual = ["--data", str(tiny_tree), "--out", str(out), *SMALL, "--held-out", ""]
    assert scratch.main([*usual, "--grid", "2", "--start", str(distilled_run), "--steps", "0"]) == 0
    first, second = (load_file(folder / "model.safetensors") for folder in (distilled_run, out))
    assert all((first[name] == second[name]).all() for name in {*first, *second})
    recorded = json.loads((out / "config.json").read_text())["run"]
    assert recorded["started_from"] and recorded["start"] == {"average_with_start": None}
    words = refused(capsys, scratch.main, *usual, "--start", distilled_run, "--dim", 8, "--pooling", "gem")
    assert "has another architecture than this training; pass its options: --dim 16 --pooling avg" in words
    assert "no run at" in refused(capsys, scratch.main, *usual, "--start", tmp_path / "none")
    assert "is an input" in refused(capsys, scratch.main, *usual, "--start", out)


def test_training_from_python_is_that_of_the_commands(distilled_run, teacher_run, tiny_tree, tmp_path, seams):
    pairs = zip(SMALL[::2], SMALL[1::2], strict=True)
    options = {"grid": 3, **{name[2:].replace("-", "_"): yaml.safe_load(value) for name, value in pairs}}
    images = seams.watch("vpr.description.image_files.read_uncropped")
    run = vpr.train(tmp_path / "run", tiny_tree, **options)
    images.forbid()  # the other runs are complete, because they are of the same settings
    assert scratch.main(["--data", str(tiny_tree), "--out", str(tmp_path / "run"), "--grid", "3", *SMALL]) == 0
    taught = vpr.train(distilled_run, tiny_tree, teacher=teacher_run, **options)
    assert (run.folder, taught.folder) == (tmp_path / "run", distilled_run) and run.calibrated
    with pytest.raises(VprError, match="other settings"):
        vpr.train(distilled_run, tiny_tree, teacher=teacher_run, **{**options, "steps": 5})
    before = (tmp_path / "run/log.txt").read_text()
    logging.getLogger("vpr").warning("another work of this process")
    assert (tmp_path / "run/log.txt").read_text() == before != ""
    with pytest.raises(VprError, match="is an input"):
        vpr.train(teacher_run, tiny_tree, teacher=teacher_run, overwrite=True, **options)


def test_training_from_python_names_bad_options(tmp_path):
    with pytest.raises(TypeError, match="unknown option 'stepz'; known are .*steps"):
        vpr.train(tmp_path, stepz=3)
    with pytest.raises(TypeError, match="unknown option 'keep_weight'"):
        vpr.train(tmp_path, keep_weight=3.0)  # an option of distillation
    with pytest.raises(ValueError, match="steps"):
        vpr.train(tmp_path, steps=-1)
    with pytest.raises(ValueError, match="'huge' is not one of .*lite"):
        vpr.train(tmp_path, recipe="huge")
    (tmp_path / "map.json").write_text("{}")
    with pytest.raises(VprError, match="map"):
        vpr.train(tmp_path / "descriptors.h5")


def test_another_held_out_city_fixes_the_weight_anew_and_keeps_the_weights(tiny_tree, tmp_path):
    out = tmp_path / "run"
    arguments = ["--data", str(tiny_tree), "--out", str(out), "--grid", "3", "--cities", "trondheim", *SMALL]

    def files():
        config, metrics = (json.loads((out / name).read_text()) for name in ("config.json", "metrics.json"))
        return (out / "model.safetensors").read_bytes(), config["run"]["data"]["held_out"], metrics

    assert scratch.main([*arguments, "--held-out", ""]) == 0
    weights, held_out, metrics = files()
    assert held_out == "" and set(metrics) == {"losses"}
    assert scratch.main([*arguments, "--held-out", "amsterdam"]) == 0
    again, held_out, fixed = files()
    assert again == weights and held_out == "amsterdam" and fixed["losses"] == metrics["losses"]
    assert fixed["calibration"]["city"] == "amsterdam"
    stamp = (out / "metrics.json").stat().st_mtime_ns
    assert scratch.main([*arguments, "--held-out", "amsterdam"]) == 0  # nothing is left to do
    assert (out / "metrics.json").stat().st_mtime_ns == stamp
    assert scratch.main([*arguments, "--held-out", ""]) == 0
    assert files() == (weights, "", metrics)
    assert scratch.main([*arguments, "--held-out", "trondheim"]) == 1  # it was trained on


def test_queries_of_several_held_out_cities_count_together(tiny_tree, tmp_path):
    out = tmp_path / "run"
    arguments = ["--data", str(tiny_tree), "--out", str(out), "--grid", "3", "--cities", "trondheim", *SMALL]

    def calibrate(cities):
        assert scratch.main([*arguments, "--held-out", cities]) == 0
        fixed = json.loads((out / "metrics.json").read_text())["calibration"]
        assert fixed["city"] == cities
        return fixed["queries"], fixed["recall"]

    assert scratch.main([*arguments, "--held-out", ""]) == 0
    (few, first), (more, second), (both, pooled) = map(calibrate, ["amsterdam", "boston", "amsterdam,boston"])
    assert both == few + more and min(few, more) > 0
    for setting in {*first} & {*second}:
        mean = (few * first[setting]["recall@1"] + more * second[setting]["recall@1"]) / both
        assert pooled[setting]["recall@1"] == pytest.approx(mean)
    assert first != second
    assert scratch.main([*arguments, "--held-out", "amsterdam,trondheim"]) == 1  # trondheim was trained on


def test_a_run_to_start_from_gives_the_prior_of_the_weight(tiny_tree, tmp_path):
    start = shutil.copytree(resolve_run(Path("builtin")), tmp_path / "start")
    metrics = json.loads((start / "metrics.json").read_text())
    metrics["calibration"] |= {"weight": 3.0, "mass": 0.85}
    (start / "metrics.json").write_text(json.dumps(metrics))

    sets = held_out_cities(tiny_tree, ["amsterdam"])

    def prior(run):
        criterion = Validator.with_prior(sets, tmp_path, torch.device("cpu"), run).criterion
        assert replace(criterion, prior=PLACE_CRITERION.prior) == PLACE_CRITERION
        return criterion.prior

    assert prior(start) == ("complement", 0.85, 3.0)
    del metrics["calibration"]
    (start / "metrics.json").write_text(json.dumps(metrics))
    assert prior(start) == prior(None) == ("complement", 0.7, 40.0)


VALIDATED = ["--validate-every", "2", "--held-out", "amsterdam"]


def test_validations_on_the_way_are_recorded_and_bind_the_run_to_their_city(tiny_tree, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["--data", str(tiny_tree), "--out", str(out), "--grid", "3", *SMALL, *VALIDATED, "--tensorboard"]
    assert scratch.main(arguments) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert [found["step"] for found in metrics["validations"]] == [2, 4]
    best = max(metrics["validations"], key=lambda found: found["score"])
    assert metrics["best_step"] == best["step"] and 0 <= best["shortlist_recall@1"] <= 1
    assert "recall@1" in (out / "training.csv").read_text() and list((out / "tensorboard").iterdir())
    assert not list((out / "cache").glob("validation*"))
    words = refused(capsys, scratch.main, *arguments, "--held-out", "boston", "--cities", "trondheim")
    assert "run with other settings" in words and "validated_on" in words


def test_a_teacher_is_validated_by_its_shortlists(tiny_tree, tmp_path):
    out = tmp_path / "run"
    arguments = ["--data", str(tiny_tree), "--out", str(out), "--clusters", "4", *TEACHER, *VALIDATED]
    assert teacher.main(arguments) == 0
    found = json.loads((out / "metrics.json").read_text())["validations"]
    assert [set(validation) for validation in found] == [{"step", "score", "recall@1"}] * 2


def test_the_order_of_cities_changes_no_photo(tiny_tree):
    orders = ("boston", "london"), ("london", "boston")
    first, second = (training_photos(tiny_tree, cities)[0].paths.tolist() for cities in orders)
    assert first == second


def test_training_asks_for_no_ground_truth(tiny_tree, seams):
    ground_truth = seams.watch("vpr.datasets.msls.city.sequences_within")
    assert load(tiny_tree, Protocol()).retrieval_set.positives.counts.any()  # evaluation does
    ground_truth.forbid()
    photos, dataset = training_photos(tiny_tree, (), ("amsterdam",))
    assert len(photos.paths) and "amsterdam" not in [city.name for city in dataset.cities]


def test_a_tree_without_the_usual_held_out_city_trains_and_says_what_that_means(tiny_tree, tmp_path, caplog):
    tree = tmp_path / "tree"
    shutil.copytree(tiny_tree / "train_val", tree / "train_val", ignore=shutil.ignore_patterns("amsterdam"))
    run = tmp_path / "run"
    assert scratch.main(["--data", str(tree), "--out", str(run), "--grid", "3", *SMALL]) == 0
    assert "no city is held out" in caplog.text
    assert json.loads((run / "config.json").read_text())["run"]["data"]["held_out"] == ""
    evaluate(tree, run, tmp_path, "--rerank")
    assert "no city was held out of this run: the weight of S_struct is the default, 5" in caplog.text


def test_a_memory_smaller_than_a_batch_is_refused_before_anything_is_read(tmp_path, capsys):
    options = ["--data", "nowhere", "--out", tmp_path / "run", *TEACHER, "--memory", "7"]
    for main in (teacher.main, scratch.main):
        assert "--memory 7 is smaller than a batch of 8 photos" in refused(capsys, main, *options)
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_cannot_be_whitened_is_refused_before_it_is_trained(tiny_tree, tmp_path, capsys):
    options = ["--data", tiny_tree, "--out", tmp_path / "run", "--device", "cpu", "--recipe", "mini"]
    for main in (teacher.main, distill.main):
        assert "PCA to 128 dimensions needs more than" in refused(capsys, main, *options)
    assert not (tmp_path / "run" / "config.json").exists()
