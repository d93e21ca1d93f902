"""Models from run folders and checkpoints."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.base.run_folder import CONFIG, WEIGHTS, finish_run, read_config, read_metrics, start_run
from vpr.models.builtin import resolve_run, split_run
from vpr.models.netvlad import NetVLAD
from vpr.models.recorded import read_settings, student_config
from vpr.models.settings import TeacherConfig
from vpr.models.structural import StructuralModel
from vpr.models.weights import load_into, load_state, read_weights, save_weights

M = TypeVar("M", bound=nn.Module)

TEACHER = "teacher"  # folder of the teacher inside a distilled run


def load_student(folder: Path, device: torch.device) -> StructuralModel:
    """The structural model of a run by vpr.scratch or vpr.distill, in evaluation mode.

    Raises VprError if the run is missing, unfinished or of another kind, and for a form of the input that the network
    cannot have.
    """
    named, settings, folder = folder, student_config(folder), resolve_run(folder)
    model = _build(lambda: StructuralModel(settings, fill=False), folder)
    if split_run(named)[1]:
        _load_in_form(named, model, folder / WEIGHTS)
    else:
        load_into(model, folder / WEIGHTS)
    return model.to(device).eval()


def _load_in_form(named: Path, model: StructuralModel, path: Path) -> None:
    """Load weights into a model whose input has another form than in training; raises VprError if it cannot have it."""
    weights, wanted = read_weights(path), model.state_dict()
    if any(name in weights and weights[name].shape != value.shape for name, value in wanted.items()):
        problem = f"{named}: {model.config.backbone} with {model.config.pooling} pooling is made for one input size"
        raise VprError(problem, thing=named, remedy="leave @SIZExGRID out")
    load_state(model, weights, path)
    if model.config.grid > (side := model.features_side()):
        problem = f"{named}: a grid of {model.config.grid} is finer than the {side} features per side"
        raise VprError(
            problem, thing=named, remedy=f"give a grid of at most {side}, as @{model.config.image_size}x{side}"
        )


def load_teacher(source: Path, device: torch.device) -> NetVLAD:
    """The NetVLAD of a run folder, of the teacher inside a distilled run, or of a Patch-NetVLAD checkpoint file.

    The teacher inside a run has its own input size, whatever the form of the run. Raises VprError if there is no
    teacher, and for a form of a teacher.
    """
    named, source = source, resolve_run(source)
    if split_run(named)[1] and not (source / TEACHER / CONFIG).is_file():
        raise VprError(f"{named}: a teacher has one input size", thing=named, remedy="leave @SIZExGRID out")
    if source.is_file():
        return _teacher_from_checkpoint(source).to(device).eval()
    if (source / TEACHER / CONFIG).is_file():
        source = source / TEACHER
    config = read_config(source, "vpr.teacher")
    if "teacher" not in config:
        remedy = "pass a vpr.teacher run or a NetVLAD checkpoint"
        raise VprError(f"{source} has no teacher", thing=source, remedy=remedy)
    read_metrics(source)
    settings = read_settings(TeacherConfig, config["teacher"], source)
    model = _build(lambda: NetVLAD(settings, fill=False), source)
    model.whitened = True
    load_into(model, source / WEIGHTS)
    return model.to(device).eval()


def save_teacher(model: NetVLAD, out: Path) -> None:
    """Save a teacher, for example one from a checkpoint, as a run folder."""
    start_run(out, {"command": "vpr.teacher", "teacher": dataclasses.asdict(model.config)}, overwrite=False)
    finish_run(out, lambda path: save_weights(model, path), {})


def _build(create: Callable[[], M], folder: Path) -> M:
    """The model of a run's settings; raises VprError if they describe a model that cannot be built."""
    try:
        return create()
    except VprError:
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, MemoryError) as error:
        raise VprError(
            f"{folder / CONFIG} describes a model that cannot be built ({error})",
            thing=folder / CONFIG,
            remedy="train the run again",
        ) from error


def _teacher_from_checkpoint(path: Path) -> NetVLAD:
    """VGG16 NetVLAD with the clusters and dimensions of the checkpoint's tensors; 480 x 640, resized bilinearly.

    Source of the input size: the configuration of Patch-NetVLAD (Hausler et al., CVPR 2021), and torchvision's
    resizing.
    """
    weights = read_weights(path)
    missing = {"pool.centroids", "WPCA.0.weight", "WPCA.0.bias"} - weights.keys()
    if missing:
        lacking = ", ".join(sorted(missing))
        raise VprError(f"{path} is not a NetVLAD checkpoint with whitening: it lacks {lacking}", thing=path)
    clusters, dim = len(weights["pool.centroids"]), len(weights["WPCA.0.weight"])
    settings = TeacherConfig(
        "vgg16", clusters=clusters, dim=dim, image_height=480, image_width=640, interpolation="bilinear"
    )
    model = NetVLAD(settings)
    model.whitened = True
    load_state(model, weights, path)
    return model
