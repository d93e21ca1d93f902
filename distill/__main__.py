"""``python -m vpr.distill``: train the structural model, taught by a NetVLAD teacher."""

from __future__ import annotations

import sys
from functools import partial

from vpr.base.command import run_command
from vpr.distill.settings import (
    DistillationConfig,
    DistillOptions,
    ObjectiveConfig,
    RunOptions,
    StructuralConfig,
    StudentSettings,
    TrainConfig,
)
from vpr.models.settings import HubOptions, ModelConfig

STAGES = [
    DistillOptions,
    HubOptions,
    RunOptions,
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


def _work(
    options: DistillOptions,
    hub: HubOptions,
    run_options: RunOptions,
    model: ModelConfig,
    objective: ObjectiveConfig,
    structural: StructuralConfig,
    distillation: DistillationConfig,
    train: TrainConfig,
) -> None:
    from vpr.distill.commands import run_student
    from vpr.distill.distillation_targets import TeacherSource
    from vpr.eval.calibration.validator import Validator

    settings = StudentSettings(model, objective, structural, train, distillation)
    load_teacher = partial(TeacherSource.load, options, hub, settings)
    fabric = run_student("vpr.distill", settings, run_options, Validator.load_city, load_teacher)
    fabric.print(f"distilled: {run_options.out}")


if __name__ == "__main__":
    sys.exit(main())
