"""Training by the commands, on a tree large enough that every loss is a number."""

import json
import math
import shutil

from commands import evaluate, refused
from tiny import SMALL

import vpr.description.images
from distill.data import training_photos
from vpr import distill, scratch, teacher


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


def test_a_complete_run_is_not_trained_again(distilled_run, teacher_run, tiny_tree, monkeypatch):
    before = (distilled_run / "model.safetensors").read_bytes()
    monkeypatch.setattr(vpr.description.images, "read_image", lambda *rest: 1 / 0)
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


def test_training_asks_for_no_ground_truth(tiny_tree, monkeypatch):
    monkeypatch.setattr("datasets.msls.city.sequences_within", lambda *rest: 1 / 0)
    photos, dataset = training_photos(tiny_tree, (), "amsterdam")
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


def test_a_teacher_that_cannot_be_whitened_is_refused_before_it_is_trained(tiny_tree, tmp_path, capsys):
    options = ["--data", tiny_tree, "--out", tmp_path / "run", "--device", "cpu", "--recipe", "mini"]
    for main in (teacher.main, distill.main):
        assert "PCA to 128 dimensions needs more than" in refused(capsys, main, *options)
    assert not (tmp_path / "run" / "config.json").exists()
