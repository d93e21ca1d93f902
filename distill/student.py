"""One training run of the structural model, from settings to a finished run folder."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from vpr.base.command import log_to
from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.base.run_folder import CHECKPOINT, METRICS, finish_run, read_metrics, start_run
from vpr.distill.contrast import Contrast, check, check_structure
from vpr.distill.data import TrainingData, load_images
from vpr.distill.head import start_head, start_summary, start_whitening
from vpr.distill.objective import Objective
from vpr.distill.parts import parameter_groups
from vpr.distill.places import Guard, Places
from vpr.distill.settings import StudentSettings, identity_of
from vpr.distill.trainer import Trainer
from vpr.distill.validations import Judge
from vpr.models.loading import load_student
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel, resized
from vpr.models.weights import save_weights

log = logging.getLogger("vpr")


def train_student(
    settings: StudentSettings,
    data: TrainingData,
    out: Path,
    fabric: Fabric,
    judge: Judge,
    targets: np.ndarray | None = None,
    start: StructuralModel | None = None,
) -> StructuralModel:
    """Train a student into the run folder ``out``, which `start_run` has made; with targets, distilled.
    Of several processes the first finishes and writes it.

    targets: a teacher's descriptors of the training photos (N, C) float32. judge: validates on the way, and calibrates
    the finished model. start: a finished model of the same settings to start from, instead of its backbone's weights.
    """
    device = fabric.device
    torch.manual_seed(settings.train.seed)
    small = in_training(settings)
    model = StructuralModel(small) if start is None else resized(start, small.image_size, small.grid)
    model = model.to(device).to(memory_format=torch.channels_last)
    images = load_images(data, model, settings.train.workers)
    # The start is made after an interruption too: `keep` goes by it.
    if start is not None:
        start_summary(model, images, device, settings.train.seed)
    elif settings.model.head == "whitening":
        start_whitening(model, images, device, settings.train.seed)
    else:
        start_head(model, images, device, settings.train.seed, targets)
    places = Places(data.photos, Guard())
    contrast = Contrast(settings.objective, settings.model.global_length, int(places.cells.max()) + 1)
    objective = Objective(contrast, settings.structural, settings.distillation)
    trainer = Trainer(model, places, images, objective, settings.train, fabric)
    losses = trainer.train(out / CHECKPOINT, targets, judge.score)
    if not fabric.is_global_zero:
        return model
    if settings.model.train_size:
        model = resized(model, settings.model.image_size, settings.model.grid)
        images = load_images(data, model, settings.train.workers)
    start_summary(model.eval(), images, device, settings.train.seed)
    metrics = {"losses": losses, **trainer.validations.metrics(), **judge.calibrate(model)}
    finish_run(out, lambda path: save_weights(model, path), metrics)
    return model


def begin(out: Path, identity: dict, overwrite: bool, fabric: Fabric, calibrate: Callable[[], None]) -> bool:
    """Make the run folder by the first process, or take up what is there; returns whether anything is left to train.

    calibrate: what the first process does with a complete run. Errors as `start_run`.
    """
    first = fabric.is_global_zero
    complete = fabric.broadcast(first and start_run(out, identity, overwrite))
    if first and complete:
        calibrate()
    elif first:
        log_to(out)
    return not complete


def calibrate_again(out: Path, judge: Judge, device: torch.device) -> None:
    """Bring the calibration of a complete run to another held-out city; nothing where it is of that city already.

    The weights stay as they are.
    """
    metrics = read_metrics(out)
    fixed_on = metrics.pop("calibration", {})
    if isinstance(fixed_on, dict) and fixed_on.get("city", "") == judge.city:
        return
    log.info("%s stays as it was trained; its weight of S_struct is fixed anew", out)
    write_json(out / METRICS, {**metrics, **judge.calibrate(load_student(out, device))})


def in_training(settings: StudentSettings) -> ModelConfig:
    """The model's configuration while it is trained, at ``train_size`` pixels."""
    model, size = settings.model, settings.model.train_size
    if not size:
        return model
    return replace(model, image_size=size, grid=max(1, round(model.grid * size / model.image_size)))


def check_model(settings: StudentSettings) -> None:
    """Build the network once and look at one image: a wrong name, weights that do not fit, a missing class token, a
    size that it cannot take or a grid finer than its features are found before training. So are losses, miners and
    memories that do not go together, and layers that it lacks.

    Raises VprError as the model does.
    """
    check(settings.objective)
    if settings.structural.structural_in == "metric":
        check_structure(settings.objective)
    model = StructuralModel(in_training(settings))
    parameter_groups(model, settings.train)
    if settings.model.train_size:
        model = resized(model, settings.model.image_size, settings.model.grid)
    side, grid = model.features_side(), settings.model.grid
    if grid > side:
        raise VprError(
            f"--grid {grid} is finer than the {side} x {side} features of {settings.model.backbone}; "
            f"pass --grid {side} or less, or a larger --image-size"
        )


def check_lengths(settings: StudentSettings, taught: int) -> None:
    """Raise VprError when regression is asked for and the two descriptors differ in length; the teacher's is given."""
    follows = settings.distillation is not None and settings.distillation.distillation == "regression"
    length = settings.model.global_length
    if follows and taught != length:
        name = "global-dim" if settings.model.summarises else "dim"
        raise VprError(
            f"the teacher's descriptors have {taught} dimensions, the student's {length}; "
            f"pass --{name} {taught} or --distillation relational"
        )


def run_identity(command: str, settings: StudentSettings, data: TrainingData, taught_by: dict | None = None) -> dict:
    """The ``run`` part of config.json: what makes two runs the same."""
    identity = {"command": command, "data": data.identity, **identity_of(settings), "taught_by": taught_by}
    return {**identity, "validated_on": data.held_out} if settings.train.validate_every else identity
