"""Weights between the start and the end of a training, and the choice of a share on held-out data."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training import CONFIG, CPU, Pictures, Scores, photos, same, weights_of

from vpr.base.errors import VprError
from vpr.base.processes import launch_fabric
from vpr.base.recipes import read_recipe
from vpr.base.run_folder import CHECKPOINT, METRICS
from vpr.datasets.held_out import HeldOut
from vpr.distill.data import TrainingData
from vpr.distill.runs import run_identity
from vpr.distill.settings import (
    ObjectiveConfig,
    StartConfig,
    StructuralConfig,
    StudentSettings,
    TeacherSettings,
    WhiteningConfig,
)
from vpr.distill.student import load_start, train_student
from vpr.distill.teacher import fit_teacher
from vpr.distill.training.averaging import average_weights, choose_share
from vpr.models.loading import load_student
from vpr.models.settings import ModelConfig, TeacherConfig

SHORT = replace(CONFIG, steps=2, minings=0)
MODEL = ModelConfig(
    "tf_efficientnet_lite0", stage=2, weights="imagenet", head="whitening", dim=8, grid=4, image_size=64, train_size=32
)

NETVLAD = TeacherConfig("tf_efficientnet_lite0", 2, "imagenet", clusters=2, dim=4, image_height=32, image_width=32)


class Measures(Scores):
    """A validator whose measurements are given, and which keeps the models that it measured."""

    def __init__(self, values, stop_at=None):
        super().__init__()
        self.values, self.measured, self.stop_at = values, [], stop_at

    def measure(self, model):
        self.measured.append(model)
        if len(self.measured) == self.stop_at:
            raise KeyboardInterrupt
        return {"here": answers(self.values[len(self.measured) - 1]), "elsewhere": answers(0.5)}


def answers(share):
    """Of 100 queries, this share is right."""
    return (np.arange(100) < 100 * share) * 1.0


def student(folder, seams, validator, images=None, share=None):
    """The weights of a training, and what its metrics.json says of the kept share."""
    folder.mkdir(exist_ok=True)
    seams.replace("vpr.distill.student.load_images", lambda *rest: images or Pictures())
    settings = StudentSettings(MODEL, ObjectiveConfig(), StructuralConfig(), SHORT, start=StartConfig(None, share))
    data = TrainingData(folder, photos(), {}, HeldOut("somewhere"))
    model = train_student(settings, data, folder, launch_fabric(CPU), validator)
    return weights_of(model), json.loads((folder / METRICS).read_text()).get("average_with_start")


def without_pooling(weights):
    return {name: value for name, value in weights.items() if not name.startswith("summary.")}


def test_weights_on_the_line_by_hand():
    start = {"a": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
    end = {"a": torch.tensor([8.0, 0.0]), "count": torch.tensor(7)}
    middle = average_weights(start, end, 0.25)
    assert middle["a"].tolist() == [2.0, 3.0] and middle["count"] == 7
    assert same(average_weights(start, end, 0.0), start) and same(average_weights(start, end, 1.0), end)


def test_the_share_of_the_best_mean_is_chosen_and_of_equal_ones_the_nearest_to_the_start(caplog):
    caplog.set_level(logging.INFO)
    values = {0.0: (0.7, 0.9), 0.25: (0.8, 0.9), 0.5: (0.9, 0.8), 0.75: (0.9, 0.7), 1.0: (0.9, 0.4)}
    kept = choose_share(lambda share: dict(zip(("here", "elsewhere"), map(answers, values[share]))))
    assert kept.share == 0.25 and kept.record()["kept_share"] == 0.25
    assert kept.record()["start"] == {"here": 0.7, "elsewhere": 0.9} and kept.record()["end"]["elsewhere"] == 0.4
    assert list(kept.record()["recall@1"]) == ["0", "0.25", "0.5", "0.75", "1"]
    assert "start, before the first step: R@1 re-ranked 70.0 % on here, 90.0 % on elsewhere" in caplog.text
    assert "end of the training: R@1 re-ranked 90.0 % on here, 40.0 % on elsewhere" in caplog.text
    assert (
        "kept: the weights at 0.25 of the way from start to end, 5.0 +- 3.2 points" in caplog.text
    )  # 2 sqrt(10) / 200


@pytest.mark.parametrize(("more", "share"), [(4, 0.0), (5, 1.0)])  # two standard errors are 2 sqrt(more) answers
def test_a_gain_within_noise_keeps_the_start(more, share, caplog):
    kept = choose_share(lambda at: {"here": answers(0.5 + (at == 1) * more / 100)})
    assert kept.share == share and ("gained nothing beyond noise" in caplog.text) == (share == 0)


@pytest.mark.slow
def test_a_training_that_gains_nothing_keeps_the_start_and_an_interrupted_choice_changes_nothing(tmp_path, seams):
    validator = Measures([0.5, 0.4, 0.1, 0.2, 0.3])
    kept, record = student(tmp_path / "a", seams, validator)
    start, end = (without_pooling(weights_of(model)) for model in validator.measured[:2])
    assert same(start, kept) and not same(start, end) and record["kept_share"] == 0
    assert {model.config.image_size for model in validator.measured} == {64}
    with pytest.raises(KeyboardInterrupt):
        student(tmp_path / "b", seams, Measures([0.5] * 5, stop_at=3))
    assert (tmp_path / "b" / CHECKPOINT).is_file()
    again = Measures([0.1, 0.2, 0.3, 0.4, 0.1])
    middle, record = student(tmp_path / "b", seams, again, Pictures())
    assert same(without_pooling(weights_of(again.measured[1])), end) and record["kept_share"] == 0.5
    assert same(average_weights(start, end, 0.5), middle)


@pytest.mark.slow
def test_a_given_share_needs_no_measurement(tmp_path, seams):
    validator = Measures([])
    assert student(tmp_path / "a", seams, validator, share=0.0)[1] == {"kept_share": 0.0}
    assert student(tmp_path / "b", seams, validator, share=1.0)[1] is None


def test_a_pretrained_start_and_that_of_a_run_are_measured():
    def chooses(model, start):
        return StudentSettings(model, ObjectiveConfig(), StructuralConfig(), CONFIG, start=start).chooses_share("here")

    assert chooses(MODEL, StartConfig()) and chooses(ModelConfig(), StartConfig(Path("builtin")))
    assert not chooses(ModelConfig(), StartConfig()) and not chooses(MODEL, None)


def test_the_weights_in_the_box_start_a_training_of_the_default_recipe():
    recipe = {name: value for name, value in read_recipe("student", "lite").items() if name in vars(MODEL)}
    start = StartConfig(Path("builtin"))
    settings = StudentSettings(ModelConfig(**recipe), ObjectiveConfig(), StructuralConfig(), CONFIG, start=start)
    assert same(load_start(settings, CPU).state_dict(), load_student(Path("builtin"), CPU).state_dict())
    assert load_start(replace(settings, start=StartConfig()), CPU) is None
    with pytest.raises(VprError, match="--backbone tf_efficientnet_lite0 .*; or another --start"):
        load_start(replace(settings, model=ModelConfig()), CPU)


def test_the_city_that_chooses_the_share_belongs_to_the_run(tmp_path):
    def identity(held_out, share):
        settings = StudentSettings(MODEL, ObjectiveConfig(), StructuralConfig(), CONFIG, start=StartConfig(None, share))
        return run_identity("vpr.scratch", settings, TrainingData(tmp_path, photos(), {}, HeldOut(held_out)))

    assert identity("cph", None)["validated_on"] == "cph"
    assert "validated_on" not in identity("", None) and "validated_on" not in identity("cph", 0.5)


def teacher(folder, seams, validator, share=None):
    """The weights of a NetVLAD that was trained from ImageNet's, and what its metrics.json says of the kept share."""
    seams.replace("vpr.distill.teacher.load_images", lambda *rest: Pictures())
    start = StartConfig(None, share)
    settings = TeacherSettings(NETVLAD, ObjectiveConfig(), SHORT, WhiteningConfig(), start)
    data = TrainingData(folder, photos(), {}, HeldOut("somewhere"))
    model = fit_teacher(settings, data, folder, launch_fabric(CPU), overwrite=False, validator=validator)
    record = json.loads((folder / METRICS).read_text()).get("average_with_start")
    return {name: value for name, value in weights_of(model).items() if not name.startswith("WPCA.")}, record


@pytest.mark.slow
def test_a_teacher_that_gains_nothing_keeps_its_start(tmp_path, seams, caplog):
    caplog.set_level(logging.INFO)
    validator = Measures([0.5, 0.4, 0.1, 0.2, 0.3])
    kept, record = teacher(tmp_path / "a", seams, validator)
    end, end_record = teacher(tmp_path / "b", seams, Measures([]), share=1.0)
    assert record["kept_share"] == 0 and end_record is None
    assert "end of the training: R@1 40.0 % on here, 50.0 % on elsewhere" in caplog.text
    with pytest.raises(KeyboardInterrupt):
        teacher(tmp_path / "c", seams, Measures([0.5] * 5, stop_at=3))
    middle, record = teacher(tmp_path / "c", seams, Measures([0.1, 0.2, 0.3, 0.4, 0.1]))
    assert record["kept_share"] == 0.5
    assert same(average_weights(kept, end, 0.5), middle) and not same(kept, end)
