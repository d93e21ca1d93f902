"""Training of the structural model, from settings to the files of a finished run."""

from __future__ import annotations

import logging
from dataclasses import replace
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
from vpr.distill.training.parameter_groups import parameter_groups
from vpr.distill.training.teacher_descriptors import TeacherDescriptors
from vpr.distill.training.trainer import Trainer
from vpr.distill.training.validation import Validator
from vpr.models.loading import load_student
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel, resize_model
from vpr.models.weights import save_weights

log = logging.getLogger("vpr")


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
    places = Places(data.photos, Guard())
    metric_loss = MetricLoss(settings.objective, settings.model.global_length, int(places.cells.max()) + 1)
    objective = Objective(metric_loss, settings.structural, settings.distillation)
    trainer = Trainer(model, places, images, objective, settings.train, fabric)
    losses = trainer.train(out / CHECKPOINT, targets, validator.score)
    if not fabric.is_global_zero:
        return model
    if settings.model.train_size:
        model = resize_model(model, settings.model.image_size, settings.model.grid)
        images = load_images(data, model, settings.train.workers)
    fit_pooling(model.eval(), images, device, seed)
    metrics = {"losses": losses, **trainer.validations.metrics(), **validator.calibrate(model)}
    finish_run(out, lambda path: save_weights(model, path), metrics)
    return model


def recalibrate(out: Path, validator: Validator, device: torch.device) -> None:
    """Calibrate a complete run again if its held-out city changed. The weights of the model are kept."""
    metrics = read_metrics(out)
    calibration = metrics.pop("calibration", {})
    if isinstance(calibration, dict) and calibration.get("city", "") == validator.held_out:
        return
    log.info("%s is already trained; only the weight of S_struct is calibrated again", out)
    write_json(out / METRICS, {**metrics, **validator.calibrate(load_student(out, device))})


def training_model_config(settings: StudentSettings) -> ModelConfig:
    """The configuration of the model during training: images of ``train_size`` pixels, and a grid in proportion."""
    model, size = settings.model, settings.model.train_size
    if not size:
        return model
    return replace(model, image_size=size, grid=max(1, round(model.grid * size / model.image_size)))


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
    if settings.model.train_size:
        model = resize_model(model, settings.model.image_size, settings.model.grid)
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
