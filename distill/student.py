"""Training of the structural model, from settings to the files of a finished run."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import torch
from lightning_fabric import Fabric

from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.base.run_folder import CHECKPOINT, METRICS, finish_run, read_metrics
from vpr.distill.data import TrainingData, load_images
from vpr.distill.head_initialisation import fit_pooling, initialise_head, initialise_whitening
from vpr.distill.losses.metric_loss import MetricLoss, check_memory, check_metric_structure, check_objective
from vpr.distill.losses.objective import Objective
from vpr.distill.sampling.places import Guard, Places
from vpr.distill.settings import StudentSettings
from vpr.distill.training.averaging import KeptShare, Measures, Weights, copy_weights, keep_share
from vpr.distill.training.parameter_groups import parameter_groups
from vpr.distill.training.patch_weights import learn_patch_weights
from vpr.distill.training.teacher_descriptors import TeacherDescriptors
from vpr.distill.training.trainer import Trainer
from vpr.distill.training.validation import Validator
from vpr.models.builtin import split_run
from vpr.models.loading import load_student
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel, resize_model
from vpr.models.weights import save_weights

log = logging.getLogger("vpr")

# Settings that a run must share with a training that starts from its weights; image size and grid may differ.
ARCHITECTURE = ("backbone", "stage", "weights", "head", "dim", "crop", "pooling", "clusters", "global_dim")


def train_student(
    settings: StudentSettings,
    data: TrainingData,
    out: Path,
    fabric: Fabric,
    validator: Validator,
    targets: TeacherDescriptors | None = None,
    initial: StructuralModel | None = None,
) -> StructuralModel:
    """Train a student into the run folder ``out``, which `open_run` has created. The first process writes the files.

    targets: a teacher's descriptors of the training photos, for distillation. validator: validates
    during the training, and calibrates the finished model. initial: a finished model of the same settings to start
    from, in place of the backbone's weights.
    """
    device, seed = fabric.device, settings.train.seed
    torch.manual_seed(seed)
    config = training_model_config(settings)
    if initial is not None:
        initial.set_patch_weights(None)  # they belong to its own descriptors
    model = StructuralModel(config) if initial is None else resize_model(initial, config.image_size, config.grid)
    model = model.to(device).to(memory_format=torch.channels_last)
    images = load_images(data, model, settings.train.workers)
    # repeated after an interruption, because the loss "keep" compares with the initial model
    if initial is not None:
        fit_pooling(model, images, device, seed)
    elif settings.model.head == "whitening":
        initialise_whitening(model, images, device, seed)
    else:
        initialise_head(model, images, device, seed, targets)
    start = copy_weights(model)
    places = Places(data.photos, Guard())
    metric_loss = MetricLoss(settings.objective, settings.model.global_length, int(places.cells.max()) + 1)
    objective = Objective(metric_loss, settings.structural, settings.distillation)
    trainer = Trainer(model, places, images, objective, settings.train, fabric)
    losses = trainer.train(out / CHECKPOINT, targets, validator.score)
    if not fabric.is_global_zero:
        return model
    kept = _average_with_start(model, trainer, start, settings, validator)
    if settings.model.train_size:
        model = finished_size(model, settings)
        images = load_images(data, model, settings.train.workers)
    fit_pooling(model.eval(), images, device, seed)
    record = {} if kept is None else {"average_with_start": kept.record()}
    if settings.model.patch_weights:
        with trainer.describing(model):
            model.set_patch_weights(learn_patch_weights(model, places, images, device, seed))
            record["patch_weights"] = _temper_patch_weights(model, validator).record()
    metrics = {"losses": losses, **trainer.validations.metrics(), **record, **validator.calibrate(model)}
    finish_run(out, lambda path: save_weights(model, path), metrics)
    return model


def _average_with_start(
    model: StructuralModel, trainer: Trainer, start: Weights, settings: StudentSettings, validator: Validator
) -> KeptShare | None:
    """Give the trained model the weights on the line from the start to its own that settings or validator choose.

    Returns None if it keeps its own without a choice.
    """
    given = None if settings.start is None else settings.start.average_with_start
    if given in (None, 1.0) and not settings.chooses_share(validator.held_out):
        return None

    def measure(averaged: StructuralModel) -> Measures:
        finished = finished_size(averaged, settings).eval()
        with trainer.describing(finished):
            return validator.measure(finished)

    return keep_share(model, start, given, measure)


def _temper_patch_weights(model: StructuralModel, validator: Validator) -> KeptShare:
    """Let the learnt weights of patches count as much as is best on held-out data, between not at all and fully.

    On photos unlike the training set, weights that count less are often better. Without held-out data they count fully.
    """
    equal = copy_weights(model)
    equal["patch_weights.span"].zero_()
    given = None if validator.held_out else 1.0
    if given is None:
        log.info("weights of patches: how much they count is chosen on held-out data; start: not at all; end: fully")
    return keep_share(model, equal, given, validator.measure, subject="learning weights of patches")


def finished_size(model: StructuralModel, settings: StudentSettings) -> StructuralModel:
    """The model at the input size at which it is used; itself if it is trained at that size."""
    return resize_model(model, settings.model.image_size, settings.model.grid) if settings.model.train_size else model


def recalibrate(out: Path, validator: Validator, device: torch.device) -> None:
    """Calibrate a complete run again if its held-out data changed. The weights of the model are kept."""
    metrics = read_metrics(out)
    calibration = metrics.pop("calibration", {})
    if isinstance(calibration, dict) and calibration.get("city", "") == validator.held_out:
        before = calibration.get("fingerprint")  # None in runs of earlier versions
        if before in (None, validator.fingerprint):
            return
    log.info("%s is already trained; only the weight of S_struct is calibrated again", out)
    write_json(out / METRICS, {**metrics, **validator.calibrate(load_student(out, device))})


def training_model_config(settings: StudentSettings) -> ModelConfig:
    """The configuration of the model during training: images of ``train_size`` pixels, a grid in proportion, and
    without weights of patches, which are learnt afterwards."""
    model, size = dataclasses.replace(settings.model, patch_weights=False), settings.model.train_size
    if not size:
        return model
    return model.resized(size)


def load_start(settings: StudentSettings, device: torch.device) -> StructuralModel | None:
    """The finished model that the training starts from; None if it starts from the backbone's weights.

    Raises VprError for a run that is missing or unfinished, and for another architecture.
    """
    start = None if settings.start is None else settings.start.start
    if start is None:
        return None
    bare, size, grid = split_run(start)
    if size:
        options = f"--image-size {size}" + (f" --grid {grid}" if grid else "")
        problem = f"--start {start}: the options of the training give the input size"
        raise VprError(problem, thing="--start", remedy=f"pass --start {bare} {options}")
    model = load_student(start, device)
    own = {name: getattr(settings.model, name) for name in ARCHITECTURE}
    other = {name: getattr(model.config, name) for name in ARCHITECTURE}
    if differing := [name for name in ARCHITECTURE if own[name] != other[name]]:
        options = " ".join(f"--{name.replace('_', '-')} {other[name] or repr('')}" for name in differing)
        problem = f"{start} has another architecture than this training"
        raise VprError(problem, thing="--start", remedy=f"pass its options: {options}; or another --start")
    log.info("starting from the weights of %s", start)
    return model


def check_settings(settings: StudentSettings) -> None:
    """Find errors in the settings before the teacher and the photos are read.

    Builds the network, and describes one image.

    Raises VprError for an unknown network, weights that do not fit, an image size that it cannot take, a grid finer
    than its features, missing layers, a loss, miner and memory that cannot be combined, and a memory smaller than a
    batch.
    """
    check_objective(settings.objective)
    check_memory(settings.objective, settings.train.batch_size)
    if settings.structural.structural_in == "metric":
        check_metric_structure(settings.objective)
    model = StructuralModel(training_model_config(settings))
    parameter_groups(model, settings.train)
    model = finished_size(model, settings)
    side, grid = model.features_side(), settings.model.grid
    if grid > side:
        raise VprError(
            f"--grid {grid} is finer than the {side} x {side} features of {settings.model.backbone}",
            thing="--grid",
            remedy=f"pass --grid {side} or less, or a larger --image-size",
        )


def check_descriptor_length(settings: StudentSettings, teacher: int) -> None:
    """Raise VprError if regression is impossible, because the descriptors of teacher and student differ in length."""
    length = settings.model.global_length
    if settings.distillation is None or settings.distillation.distillation != "regression" or teacher == length:
        return
    option = "global-dim" if settings.model.uses_summary else "dim"
    raise VprError(
        f"the teacher's descriptors have {teacher} dimensions, the student's {length}",
        thing=f"--{option}",
        remedy=f"pass --{option} {teacher} or --distillation relational",
    )
