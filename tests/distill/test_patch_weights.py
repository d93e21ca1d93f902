"""Learning weights of patches: what does not tell places apart counts less."""

import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training import CONFIG, CPU, Pictures, Scores, photos

from vpr.base.processes import launch_fabric
from vpr.base.run_folder import METRICS
from vpr.datasets.held_out import HeldOut
from vpr.description.batches import ImageDescriptors
from vpr.distill.data import TrainingData
from vpr.distill.runs import run_identity
from vpr.distill.sampling.places import Guard, Photos, Places
from vpr.distill.settings import ObjectiveConfig, StructuralConfig, StudentSettings, TrainConfig
from vpr.distill.student import train_student, training_model_config
from vpr.distill.training import patch_weights
from vpr.distill.training.patch_weights import learn_patch_weights
from vpr.models.patch_weights import SPAN
from vpr.models.structural import ModelConfig

TINY = ModelConfig(dim=8, grid=2, image_size=32, patch_weights=True)
PLACES, EACH, PATCHES, DIM = 30, 4, 9, 16
ROAD = 3  # patches that look alike in all photos


def places_of(count=PLACES):
    number = np.arange(count * EACH)
    utm = np.stack([100.0 * (number // EACH), 1.0 * (number % EACH)], 1)
    unknown, never = np.full(len(number), np.nan, np.float32), np.zeros(len(number), bool)
    return Places(Photos(number.astype(str), utm, number % 2, unknown, never, never), Guard())


def described():
    """Photos whose first patches look like a road, with a light of their own, and the others like their place."""
    rng = np.random.default_rng(0)
    road, own = rng.normal(size=(1, ROAD, DIM)), rng.normal(size=(PLACES, PATCHES - ROAD, DIM))
    number = np.arange(PLACES * EACH) // EACH
    patches = np.concatenate([np.repeat(road, len(number), 0), own[number]], 1)
    patches[:, :ROAD] += rng.normal(scale=0.4, size=(len(number), ROAD, DIM))
    patches[:, ROAD:] += rng.normal(scale=1.2, size=(len(number), PATCHES - ROAD, DIM))
    patches /= np.linalg.norm(patches, axis=-1, keepdims=True)
    globals_ = patches.mean(1) / np.linalg.norm(patches.mean(1), axis=-1, keepdims=True)
    return globals_.astype("f4"), patches.astype("f2")


@pytest.fixture
def learn(seams):
    globals_, patches = described()

    def from_memory(model, images, batches, device, title):
        for batch in batches:
            yield ImageDescriptors(globals_[batch], patches[batch])

    seams.replace("vpr.distill.training.patch_weights.describe", from_memory)
    model = SimpleNamespace(config=SimpleNamespace(dim=DIM), eval=lambda: model)

    def run(seed=0, places=None):
        return learn_patch_weights(model, places or places_of(), None, CPU, seed)

    return run


def test_the_road_counts_less(learn, monkeypatch):
    monkeypatch.setattr(patch_weights, "STEPS", 150)
    weights = learn()
    with torch.no_grad():
        found = weights(torch.from_numpy(described()[1].astype("f4"))).mean(0)
    assert float(found[:ROAD].max()) < 0.8 * float(found[ROAD:].min())


def test_a_seed_gives_the_same_weights_whatever_was_drawn_before(learn, monkeypatch):
    monkeypatch.setattr(patch_weights, "STEPS", 12)
    first = learn().state_dict()
    torch.rand(5)
    state = torch.get_rng_state()
    second, other = learn().state_dict(), learn(seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["out.weight"], other["out.weight"])


def test_too_few_places_leave_equal_weights(learn, caplog):
    with caplog.at_level(logging.WARNING, "vpr"):
        weights = learn(places=places_of(2))
    assert "no weights are learnt" in caplog.text
    assert not weights.out.weight.any()


def test_negatives_are_of_other_places_and_positives_of_the_same(monkeypatch):
    places = Places(photos(), Guard())
    pairs = patch_weights._draw_pairs(places, np.random.default_rng(0))
    known = np.unique(pairs)
    globals_ = np.random.default_rng(1).normal(size=(len(known), 5)).astype("f4")
    found = patch_weights._comparisons(places, known, pairs, globals_)
    utm = places.photos.utm[known]
    near = np.linalg.norm(utm[found.anchors] - utm[found.positives], axis=1)
    far = np.linalg.norm(utm[found.anchors][:, None] - utm[found.negatives], axis=2)
    assert near.max() <= 10 and far.min() > 25
    anchors, others = found.draw(np.random.default_rng(2))
    assert others.shape == (len(anchors), 1 + patch_weights.NEGATIVES)


@pytest.mark.slow
@pytest.mark.parametrize(("values", "share"), [([0.2, 0.5, 0.4, 0.9, 0.6], 0.5), ([0.9, 0.5, 0.4, 0.6, 0.8], 0.0)])
def test_held_out_data_choose_how_much_they_count(tmp_path, seams, monkeypatch, values, share):
    monkeypatch.setattr(patch_weights, "STEPS", 5)
    seams.replace("vpr.distill.student.load_images", lambda *rest: Pictures())
    settings = StudentSettings(TINY, ObjectiveConfig(), StructuralConfig(), replace(CONFIG, steps=1, minings=0))
    data, validator = TrainingData(tmp_path, photos(), {}, HeldOut("somewhere")), Measured(values)
    model = train_student(settings, data, tmp_path, launch_fabric(CPU), validator)
    assert validator.spans == pytest.approx([0, SPAN, 0.25 * SPAN, 0.5 * SPAN, 0.75 * SPAN])
    assert float(model.patch_weights.span) == pytest.approx(share * SPAN) and model.patch_weights.out.weight.any()
    record = json.loads((tmp_path / METRICS).read_text())["patch_weights"]
    assert record["kept_share"] == share and record["start"] == {"here": values[0]}
    assert run_identity("vpr.scratch", settings, data)["validated_on"] == "somewhere"


class Measured(Scores):
    """A validator whose measurements are given, and which keeps the spans of the weights that it measured."""

    def __init__(self, values):
        super().__init__()
        self.values, self.spans = values, []

    def measure(self, model):
        self.spans.append(float(model.patch_weights.span))
        return {"here": (np.arange(100) < 100 * self.values[len(self.spans) - 1]) * 1.0}


def test_a_model_in_training_has_none():
    settings = StudentSettings(TINY, ObjectiveConfig(), StructuralConfig(), TrainConfig())
    assert not training_model_config(settings).patch_weights
