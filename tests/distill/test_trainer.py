"""The training loop: the same seed gives the same weights, also after an interruption."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training import CONFIG, CPU, EACH, OBJECTIVE, PLACES, Pictures, Scores, photos, same, train

from vpr.base.errors import VprError
from vpr.base.processes import launch_fabric
from vpr.base.run_folder import CHECKPOINT
from vpr.datasets.held_out import HeldOut
from vpr.distill.data import TrainingData
from vpr.distill.losses.metric_loss import MetricLoss
from vpr.distill.losses.objective import Objective
from vpr.distill.sampling.places import Guard, Places
from vpr.distill.settings import (
    DistillationConfig,
    ObjectiveConfig,
    StructuralConfig,
    StudentSettings,
    TrainConfig,
)
from vpr.distill.student import train_student, training_model_config
from vpr.distill.training.trainer import Trainer
from vpr.models.structural import ModelConfig, StructuralModel


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    images = Pictures()
    weights, losses = train(tmp_path_factory.mktemp("run") / "checkpoint.pt", images)
    return weights, losses, images.asked


def test_the_same_seed_gives_the_same_weights(undisturbed, tmp_path):
    torch.rand(7)  # whatever the state of the generators before
    assert same(train(tmp_path / "a.pt", Pictures())[0], undisturbed[0])


def test_another_seed_gives_other_weights(undisturbed, tmp_path):
    other = TrainConfig(**{**vars(CONFIG), "seed": 4})
    assert not same(train(tmp_path / "a.pt", Pictures(), other)[0], undisturbed[0])


def test_every_loss_is_reported(undisturbed):
    assert set(undisturbed[1]) == {"infonce", "structural"}
    assert all(np.isfinite(value) for value in undisturbed[1].values())


@pytest.mark.parametrize("share", [0.03, 0.4, 0.6, 0.95])
def test_an_interrupted_run_reaches_the_same_weights(undisturbed, tmp_path, share):
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint, Pictures(stop_at=int(share * undisturbed[2])))
    saved = torch.load(checkpoint, weights_only=True)["history"]["step"] if checkpoint.exists() else 0
    assert (saved > 0) == (share > 0.3) and saved < CONFIG.steps
    rest = Pictures()
    init = 1 if saved else 0  # a checkpoint brings its own weights
    assert same(train(checkpoint, rest, init=init)[0], undisturbed[0])
    assert saved == 0 or rest.asked < undisturbed[2]


@pytest.mark.slow
@pytest.mark.parametrize("objective", [ObjectiveConfig(memory=12, miner="semi-hard"), ObjectiveConfig("proxy-anchor")])
def test_an_interrupted_run_restores_memory_and_proxies(tmp_path, objective):
    whole = Pictures()
    expected = train(tmp_path / "a.pt", whole, objective=objective)[0]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b.pt", Pictures(stop_at=int(0.6 * whole.asked)), objective=objective)
    assert (tmp_path / "b.pt").is_file()
    assert same(train(tmp_path / "b.pt", Pictures(), init=1, objective=objective)[0], expected)
    assert not same(expected, train(tmp_path / "c.pt", Pictures())[0])


def test_an_interrupted_distillation_reaches_the_same_weights(tmp_path):
    targets = np.random.default_rng(0).standard_normal((PLACES * EACH, 8)).astype(np.float32)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    whole = Pictures()
    expected, losses = train(tmp_path / "a.pt", whole, teacher=targets)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b.pt", Pictures(stop_at=int(0.7 * whole.asked)), teacher=targets)
    weights, continued = train(tmp_path / "b.pt", Pictures(), teacher=targets, init=1)
    assert same(weights, expected) and continued == losses
    assert set(losses) == {"infonce", "structural", "distillation"}


@pytest.mark.parametrize("damage", [0.0, 0.5, 0.99, "other", "foreign", "late"])
def test_a_damaged_checkpoint_is_named_with_the_remedy(undisturbed, tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(path, Pictures(stop_at=int(0.9 * undisturbed[2])))
    state, data = torch.load(path, weights_only=True), path.read_bytes()
    if isinstance(damage, float):
        path.write_bytes(data[: int(damage * len(data))])
    else:
        late = {"step": CONFIG.steps + 1, "recent": []}
        damaged = {
            "other": {"model": {}},
            "foreign": {"history": "x"},
            "late": {"history": late},
        }
        state |= damaged[damage]
        torch.save(state, path)
    with pytest.raises(VprError, match="checkpoint.pt is .*; remove it"):
        train(path, Pictures())


@pytest.mark.parametrize("version", ["0.1.0", "later"])
def test_a_checkpoint_of_another_version_is_refused(undisturbed, tmp_path, version):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(path, Pictures(stop_at=int(0.9 * undisturbed[2])))
    state = torch.load(path, weights_only=True)
    if version == "later":
        state["format"] += 1
    else:  # no format, and step, losses and log beside the parts
        state = {name: state[name] for name in ("model", "optimizer", "objective", "precision", "validations")}
        state |= {"rates": {"rate": 1.0}, "step": 3, "recent": [{"infonce": 1.0}], "record": [{"step": 3}]}
    torch.save(state, path)
    with pytest.raises(VprError, match="checkpoint.pt was written by another version of vpr; remove it to train from"):
        train(path, Pictures())


@pytest.mark.slow
def test_an_interrupted_student_compares_with_the_same_initial_patches(tmp_path, seams):
    model = ModelConfig(dim=8, grid=2, image_size=32)
    keep = DistillationConfig(keep_weight=4.0)
    settings = StudentSettings(model, ObjectiveConfig(), StructuralConfig(), CONFIG, keep)

    def run(out, images):
        out.mkdir(exist_ok=True)
        seams.replace("vpr.distill.student.load_images", lambda *rest: images)
        return train_student(
            settings, TrainingData(tmp_path, photos(), {}, HeldOut()), out, launch_fabric(CPU), Scores()
        ).state_dict()

    whole = Pictures()
    expected = run(tmp_path / "a", whole)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", Pictures(stop_at=int(0.8 * whole.asked)))
    assert (tmp_path / "b" / CHECKPOINT).is_file()
    assert same(run(tmp_path / "b", Pictures()), expected)


def test_a_student_is_trained_small_and_finished_at_its_own_size(tmp_path, seams):
    model = ModelConfig("tf_efficientnet_lite0", stage=2, head="whitening", dim=8, grid=4, image_size=64, train_size=32)
    settings = StudentSettings(model, ObjectiveConfig(), StructuralConfig(), CONFIG)
    sizes, validator = [], Scores()

    def load(data, model, workers):
        sizes.append(model.input_size)
        return Pictures()

    seams.replace("vpr.distill.student.load_images", load)
    data = TrainingData(tmp_path, photos(), {}, HeldOut())
    student = train_student(settings, data, tmp_path, launch_fabric(CPU), validator)
    assert sizes == [(32, 32), (64, 64)] and training_model_config(settings).grid == 2
    assert (student.config.image_size, student.config.grid) == (64, 4) and validator.calibrated == [student]


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
    config = TrainConfig(**{**vars(CONFIG), "learning_rate": 1e30})
    with pytest.raises(VprError) as caught:
        train(tmp_path / "a.pt", Pictures(), config)
    assert "not a finite number at step" in str(caught.value) and "--learning-rate 1e+30" in str(caught.value)


def test_training_learns(tmp_path):
    config = TrainConfig(**{**vars(CONFIG), "steps": 40, "augment": "none", "checkpoint_every": 100})
    losses = train(tmp_path / "a.pt", Pictures(), config)[1]
    chance = np.log(1 + CONFIG.images_per_place * (CONFIG.places - 1))
    assert losses["infonce"] < 0.7 * chance


def lite(keep=None, rate=1.0):
    """A small trunk with a whitening head, and its trainer."""
    torch.manual_seed(0)
    model = StructuralModel(
        ModelConfig("tf_efficientnet_lite0", stage=2, head="whitening", dim=8, grid=2, image_size=32)
    )
    objective = Objective(MetricLoss(OBJECTIVE, 8, PLACES * EACH), StructuralConfig(structural_negatives=2), keep)
    config = TrainConfig(**{**vars(CONFIG), "steps": 3, "learning_rate": 3e-3, "backbone_rate": rate})
    return model, Trainer(model, Places(photos(), Guard()), Pictures(), objective, config, launch_fabric(CPU))


def test_a_backbone_of_rate_0_is_frozen_and_the_head_is_not(tmp_path):
    model, trainer = lite(rate=0.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = trainer.train(tmp_path / "a.pt")
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"} and "keep" not in losses


def test_a_larger_keep_weight_keeps_patches_closer(tmp_path):
    drift = []
    for weight in (1e-6, 100.0):
        model, trainer = lite(DistillationConfig(keep_weight=weight))
        losses = trainer.train(tmp_path / f"{weight}.pt")
        images = torch.stack([Pictures()[number] for number in range(8)])
        with torch.no_grad():
            now, then = (network.eval()(images).patch_descriptors for network in (model, trainer.initial_model))
        drift.append(float(1 - (now * then).sum(-1).mean()))
        assert losses["keep"] >= 0
    assert 0 < drift[1] < drift[0]


def test_gradients_of_several_batches_are_averaged(tmp_path, seams):
    """Twice the same batch is that batch once."""
    seams.replace("vpr.distill.sampling.batches.BatchSampler.batch", lambda sampler, number: np.arange(8))
    seams.replace(
        "vpr.distill.losses.objective.structural_loss",
        lambda described, *_: described.patch_descriptors.square().mean(),
    )
    once, twice = (
        train(tmp_path / f"{count}.pt", Pictures(), replace(CONFIG, steps=3, augment="none", accumulate=count))[0]
        for count in (1, 2)
    )
    names = [name for name in once if "running" not in name and "batches" not in name]  # what is trained
    assert max(float((once[name] - twice[name]).abs().max()) for name in names) < 1e-6


@pytest.mark.slow
def test_ema_weights_survive_an_interruption(tmp_path):
    config, whole = replace(CONFIG, ema=0.5), Pictures()
    expected = train(tmp_path / "a.pt", whole, config)[0]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b.pt", Pictures(stop_at=int(0.6 * whole.asked)), config)
    assert same(train(tmp_path / "b.pt", Pictures(), config, init=1)[0], expected)
    assert not same(train(tmp_path / "c.pt", Pictures())[0], expected)


def test_mixed_precision_keeps_whole_weights_and_nearly_the_losses(tmp_path):
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        model = StructuralModel(ModelConfig(dim=8, grid=2, image_size=32))
        objective = Objective(MetricLoss(OBJECTIVE, 8, PLACES * EACH), StructuralConfig(structural_from=0))
        config, fabric = replace(CONFIG, steps=1, minings=0), launch_fabric(CPU, precision)
        trainer = Trainer(model, Places(photos(), Guard()), Pictures(), objective, config, fabric)
        losses.append(trainer.train(tmp_path / f"{precision}.pt"))
        assert all(value.dtype == torch.float32 for value in model.parameters())
    whole, mixed = losses
    assert mixed != whole and all(mixed[name] == pytest.approx(whole[name], rel=0.05) for name in whole)


def test_a_precision_that_the_device_lacks_is_refused():
    with pytest.raises(VprError, match="--precision 16-mixed needs a GPU; pass --precision bf16-mixed"):
        launch_fabric(CPU, "16-mixed")
