"""``python -m vpr.scratch``: train the structural model without a teacher."""

import argparse
import sys
from pathlib import Path

from datasets.default import data_root
from datasets.errors import DatasetError
from distill.data import RunConfig, training_data
from distill.objective import ObjectiveConfig
from distill.student import StudentSettings, run_identity, train_student
from distill.trainer import TrainConfig
from eval.calibration import validation
from vpr.command import fill, log_to, make_parser, run
from vpr.device import choose_device
from vpr.models.structural import ModelConfig
from vpr.runs import start_run

STAGES = (RunConfig, ModelConfig, ObjectiveConfig, TrainConfig)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = make_parser("vpr.scratch", "Train the structural model without a teacher.", *STAGES)
    parser.add_argument("--out", type=Path, default=Path("runs/scratch"), help="run folder")
    return run(_work, parser, argv, (DatasetError,))


def _work(arguments: argparse.Namespace) -> int:
    config, out = fill(RunConfig, arguments), arguments.out
    settings = StudentSettings(*(fill(stage, arguments) for stage in STAGES[1:]))
    device = choose_device(config.device)
    data = training_data(data_root(config.data), config)
    if not start_run(out, run_identity("vpr.scratch", settings, data), config.overwrite):
        log_to(out)
        train_student(settings, data, out, device, validation(data.root, config.held_out, out, device))
    print(f"scratch: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
