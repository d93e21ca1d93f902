"""``python -m vpr.distill``: train the structural model, taught by a NetVLAD teacher."""

import argparse
import sys
from pathlib import Path

import torch

from datasets.default import data_root
from datasets.errors import DatasetError
from distill.data import RunConfig, TrainingData, training_data
from distill.objective import DistillationConfig, ObjectiveConfig
from distill.student import StudentSettings, check_lengths, run_identity, train_student
from distill.teacher import TeacherSettings, default_teacher, fit_teacher
from distill.trainer import TrainConfig, identity_of
from eval.calibration import validation
from vpr.command import fill, log_to, make_parser, run
from vpr.device import choose_device
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import ModelConfig
from vpr.runs import TEACHER, cache_spec, load_teacher, save_teacher, start_run

STAGES = (RunConfig, ModelConfig, ObjectiveConfig, TrainConfig, DistillationConfig)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = make_parser("vpr.distill", "Train the structural model, taught by a NetVLAD teacher.", *STAGES)
    parser.add_argument("--out", type=Path, default=Path("runs/distill"), help="run folder")
    parser.add_argument(
        "--teacher", type=Path, help="vpr.teacher run or NetVLAD checkpoint; fitted first, into OUT/teacher, when left out"
    )
    return run(_work, parser, argv, (DatasetError,))


def _work(arguments: argparse.Namespace) -> int:
    config, out = fill(RunConfig, arguments), arguments.out
    settings = StudentSettings(*(fill(stage, arguments) for stage in STAGES[1:]))
    device = choose_device(config.device)
    given = load_teacher(arguments.teacher, device) if arguments.teacher else None
    if given is not None:
        check_lengths(settings, given)
    data = training_data(data_root(config.data), config)
    to_fit = default_teacher(settings.train.seed, settings.model.dim)
    taught_by = {"fitted": identity_of(to_fit)} if given is None else {"fingerprint": cache_spec(given).fingerprint}
    if not start_run(out, run_identity("vpr.distill", settings, data, taught_by), config.overwrite):
        log_to(out)
        teacher = _teacher(given, to_fit, data, out, device)
        train_student(settings, data, out, device, validation(data.root, config.held_out, out, device), teacher)
    print(f"distilled: {out}")
    return 0


def _teacher(
    given: NetVLAD | None, to_fit: TeacherSettings, data: TrainingData, out: Path, device: torch.device
) -> NetVLAD:
    """The teacher that was given, kept in the run folder too, or a fitted one."""
    if given is None:
        return fit_teacher(to_fit, data, out / TEACHER, device, overwrite=False)
    save_teacher(given, out / TEACHER)
    return given


if __name__ == "__main__":
    sys.exit(main())
