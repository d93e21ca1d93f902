"""``python -m vpr.teacher``: fit the NetVLAD teacher (k-means, contrastive training, PCA whitening)."""

import argparse
import sys
from pathlib import Path

from datasets.default import data_root
from datasets.errors import DatasetError
from distill.data import RunConfig, training_data
from distill.objective import ObjectiveConfig
from distill.teacher import TEACHER_OBJECTIVE, TEACHER_TRAIN, TeacherSettings, WhiteningConfig, fit_teacher
from distill.trainer import TrainConfig
from vpr.command import fill, make_parser, run
from vpr.device import choose_device
from vpr.models.netvlad import TeacherConfig

STAGES = (RunConfig, TeacherConfig, WhiteningConfig, ObjectiveConfig, TrainConfig)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = make_parser("vpr.teacher", "Fit the NetVLAD teacher: k-means, contrastive training, PCA whitening.", *STAGES)
    parser.add_argument("--out", type=Path, default=Path("runs/teacher"), help="run folder")
    parser.set_defaults(**TEACHER_TRAIN, **TEACHER_OBJECTIVE)
    return run(_work, parser, argv, (DatasetError,))


def _work(arguments: argparse.Namespace) -> int:
    config = fill(RunConfig, arguments)
    settings = TeacherSettings(
        *(fill(stage, arguments) for stage in (TeacherConfig, ObjectiveConfig, TrainConfig, WhiteningConfig))
    )
    device = choose_device(config.device)
    data = training_data(data_root(config.data), config)
    fit_teacher(settings, data, arguments.out, device, config.overwrite)
    print(f"teacher: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
