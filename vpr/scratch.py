"""``python -m vpr.scratch``: train the structural model without a teacher."""

import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import option
from vpr.distill.settings import ObjectiveConfig, RunConfig, StructuralConfig, StudentSettings, TrainConfig
from vpr.models.settings import ModelConfig


@dataclass(frozen=True)
class Output:
    """Output."""

    out: Path = option(Path("runs/scratch"), "run folder")


STAGES = [Output, RunConfig, ModelConfig, ObjectiveConfig, StructuralConfig, TrainConfig]


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    description = "Train the structural model without a teacher."
    return run_command("vpr.scratch", description, STAGES, _work, argv, recipe_folder="student", parallel=True)


def _work(
    output: Output,
    config: RunConfig,
    model: ModelConfig,
    objective: ObjectiveConfig,
    structural: StructuralConfig,
    train: TrainConfig,
) -> None:
    from vpr.distill.commands import run_student
    from vpr.eval.calibration.validator import Validator

    settings = StudentSettings(model, objective, structural, train)
    run_student("vpr.scratch", settings, config, output.out, Validator.load_city)


if __name__ == "__main__":
    sys.exit(main())
