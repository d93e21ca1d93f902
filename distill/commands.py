"""The work of the training commands on places, from options to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric

from vpr.base.machine import choose_device
from vpr.base.processes import first_process_lock, launch_fabric
from vpr.datasets.held_out import Sets
from vpr.description.model_spec import cache_spec
from vpr.distill.data import training_data
from vpr.distill.distillation_targets import TeacherSource
from vpr.distill.runs import open_run, run_identity
from vpr.distill.settings import RunOptions, StudentSettings, TeacherSettings
from vpr.distill.student import check_settings, load_start, recalibrate, train_student
from vpr.distill.teacher import check_image_count, check_teacher, fit_teacher
from vpr.distill.training.validation import Validator, check_validation

# From the held-out sets by name, the run folder, the device, and the run that the training starts from.
LoadValidator = Callable[[Sets, Path, torch.device, Path | None], Validator]


def run_student(
    command: str,
    settings: StudentSettings,
    options: RunOptions,
    load_validator: LoadValidator,
    load_teacher: Callable[[Fabric], TeacherSource] | None = None,
) -> Fabric:
    """Train a student into a run folder. If the run is complete and its held-out cities changed, calibrate it again.

    Returns the processes; the folder is complete for all of them. command: the module of the command, for config.json.
    load_teacher: loads the teacher of a distillation.
    """
    fabric = launch_fabric(choose_device(options.device), settings.train.precision)
    check_settings(settings)
    initial = load_start(settings, fabric.device)
    teacher = None if load_teacher is None else load_teacher(fabric)
    with fabric.rank_zero_first():  # mini-MSLS may have to be rendered
        data = training_data(options)
    if teacher is not None:
        teacher.check(data)
    check_validation(settings.train, data.held_out.name)
    out = options.out
    start = None if settings.start is None else settings.start.start
    validator = load_validator(data.held_out.load(), out, fabric.device, start)
    taught_by = None if teacher is None else teacher.identity(data)
    identity = run_identity(command, settings, data, taught_by=taught_by)
    if initial is not None:
        identity["started_from"] = cache_spec(initial).fingerprint
    with first_process_lock(fabric, out):
        if not open_run(fabric, out, identity, options.overwrite):
            targets = None if teacher is None else teacher.targets(data, out, fabric)
            train_student(settings, data, out, fabric, validator, targets, initial)
        elif fabric.is_global_zero:
            recalibrate(out, validator, fabric.device)
    fabric.barrier()
    return fabric


def run_teacher(settings: TeacherSettings, options: RunOptions, load_validator: LoadValidator) -> Fabric:
    """Fit a NetVLAD teacher into a run folder; returns the processes, as `run_student`."""
    fabric = launch_fabric(choose_device(options.device), settings.train.precision)
    check_teacher(settings)
    with fabric.rank_zero_first():  # mini-MSLS may have to be rendered
        data = training_data(options)
    check_image_count(settings.teacher.dim, len(data.photos.paths))
    check_validation(settings.train, data.held_out.name)
    held_out = data.held_out.load() if settings.depends_on(data.held_out.name) else {}
    out = options.out
    validator = load_validator(held_out, out, fabric.device, None)
    with first_process_lock(fabric, out):
        fit_teacher(settings, data, out, fabric, options.overwrite, validator)
    fabric.barrier()
    return fabric
