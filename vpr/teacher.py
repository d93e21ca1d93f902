"""``python -m vpr.teacher``: fit the NetVLAD teacher (k-means, contrastive training, PCA whitening)."""

import sys
from pathlib import Path

from vpr.base.command import run_command
from vpr.distill.settings import (
    TEACHER_OBJECTIVE,
    TEACHER_TRAIN,
    AverageConfig,
    ObjectiveConfig,
    RunOptions,
    StartConfig,
    TeacherSettings,
    TrainConfig,
    WhiteningConfig,
)
from vpr.models.settings import TeacherConfig

STAGES = [
    RunOptions(out=Path("runs/teacher")),
    AverageConfig,
    TeacherConfig,
    WhiteningConfig,
    TEACHER_OBJECTIVE,
    TEACHER_TRAIN,
]


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    description = "Fit the NetVLAD teacher: k-means, contrastive training, PCA whitening."
    return run_command("vpr.teacher", description, STAGES, _work, argv, recipe_folder="teacher", parallel=True)


def _work(
    options: RunOptions,
    average: AverageConfig,
    teacher: TeacherConfig,
    whitening: WhiteningConfig,
    objective: ObjectiveConfig,
    train: TrainConfig,
) -> None:
    from vpr.distill.commands import run_teacher
    from vpr.eval.calibration.validator import Validator

    share = average.average_with_start
    is_pretrained = bool(teacher.weights and train.steps)  # others keep their end, unless a share is given
    start = StartConfig(None, share) if is_pretrained or share is not None else None
    settings = TeacherSettings(teacher, objective, train, whitening, start)
    fabric = run_teacher(settings, options, Validator.with_prior)
    fabric.print(f"teacher: {options.out}")


if __name__ == "__main__":
    sys.exit(main())
