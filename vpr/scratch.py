"""``python -m vpr.scratch``: train the structural model without a teacher."""

import sys
from pathlib import Path

from vpr.base.command import run_command
from vpr.distill.settings import (
    ObjectiveConfig,
    RunOptions,
    StartConfig,
    StructuralConfig,
    StudentSettings,
    TrainConfig,
)
from vpr.models.settings import ModelConfig

STAGES = [
    RunOptions(out=Path("runs/scratch")),
    StartConfig,
    ModelConfig,
    ObjectiveConfig,
    StructuralConfig,
    TrainConfig,
]


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    description = "Train the structural model without a teacher."
    return run_command("vpr.scratch", description, STAGES, _work, argv, recipe_folder="student", parallel=True)


def _work(
    options: RunOptions,
    start: StartConfig,
    model: ModelConfig,
    objective: ObjectiveConfig,
    structural: StructuralConfig,
    train: TrainConfig,
) -> None:
    from vpr.distill.commands import run_student
    from vpr.eval.calibration.validator import Validator

    settings = StudentSettings(model, objective, structural, train, start=start)
    fabric = run_student("vpr.scratch", settings, options, Validator.with_prior)
    fabric.print(f"scratch: {options.out}")


if __name__ == "__main__":
    sys.exit(main())
