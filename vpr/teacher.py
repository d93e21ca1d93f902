"""``python -m vpr.teacher``: fit the NetVLAD teacher (k-means, contrastive training, PCA whitening)."""

import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import option
from vpr.distill.settings import (
    TEACHER_OBJECTIVE,
    TEACHER_TRAIN,
    ObjectiveConfig,
    RunConfig,
    TeacherSettings,
    TrainConfig,
    WhiteningConfig,
)
from vpr.models.settings import TeacherConfig


@dataclass(frozen=True)
class Output:
    """Output."""

    out: Path = option(Path("runs/teacher"), "run folder")


STAGES = [Output, RunConfig, TeacherConfig, WhiteningConfig, TEACHER_OBJECTIVE, TEACHER_TRAIN]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    description = "Fit the NetVLAD teacher: k-means, contrastive training, PCA whitening."
    return run_command("vpr.teacher", description, STAGES, _work, argv, recipe_folder="teacher", parallel=True)


def _work(
    output: Output,
    config: RunConfig,
    teacher: TeacherConfig,
    whitening: WhiteningConfig,
    objective: ObjectiveConfig,
    train: TrainConfig,
) -> None:
    from vpr.base.machine import choose_device
    from vpr.base.processes import join, writing_first
    from vpr.distill.data import training_data
    from vpr.distill.teacher import check_photos, fit_teacher
    from vpr.distill.validations import check_validations
    from vpr.eval.held_out import HeldOut

    fabric = join(choose_device(config.device), train.precision)
    settings = TeacherSettings(teacher, objective, train, whitening)
    with fabric.rank_zero_first():  # mini-MSLS may have to be rendered
        data = training_data(config)
    check_photos(teacher.dim, len(data.photos.paths))
    check_validations(train, data.held_out)
    judge = HeldOut.of_city(data.root, data.held_out if train.validate_every else "", output.out, fabric.device)
    with writing_first(fabric, output.out):
        fit_teacher(settings, data, output.out, fabric, config.overwrite, judge)
    fabric.print(f"teacher: {output.out}")


if __name__ == "__main__":
    sys.exit(main())
