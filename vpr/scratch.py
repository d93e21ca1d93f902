"""``python -m vpr.scratch``: train the structural model without a teacher."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import option
from vpr.distill.settings import ObjectiveConfig, RunConfig, StructuralConfig, StudentSettings, TrainConfig
from vpr.models.settings import ModelConfig


@dataclass(frozen=True)
class Output:
    """Output."""

    out: Path = option(Path("runs/scratch"), "run folder")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [Output, RunConfig, ModelConfig, ObjectiveConfig, StructuralConfig, TrainConfig]
    return run_command(
        "vpr.scratch",
        "Train the structural model without a teacher.",
        stages,
        _work,
        argv,
        recipe_folder="student",
        parallel=True,
    )


def _work(
    output: Output,
    config: RunConfig,
    model: ModelConfig,
    objective: ObjectiveConfig,
    structural: StructuralConfig,
    train: TrainConfig,
) -> None:
    from vpr.base.machine import choose_device
    from vpr.base.processes import join, writing_first
    from vpr.distill.data import training_data
    from vpr.distill.student import begin, calibrate_again, check_model, run_identity, train_student
    from vpr.distill.validations import check_validations
    from vpr.eval.held_out import HeldOut

    settings = StudentSettings(model, objective, structural, train)
    fabric = join(choose_device(config.device), train.precision)
    with fabric.rank_zero_first():  # mini-MSLS may have to be rendered
        data = training_data(config)
    check_model(settings)
    out, device = output.out, fabric.device
    check_validations(train, data.held_out)
    judge = HeldOut.of_city(data.root, data.held_out, out, device)
    identity = run_identity("vpr.scratch", settings, data)
    with writing_first(fabric, out):
        again = partial(calibrate_again, out, judge, device)
        if begin(out, identity, config.overwrite, fabric, again):
            train_student(settings, data, out, fabric, judge)
    fabric.print(f"scratch: {out}")


if __name__ == "__main__":
    sys.exit(main())
