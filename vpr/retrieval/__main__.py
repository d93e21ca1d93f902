"""``python -m vpr.retrieval``: train the structural model on class labels, without, then with the structural loss."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.machine import Device
from vpr.base.settings import BelowOne, NonNegativeFloat, NonNegativeInt, option
from vpr.datasets.labels.options import LabelOptions
from vpr.distill.settings import DistillationConfig, ObjectiveConfig, StructuralConfig, StudentSettings, TrainConfig
from vpr.models.settings import ModelConfig

BASE = "base"  # the run inside, which has no structural loss


@dataclass(frozen=True)
class LabelRun:
    """Run."""

    out: Path = option(Path("runs/retrieval"), "run folder; the training without the structural loss is in its base/")
    held_out: BelowOne = option(
        0.15, "share of the training classes kept out of training, on which weight, mass and marginals are fixed"
    )
    struct_steps: NonNegativeInt = option(0, "steps of the second training; 0: as many as the first")
    keep_weight: NonNegativeFloat = option(
        0.0, "weight of 1 - cosine of each patch descriptor with that of the network before training"
    )
    device: Device = option("auto", "where to compute")
    overwrite: bool = option(False, "replace a run of other settings")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(
        "vpr.retrieval",
        "Train the structural model on class labels: without the structural loss, then with it.",
        [LabelRun, LabelOptions, ModelConfig, ObjectiveConfig, StructuralConfig, TrainConfig],
        _work,
        argv,
        recipe_folder="retrieval",
        parallel=True,
    )


def _work(
    run: LabelRun,
    labels: LabelOptions,
    model: ModelConfig,
    objective: ObjectiveConfig,
    structural: StructuralConfig,
    train: TrainConfig,
) -> None:
    from vpr.base.machine import choose_device
    from vpr.base.processes import join, writing_first
    from vpr.base.run_folder import start_run
    from vpr.distill.labelled import hold_out, labelled_data
    from vpr.distill.student import begin, check_model, run_identity, train_student
    from vpr.distill.validations import check_validations
    from vpr.eval.held_out import HeldOut
    from vpr.eval.label_metrics import LABELS
    from vpr.models.loading import load_student

    fabric = join(choose_device(run.device), train.precision)
    device = fabric.device
    with fabric.rank_zero_first():  # mini-retrieval may have to be rendered
        training = labels.load().training
    images, apart = hold_out(training, run.held_out)
    of_all, kept = len(set(training.classes.tolist())), len(set(images.classes.tolist()))
    named = "" if apart is None else f"{of_all - kept} of {of_all} training classes"
    data = labelled_data(images, labels.layout, named, training.fingerprint)
    check_validations(train, named)
    keep = DistillationConfig(keep_weight=run.keep_weight)
    first = StudentSettings(model, objective, replace(structural, structural_weight=0.0), train, keep)
    second_train = replace(train, steps=run.struct_steps or train.steps)
    second = StudentSettings(model, objective, replace(structural, structural_from=0.0), second_train, keep)
    check_model(second)
    judge = partial(HeldOut, named, apart, device=device, judging=LABELS)
    before = run_identity("vpr.retrieval", first, data)
    with writing_first(fabric, run.out):
        own, base = judge(run.out), judge(run.out / BASE)
        identity = run_identity("vpr.retrieval", second, data, {"base": before})
        if begin(run.out, identity, run.overwrite, fabric, lambda: None):
            complete = fabric.is_global_zero and start_run(run.out / BASE, before, overwrite=False)
            if not fabric.broadcast(complete):
                train_student(first, data, run.out / BASE, fabric, base)
            fabric.barrier()
            train_student(second, data, run.out, fabric, own, start=load_student(run.out / BASE, device))
    fabric.print(f"retrieval: {run.out}")


if __name__ == "__main__":
    sys.exit(main())
