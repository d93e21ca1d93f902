"""Image retrieval with class labels, by the commands."""

import json
import math
import shutil

import numpy as np
import pytest
from commands import module_of, refused
from tiny import LABELS

from vpr.base.errors import VprError
from vpr.base.recipes import recipes
from vpr.cache import DescriptorCache
from vpr.datasets.held_out import HeldOut
from vpr.datasets.labels import load
from vpr.distill.class_data import hold_out
from vpr.eval import retrieval

pytestmark = pytest.mark.slow

train = module_of("vpr.retrieval").main
METRICS = {"p@1", "rp", "map@r", "recall@1", "recall@2", "recall@4", "recall@8", "recall@10"}


@pytest.fixture(scope="module")
def run(tiny_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("retrieval") / "run"
    assert train(["--data", str(tiny_set), "--out", str(out), *LABELS, "--held-out", "0.5"]) == 0
    return out


def evaluated(tmp_path, *arguments):
    given = [str(argument) for argument in (*arguments, "--json", tmp_path / "a.json", "--device", "cpu")]
    assert retrieval.main(given) == 0
    return json.loads((tmp_path / "a.json").read_text())


def test_a_run_has_a_base_without_structure_and_what_was_fixed_on_held_out_classes(run):
    metrics, base = (json.loads((folder / "metrics.json").read_text()) for folder in (run, run / "base"))
    assert set(metrics["losses"]) == {"infonce", "structural"} and set(base["losses"]) == {"infonce"}
    assert metrics["calibration"]["queries"] == 16 and metrics["calibration"]["marginals"]
    assert len({name.split()[0] for name in metrics["calibration"]["recall"]}) == 5  # kinds of marginals
    assert (run / "model.safetensors").read_bytes() != (run / "base" / "model.safetensors").read_bytes()
    assert "average_with_start" not in metrics and "average_with_start" not in base  # it starts at random
    tiny = json.loads((run / "config.json").read_text())["run"]
    assert tiny["command"] == "vpr.retrieval" and tiny["data"]["classes"] == 2


def test_an_interrupted_training_ends_as_one_that_was_not(run, tiny_set, tmp_path, monkeypatch):
    out = tmp_path / "run"
    arguments = ["--data", str(tiny_set), "--out", str(out), *LABELS, "--held-out", "0.5"]
    with monkeypatch.context() as patched:
        patched.setattr(
            "vpr.eval.calibration.validator.Validator.calibrate", lambda *rest: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert train(arguments) == 130
    assert train(arguments) == 0
    assert (out / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_the_weights_between_start_and_end_are_chosen_on_held_out_classes(tiny_set, tmp_path, caplog):
    """From an ImageNet trunk: both trainings measure their start and their end, and keep the best point between."""
    small = ["--image-size", "64", "--train-size", "0", "--grid", "3", "--dim", "16", "--global-dim", "20"]
    small += ["--clusters", "4", "--steps", "2", "--places", "2", "--images-per-place", "3", "--device", "cpu"]
    given = ["--data", str(tiny_set), "--recipe", "lite", "--held-out", "0.5", *small]
    out, kept = tmp_path / "run", tmp_path / "kept"
    assert train([*given, "--out", str(out)]) == 0
    for folder in (out, out / "base"):
        record = json.loads((folder / "metrics.json").read_text())["average_with_start"]
        assert set(record["recall@1"]) == {"0", "0.25", "0.5", "0.75", "1"}
        assert set(record["start"]) == {"2 of 4 training classes"}
        assert 0 <= record["kept_share"] <= 1
    assert "start, before the first step: R@1 re-ranked" in caplog.text
    assert train([*given, "--out", str(kept), "--average-with-start", "0"]) == 0
    for folder in (kept, kept / "base"):
        assert json.loads((folder / "metrics.json").read_text())["average_with_start"] == {"kept_share": 0.0}
    assert (kept / "model.safetensors").read_bytes() == (kept / "base" / "model.safetensors").read_bytes()


def test_structure_in_the_metric_loss_is_part_of_the_second_training_alone(run, tiny_set, tmp_path):
    out = tmp_path / "run"
    assert train(["--data", str(tiny_set), "--out", str(out), *LABELS, "--structural-in", "metric"]) == 0
    for folder in (out, out / "base"):
        assert set(json.loads((folder / "metrics.json").read_text())["losses"]) == {"infonce"}
    base, other = (path / "base" / "model.safetensors" for path in (out, run))
    metric, own = (path / "model.safetensors" for path in (out, run))
    assert metric.read_bytes() != base.read_bytes() and metric.read_bytes() != own.read_bytes()
    assert other.is_file()


def test_rollout_reranks_by_a_cache_of_its_own(run, tiny_set, tmp_path):
    usual, rolled = (
        evaluated(tmp_path, "--run", run, "--data", tiny_set, "--rerank", "--marginals", kind)
        for kind in ("uniform", "rollout")
    )
    assert usual["results"]["shortlist"] == rolled["results"]["shortlist"]
    assert usual["results"]["rerank"] != rolled["results"]["rerank"]
    (path,) = (run / "cache").glob("*-rollout.h5")
    assert (DescriptorCache(path).weights.sum(1) - 1 < 1e-5).all()


def test_evaluation_scores_both_orders(run, tiny_set, tmp_path, capsys):
    found = evaluated(tmp_path, "--run", run, "--data", tiny_set, "--rerank")
    assert "x S_struct, fusion: similarity" in capsys.readouterr().out
    assert found["fusion"] == {"rule": "similarity", "lambda": None}
    assert set(found["results"]) == {"shortlist", "rerank"} and found["counts"]["queries"] == 32
    for metrics in found["results"].values():
        assert set(metrics) == METRICS and all(0 <= value <= 1 for value in metrics.values())
    assert found["protocol"] == {"layout": "folders", "classes": 4, "all_test": False} and not found["adapted"]
    assert all(math.isfinite(value) for floor in found["floors"].values() for value in floor.values())
    every = evaluated(tmp_path, "--run", run, "--data", tiny_set, "--all-test")
    assert every["counts"]["queries"] == 64 and set(every["results"]) == {"shortlist"} and every["fusion"] is None


def test_what_lies_behind_the_shortlist_keeps_its_place(run, tiny_set, tmp_path):
    shallow = evaluated(tmp_path, "--run", run, "--data", tiny_set, "--rerank", "--depth", "1")
    assert shallow["results"]["rerank"] == shallow["results"]["shortlist"]
    deep = evaluated(tmp_path, "--run", run, "--data", tiny_set, "--rerank", "--depth", "31")
    assert deep["results"]["shortlist"] == shallow["results"]["shortlist"]


def test_the_paper_counts_the_query(run, tiny_set, tmp_path):
    usual = ["--run", run, "--data", tiny_set]
    ours, theirs = (evaluated(tmp_path, *usual, *more)["results"]["shortlist"] for more in ([], ["--count-query"]))
    assert theirs["map@r"] == pytest.approx(ours["map@r"] * 7 / 8) and theirs["p@1"] == ours["p@1"]


def test_the_weights_in_the_box_move_all_of_the_mass(tiny_set, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    usual = ["--run", "builtin", "--data", tiny_set, "--rerank", "--cache", tmp_path / "a.h5"]
    found = evaluated(tmp_path, *usual)
    assert "builtin was not calibrated on classes: it is re-ranked with mass 1 and weight 5" in caplog.text
    assert found["weight"] == 5
    less = evaluated(tmp_path, *usual, "--mass", 0.5)
    assert less["results"]["rerank"] != found["results"]["rerank"]


def test_classes_are_held_out_evenly_and_two_stay_on_each_side(tiny_set):
    images = load("folders", tiny_set).training
    rest, held_out = hold_out(images, 0.5)
    (apart,) = held_out.load().values()
    assert held_out.name == "2 of 4 training classes" and [*held_out.load()] == [held_out.name]
    assert np.unique(rest.classes).tolist() == [1, 2] and apart.drives.tolist() == [0] * 8 + [3] * 8
    assert len(apart.database) == 32 and hold_out(images, 0.0) == (images, HeldOut())
    (few,) = hold_out(images, 0.1)[1].load().values()
    assert np.unique(few.drives).tolist() == [0, 3]  # never fewer than two
    with pytest.raises(VprError, match="--held-out 0.9 keeps 4 of 4 classes apart and leaves fewer than two"):
        hold_out(images, 0.9)


@pytest.mark.parametrize("name", recipes("retrieval"))
def test_a_recipe_trains_and_is_evaluated(tiny_set, tmp_path, name, capsys):
    small = {"image-size": 56 if name == "dinov2_s" else 64, "grid": 2, "places": 2, "images-per-place": 2, "dim": 16}
    small |= {"global-dim": 20, "clusters": 4, "structural-negatives": 2, "steps": 3, "minings": 1, "train-size": 0}
    small |= {"precision": "32-true", "device": "cpu", "held-out": 0, "weights": ""}
    options = [word for key, value in small.items() for word in (f"--{key}", str(value))]
    options += ["--recipe", name, "--data", str(tiny_set), "--out", str(tmp_path / "run")]
    assert train([*options, "--print-config"]) == 0 and "augment: objects" in capsys.readouterr().out
    assert train(options) == 0
    assert (
        evaluated(tmp_path, "--run", tmp_path / "run", "--data", tiny_set, "--rerank")["results"]["rerank"]["p@1"] >= 0
    )


def test_classes_larger_than_a_shortlist_are_calibrated_and_validated(tiny_set, tmp_path, monkeypatch):
    for module in ("vpr.eval.calibration.calibration", "vpr.eval.calibration.validator"):
        monkeypatch.setattr(f"{module}.DEPTH", 3)
    arguments = ["--data", str(tiny_set), "--out", str(tmp_path / "run"), *LABELS, "--held-out", "0.5"]
    assert train([*arguments, "--validate-every", "3"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["calibration"]["weight"] >= 0 and metrics["validations"][0]["p@1"] <= 1


def test_classes_of_one_image_cannot_be_scored(tiny_set, tmp_path, capsys):
    alone = tmp_path / "alone"
    for name in ("a", "b", "c", "d"):
        (alone / name).mkdir(parents=True)
        shutil.copy(next((tiny_set / "bird_000").iterdir()), alone / name / "x.jpg")
    words = refused(capsys, retrieval.main, "--run", "builtin", "--data", alone)
    assert "no test class has two images" in words
    with pytest.raises(VprError, match="have one image each; give another"):
        hold_out(load("folders", alone).images, 0.5)


def test_bad_input_is_one_line(tiny_set, tmp_path, capsys, run):
    assert "no folder nowhere" in refused(capsys, retrieval.main, "--run", run, "--data", "nowhere")
    assert "no class is left to test on" in refused(
        capsys, retrieval.main, "--run", run, "--data", tiny_set, "--test-classes", "/dev/null"
    )
    assert "--grid 99 is finer" in refused(capsys, train, "--data", "nowhere", *LABELS, "--grid", "99")
    assert "no run at" in refused(capsys, retrieval.main, "--run", tmp_path / "none", "--data", tiny_set)
    arguments = ["--data", tiny_set, "--out", tmp_path / "new", *LABELS]
    assert "needs held-out data" in refused(capsys, train, *arguments, "--validate-every", "2")
    assert "leaves fewer than two" in refused(capsys, train, *arguments, "--held-out", "0.9")
    assert not (tmp_path / "new" / "config.json").exists()
