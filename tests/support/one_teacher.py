"""A command for tests: fit a small teacher by the processes that there are; each writes the fingerprint of its own."""

import os
from pathlib import Path

import torch

from vpr.base.processes import launch_fabric
from vpr.base.settings import Names
from vpr.distill.data import training_data
from vpr.distill.distillation_targets import teacher_fingerprint
from vpr.distill.settings import ObjectiveConfig, RunOptions, TeacherSettings, TrainConfig, WhiteningConfig
from vpr.distill.teacher import fit_teacher
from vpr.models.settings import TeacherConfig


def main(argv):
    """Fit it to the tree into the folder, both given."""
    tree, out = argv
    config, fabric = RunOptions(Path(tree), held_out=Names()), launch_fabric(torch.device("cpu"))
    train = TrainConfig(steps=2, places=4, images_per_place=2, minings=0)
    settings = TeacherSettings(TeacherConfig(clusters=4, dim=16), ObjectiveConfig(), train, WhiteningConfig())
    teacher = fit_teacher(settings, training_data(config), Path(out), fabric, overwrite=False)
    Path(f"rank{os.environ['RANK']}.txt").write_text(teacher_fingerprint(teacher))
    return 0
