"""Training from Python, as ``python -m vpr.scratch`` and ``python -m vpr.distill`` do it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from vpr.base.command import close_log_files
from vpr.base.outputs import check_outputs
from vpr.base.recipes import default_recipe, read_recipe
from vpr.base.settings import fill_stages
from vpr.distill.commands import run_student
from vpr.distill.distillation_targets import TeacherSource
from vpr.distill.settings import (
    DistillationConfig,
    DistillOptions,
    ObjectiveConfig,
    RunOptions,
    StartConfig,
    StructuralConfig,
    StudentSettings,
    TrainConfig,
)
from vpr.eval.calibration.validator import Validator
from vpr.models.settings import HubOptions, ModelConfig
from vpr.run import Run, load

FITTED = "netvlad"  # the teacher that is fitted before the student is trained


def train(
    out: str | Path,
    data: str | Path | None = None,
    *,
    teacher: str | Path | None = None,
    recipe: str | None = None,
    **options: Any,
) -> Run:
    """Train the structural model into a run folder, and load it.

    out: the run folder; an interrupted training in it continues, and a complete one of the same settings is loaded.
    data: the root of an MSLS tree; None takes mini-MSLS, rendered on first use. teacher: None trains without a teacher,
    as ``python -m vpr.scratch`` does. Otherwise as ``python -m vpr.distill --teacher``: a run of ``vpr.teacher``, a
    NetVLAD checkpoint, 'builtin', descriptors of the photos, or a model of torch.hub; 'netvlad' fits a NetVLAD first.
    recipe: a built-in recipe; None for the command's default. options: other options of the command by name, such as
    ``steps=3000``, ``cities=("tokyo",)``, ``backbone="resnet50"``, ``seed=1`` or ``device="cpu"``.

    Raises VprError for input that is missing or damaged, and if ``out`` holds a run of other settings, unless
    ``overwrite=True``; TypeError for an unknown option, and ValueError for a value of the wrong type or out of range.
    """
    stages: list[Any] = [RunOptions, StartConfig, ModelConfig, ObjectiveConfig, StructuralConfig, TrainConfig]
    given: dict[str, Any] = {"out": Path(out), "data": data, **options}
    if teacher is not None:
        stages += [DistillOptions, HubOptions, DistillationConfig]
        given["teacher"] = None if str(teacher) == FITTED else str(teacher)
    name = default_recipe("backbone" in options) if recipe is None else recipe
    fields = {field for stage in stages for field in stage.__dataclass_fields__}
    values = {field: value for field, value in read_recipe("student", name).items() if field in fields}
    filled = fill_stages(stages, {**values, **given})
    check_outputs(filled)
    with close_log_files():
        fabric = _train(*filled)
    return load(out, fabric.device)


def _train(
    options: RunOptions,
    start: StartConfig,
    model: ModelConfig,
    objective: ObjectiveConfig,
    structural: StructuralConfig,
    config: TrainConfig,
    *distilling: Any,
) -> Fabric:
    """distilling: DistillOptions, HubOptions and DistillationConfig, if there is a teacher."""
    if not distilling:
        settings = StudentSettings(model, objective, structural, config, start=start)
        return run_student("vpr.scratch", settings, options, Validator.with_prior)
    teacher, hub, distillation = distilling
    settings = StudentSettings(model, objective, structural, config, distillation, start)
    load_teacher = partial(TeacherSource.load, teacher, hub, settings)
    return run_student("vpr.distill", settings, options, Validator.with_prior, load_teacher)
