"""``python -m vpr.scratch``: train the structural model without a teacher."""

import sys
from dataclasses import dataclass
from pathlib import Path

from distill.settings import ObjectiveConfig, RunConfig, StructuralConfig, StudentSettings, TrainConfig
from vpr.base.command import log_to, run_command
from vpr.base.files import writing_alone
from vpr.base.run_folder import start_run
from vpr.base.settings import option
from vpr.models.settings import ModelConfig


@dataclass(frozen=True)
class Output:
    """Output."""

    out: Path = option(Path("runs/scratch"), "run folder")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [Output, RunConfig, ModelConfig, ObjectiveConfig, StructuralConfig, TrainConfig]
    return run_command(
        "vpr.scratch", "Train the structural model without a teacher.", stages, _work, argv, recipe_folder="student"
    )


def _work(
    output: Output,
    config: RunConfig,
    model: ModelConfig,
    objective: ObjectiveConfig,
    structural: StructuralConfig,
    train: TrainConfig,
) -> None:
    from distill.data import training_data
    from distill.student import calibrate_again, check_model, run_identity, train_student
    from eval.calibration import validation
    from vpr.base.machine import choose_device

    settings = StudentSettings(model, objective, structural, train)
    device, data = choose_device(config.device), training_data(config)
    check_model(settings)
    validate = validation(data.root, data.held_out, output.out, device)
    with writing_alone(output.out, wait=False):
        if start_run(output.out, run_identity("vpr.scratch", settings, data), config.overwrite):
            calibrate_again(output.out, data.held_out, device, validate)
        else:
            log_to(output.out)
            train_student(settings, data, output.out, device, validate)
    print(f"scratch: {output.out}")


if __name__ == "__main__":
    sys.exit(main())
