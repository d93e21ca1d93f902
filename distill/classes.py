"""``python -m vpr.retrieval``: train the structural model on class labels, without, then with the structural loss."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.machine import Device
from vpr.base.settings import NonNegativeFloat, NonNegativeInt, ShareBelowOne, option, output
from vpr.datasets.labels.options import LabelOptions
from vpr.distill.settings import (
    AverageConfig,
    DistillationConfig,
    ObjectiveConfig,
    StartConfig,
    StructuralConfig,
    StudentSettings,
    TrainConfig,
)
from vpr.models.settings import ModelConfig

COMMAND = "vpr.retrieval"
BASE = "base"  # folder of the first training, in the run folder


@dataclass(frozen=True)
class LabelRunOptions:
    """Run."""

    out: Path = output(
        Path("runs/retrieval"), "run folder; the training without the structural loss is in its base/", "folder"
    )
    held_out: ShareBelowOne = option(
        0.15, "share of the training classes held out to calibrate weight, mass and marginals; 0 holds none out"
    )
    struct_steps: NonNegativeInt = option(0, "steps of the training with the structural loss; 0: as many as --steps")
    keep_weight: NonNegativeFloat = option(
        0.0, "weight of the loss that keeps patch descriptors close to the initial model's (1 - cosine); 0 disables it"
    )
    device: Device = option("auto", "device to compute on")
    overwrite: bool = option(False, "replace a run with other settings")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(
        COMMAND,
        "Train the structural model on class labels: without the structural loss, then with it.",
        [LabelRunOptions, LabelOptions, AverageConfig, ModelConfig, ObjectiveConfig, StructuralConfig, TrainConfig],
        _work,
        argv,
        recipe_folder="retrieval",
        parallel=True,
    )


def _work(
    run: LabelRunOptions,
    labels: LabelOptions,
    average: AverageConfig,
    model: ModelConfig,
    objective: ObjectiveConfig,
    structural: StructuralConfig,
    train: TrainConfig,
) -> None:
    from vpr.base.machine import choose_device
    from vpr.base.processes import first_process_lock, launch_fabric
    from vpr.distill.class_data import class_data, hold_out
    from vpr.distill.runs import open_run, run_identity
    from vpr.distill.student import check_settings, train_student
    from vpr.distill.training.validation import check_validation
    from vpr.eval.calibration.validator import Validator
    from vpr.eval.labels.label_metrics import LABEL_CRITERION
    from vpr.models.loading import load_student

    fabric = launch_fabric(choose_device(run.device), train.precision)
    keep = DistillationConfig(keep_weight=run.keep_weight)
    start = StartConfig(None, average.average_with_start)
    plain = replace(model, patch_weights=False)  # they are learnt at the end
    first = StudentSettings(plain, objective, replace(structural, structural_weight=0.0), train, keep, start)
    longer = replace(train, steps=run.struct_steps or train.steps)
    second = StudentSettings(model, objective, replace(structural, structural_from=0.0), longer, keep, start)
    check_settings(second)
    with fabric.rank_zero_first():  # mini-retrieval may have to be rendered
        training = labels.load().training
    images, held_out = hold_out(training, run.held_out)
    data = class_data(images, labels.layout, held_out, training.fingerprint)
    sets = held_out.load()
    check_validation(train, held_out.name)

    base, out = run.out / BASE, run.out
    base_identity = run_identity(COMMAND, first, data, taught_by=None)
    identity = run_identity(COMMAND, second, data, taught_by={"base": base_identity})
    with first_process_lock(fabric, out):
        if not open_run(fabric, out, identity, run.overwrite):
            if not open_run(fabric, base, base_identity, overwrite=False, write_log=False):
                validator = Validator(sets, base, fabric.device, LABEL_CRITERION)
                train_student(first, data, base, fabric, validator)
            fabric.barrier()
            validator = Validator(sets, out, fabric.device, LABEL_CRITERION)
            initial = load_student(base, fabric.device)
            train_student(second, data, out, fabric, validator, initial=initial)
    fabric.print(f"retrieval: {out}")


if __name__ == "__main__":
    sys.exit(main())
