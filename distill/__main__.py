"""``python -m vpr.distill``: train the structural model, taught by a NetVLAD teacher."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from vpr.base.command import run_command
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
from vpr.models.settings import HubOptions, ModelConfig

STAGES = [
    DistillOptions,
    HubOptions,
    RunOptions,
    StartConfig,
    ModelConfig,
    ObjectiveConfig,
    StructuralConfig,
    DistillationConfig,
    TrainConfig,
]


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(
        "vpr.distill",
        "Train the structural model, taught by a NetVLAD teacher.",
        STAGES,
        _work,
        argv,
        recipe_folder="student",
        parallel=True,
    )


def _work(teacher: DistillOptions, hub: HubOptions, options: RunOptions, *stages: Any) -> None:
    """stages: of the student's settings, in the order of `STAGES`."""
    from vpr.distill.commands import run_student
    from vpr.distill.distillation_targets import TeacherSource
    from vpr.eval.calibration.validator import Validator

    start, model, objective, structural, distillation, train = stages
    settings = StudentSettings(model, objective, structural, train, distillation, start)
    load_teacher = partial(TeacherSource.load, teacher, hub, settings)
    fabric = run_student("vpr.distill", settings, options, Validator.with_prior, load_teacher)
    fabric.print(f"distilled: {options.out}")


if __name__ == "__main__":
    sys.exit(main())
