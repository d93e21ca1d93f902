"""``python -m vpr.distill``: train the structural model, taught by a NetVLAD teacher."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import option
from vpr.distill.settings import (
    DistillationConfig,
    ObjectiveConfig,
    RunConfig,
    StructuralConfig,
    StudentSettings,
    TrainConfig,
    default_teacher,
    identity_of,
)
from vpr.models.settings import HubConfig, ModelConfig


@dataclass(frozen=True)
class DistillOptions:
    """Output and teacher."""

    out: Path = option(Path("runs/distill"), "run folder")
    teacher: Path | None = option(
        None,
        "vpr.teacher run, NetVLAD checkpoint, 'builtin', somebody's descriptors of the photos (.h5, .npy or folder), "
        "or hub:OWNER/REPO:ENTRY, a model of torch.hub; fitted first, into OUT/teacher, when left out",
    )


STAGES = [
    DistillOptions,
    HubConfig,
    RunConfig,
    ModelConfig,
    ObjectiveConfig,
    StructuralConfig,
    DistillationConfig,
    TrainConfig,
]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
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
    hub: HubConfig,
    config: RunConfig,
    model: ModelConfig,
    objective: ObjectiveConfig,
    structural: StructuralConfig,
    distillation: DistillationConfig,
    train: TrainConfig,
) -> None:
    from vpr.base.machine import choose_device
    from vpr.base.processes import join, writing_first
    from vpr.description.foreign import ForeignDescriptors
    from vpr.distill.data import training_data
    from vpr.distill.student import (
        begin,
        calibrate_again,
        check_lengths,
        check_model,
        run_identity,
        train_student,
    )
    from vpr.distill.targets import Teacher, fingerprint_of, load_any, teacher_targets
    from vpr.distill.teacher import check_photos, fit_teacher
    from vpr.distill.validations import check_validations
    from vpr.eval.held_out import HeldOut
    from vpr.models.loading import TEACHER, save_teacher
    from vpr.models.netvlad import NetVLAD

    out, settings = options.out, StudentSettings(model, objective, structural, train, distillation)
    fabric = join(choose_device(config.device), train.precision)
    device = fabric.device
    teacher: Teacher | None = None
    if options.teacher is not None:
        with fabric.rank_zero_first():  # it may have to be fetched
            teacher = load_any(options.teacher, hub, device)
        check_lengths(settings, teacher.dim)
    check_model(settings)
    with fabric.rank_zero_first():  # mini-MSLS may have to be rendered
        data = training_data(config)
    to_fit = default_teacher(train.seed, model, len(data.photos.paths))
    if teacher is None:
        check_photos(to_fit.teacher.dim, len(data.photos.paths))
    if isinstance(teacher, ForeignDescriptors):
        teacher.of(data.photos.paths)  # one that is missing is found before anything is trained
    check_validations(train, data.held_out)
    judge = HeldOut.of_city(data.root, data.held_out, out, device)
    taught_by = {"fitted": identity_of(to_fit)} if teacher is None else {"fingerprint": fingerprint_of(teacher)}
    identity = run_identity("vpr.distill", settings, data, taught_by)
    with writing_first(fabric, out):
        again = partial(calibrate_again, out, judge, device)
        if begin(out, identity, config.overwrite, fabric, again):
            if teacher is None:
                teacher = fit_teacher(to_fit, data, out / TEACHER, fabric, overwrite=False)
            elif fabric.is_global_zero and isinstance(teacher, NetVLAD):
                save_teacher(teacher, out / TEACHER)
            targets = teacher_targets(teacher, data, out, fabric, train.workers)
            train_student(settings, data, out, fabric, judge, targets)
    fabric.print(f"distilled: {out}")


if __name__ == "__main__":
    sys.exit(main())
