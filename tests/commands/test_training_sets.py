"""The training commands on sets besides MSLS, and the recipes of GSV-Cities with all their settings but the size."""

import json
import logging

import pytest
import yaml
from commands import refused
from tiny import SMALL, TEACHER
from training_trees import gsv_rows, make_cells, make_gsv, make_list, make_sides, write_gsv_city

import vpr
from vpr import scratch, teacher
from vpr.base.recipes import RECIPES, read_recipe
from vpr.base.settings import fill_stages
from vpr.datasets import gsv_cities
from vpr.distill import __main__ as distill
from vpr.distill.settings import ObjectiveConfig, StructuralConfig, StudentSettings, TrainConfig
from vpr.distill.student import check_settings
from vpr.models.settings import ModelConfig

pytestmark = pytest.mark.slow

TINY = [*SMALL, "--image-size", "32", "--grid", "2", "--steps", "3"]


def record_of(run):
    config, metrics = (json.loads((run / name).read_text()) for name in ("config.json", "metrics.json"))
    return config["run"]["data"], metrics


def test_distilled_on_gsv_cities_with_a_city_held_out(teacher_run, tmp_path, seams):
    root, out = make_gsv(tmp_path / "gsv"), tmp_path / "run"
    usual = ["--data", str(root), "--held-out", "Boston"]
    arguments = [*usual, "--out", str(out), *TINY, "--teacher", str(teacher_run)]
    assert distill.main([*arguments, "--validate-every", "2"]) == 0
    data, metrics = record_of(out)
    assert data["layout"] == "GSV-Cities" and data["cities"] == ["London"] and data["place_by"] == "identity"
    assert metrics["calibration"]["city"] == "Boston" and metrics["calibration"]["queries"] == 5
    assert [found["step"] for found in metrics["validations"]] == [2, 3] and metrics["losses"]["distillation"] > 0
    images = seams.watch("vpr.description.image_files.read_uncropped")
    assert scratch.main([*usual, *TINY, "--out", str(tmp_path / "other"), "--steps", "1"]) == 0
    images.forbid()
    assert distill.main([*arguments, "--validate-every", "2"]) == 0  # complete


@pytest.mark.parametrize(
    ("make", "more", "rule", "held_out"),
    [
        (make_cells, ["--least-photos", "3", "--places", "2"], "cells", ""),
        (make_sides, [], "distance", "root val"),
        (make_list, [], "distance", ""),
    ],
)
def test_trained_on_names_and_lists(tmp_path, make, more, rule, held_out):
    out = tmp_path / "run"
    assert scratch.main(["--data", str(make(tmp_path / "root")), "--out", str(out), *TINY, *more]) == 0
    data, metrics = record_of(out)
    assert data["place_by"] == rule and data["held_out"] == held_out
    assert metrics.get("calibration", {}).get("city", "") == held_out


def test_a_teacher_is_fitted_to_gsv_cities_and_validated_on_msls(tmp_path, tiny_tree):
    root, out = make_gsv(tmp_path / "gsv", places=8), tmp_path / "teacher"
    arguments = ["--data", str(root), "--validation", str(tiny_tree), "--held-out", "cph", "--clusters", "4", *TEACHER]
    assert teacher.main([*arguments, "--out", str(out), "--validate-every", "4"]) == 0
    assert json.loads((out / "metrics.json").read_text())["validations"][0]["recall@1"] >= 0


def test_other_validation_data_calibrate_again_and_changed_data_do_too(tmp_path, tiny_tree):
    sides, out = make_sides(tmp_path / "town"), tmp_path / "run"

    def calibrate(**more):
        size = {"recipe": "mini", "grid": 2, "dim": 16, "image_size": 32, "steps": 1, "structural_negatives": 3}
        size |= {"places": 4, "images_per_place": 2, "cities": ("trondheim",), "device": "cpu"}
        vpr.train(out, tiny_tree, **size, **more)
        return json.loads((out / "metrics.json").read_text())["calibration"]

    calibrate()
    weights = (out / "model.safetensors").read_bytes()
    first = calibrate(validation=sides)
    assert first["city"] == "town val" and first["queries"] == 8
    next((sides / "images/val/queries").iterdir()).unlink()
    second = calibrate(validation=sides)
    assert second["queries"] == 7 and second["fingerprint"] != first["fingerprint"]
    assert calibrate()["city"] == "amsterdam" and (out / "model.safetensors").read_bytes() == weights


def test_a_missing_image_is_named_when_it_is_drawn(tmp_path, capsys):
    root = make_gsv(tmp_path / "gsv")
    for path in gsv_cities.load(root).paths[::4]:
        (root / path).unlink()
    line = refused(capsys, scratch.main, "--data", root, "--out", tmp_path / "run", *TINY)
    assert "Images/Boston/" in line and ".JPG is missing" in line


# augmenting 480 images takes a second a step
SIZES = {"image_size": 32, "grid": 2, "dim": 16, "global_dim": 20, "clusters": 4, "steps": 20, "augment": "none"}
STAND_INS = {
    "gsv_resnet50": {
        **SIZES, "image_size": 16, "grid": 1, "backbone": "resnet10t", "weights": "", "precision": "32-true",
    },
    "gsv_dinov2": {
        **SIZES, "backbone": "vit_mini_patch16_112", "weights": "", "precision": "32-true",
        "frozen_blocks": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", STAND_INS)
def test_the_settings_of_a_recipe_of_gsv_cities_fit_its_own_network(name):
    stages = [ModelConfig, ObjectiveConfig, StructuralConfig, TrainConfig]
    fields = {field for stage in stages for field in stage.__dataclass_fields__}
    values = {key: value for key, value in read_recipe("student", name).items() if key in fields}
    check_settings(StudentSettings(*fill_stages(stages, {**values, "weights": ""})))


@pytest.mark.parametrize("name", STAND_INS)
def test_a_recipe_of_gsv_cities_takes_twenty_steps_of_120_places(tmp_path, name, caplog):
    root, out, small = tmp_path / "gsv", tmp_path / "run", STAND_INS[name]
    for number, city in enumerate(("London", "Boston")):
        write_gsv_city(root, city, gsv_rows(city, range(64), at=20.0 * number))
    options = [word for key, value in small.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    with caplog.at_level(logging.INFO):
        arguments = ["--data", str(root), "--recipe", name, *options, "--device", "cpu"]
        assert scratch.main([*arguments, "--out", str(out)]) == 0
    recorded = json.loads((out / "config.json").read_text())["run"]
    settings = {key: value for stage in ("model", "objective", "train") for key, value in recorded[stage].items()}
    recipe = yaml.safe_load((RECIPES / "student" / f"{name}.yaml").read_text())
    assert (recipe["places"], recipe["images_per_place"], recipe["loss"]) == (120, 4, "multi-similarity")
    assert {key: settings[key] for key in {*recipe} - {*small, "distillation"}} == {
        key: value for key, value in recipe.items() if key not in {*small, "distillation"}
    }
    assert "128 places of 2 cities" in caplog.text and "step 20 of 20" in caplog.text
