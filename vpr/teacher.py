"""``python -m vpr.teacher``: fit the NetVLAD teacher (k-means, contrastive training, PCA whitening)."""

import sys
from pathlib import Path

from vpr.base.command import run_command
from vpr.distill.settings import (
    TEACHER_OBJECTIVE,
    TEACHER_TRAIN,
    ObjectiveConfig,
    RunOptions,
    TeacherSettings,
    TrainConfig,
    WhiteningConfig,
)
from vpr.models.settings import TeacherConfig

STAGES = [RunOptions(out=Path("runs/teacher")), TeacherConfig, WhiteningConfig, TEACHER_OBJECTIVE, TEACHER_TRAIN]


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    description = "Fit the NetVLAD teacher: k-means, contrastive training, PCA whitening."
    return run_command("vpr.teacher", description, STAGES, _work, argv, recipe_folder="teacher", parallel=True)


def _work(
    options: RunOptions,
    teacher: TeacherConfig,
    whitening: WhiteningConfig,
    objective: ObjectiveConfig,
    train: TrainConfig,
) -> None:
    from vpr.distill.commands import run_teacher
    from vpr.eval.calibration.validator import Validator

    settings = TeacherSettings(teacher, objective, train, whitening)
    fabric = run_teacher(settings, options, Validator.with_prior)
    fabric.print(f"teacher: {options.out}")


if __name__ == "__main__":
    sys.exit(main())
