"""The cost of an epoch of training: ``python -m benchmarks.epoch [--recipes lite dinov2] [--photos N] [--batch N]``.

Measured on this machine for each recipe, in milliseconds a photo: decoding a JPEG of 640 x 480 pixels, describing it
(mining), and a step (forward, losses, backward, optimiser; without augmentation), in batches of ``--batch`` photos. An
epoch uses each photo once; the minings of a recipe are spread over its steps. From these parts it computes

- this machine: decoding, minings and steps one after the other, on all its cores;
- one and eight GPUs, an estimate: a step takes three times the operations that torch counts in a forward pass (four
  times with --keep-weight), at 300 TFLOP/s (bf16, 30 % of an H100's peak). Meanwhile 16 cores for each GPU decode, each
  as fast as measured here. The slower of the two counts.

Networks have random weights, which does not change the cost.
"""

import argparse
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training_step import SamePhoto, bare_steps
from vpr.base.machine import usable_cores
from vpr.base.processes import launch_fabric
from vpr.base.recipes import apply_recipe
from vpr.base.settings import make_parser, parse
from vpr.description.describe import evaluation_mode
from vpr.distill.losses.metric_loss import MetricLoss
from vpr.distill.losses.objective import Objective
from vpr.distill.sampling.mining import pool_size
from vpr.distill.sampling.places import Guard, Photos, Places
from vpr.distill.settings import DistillationConfig, ObjectiveConfig, StructuralConfig, StudentSettings, TrainConfig
from vpr.distill.student import training_model_config
from vpr.distill.training.schedule import mined_photos, mining_steps
from vpr.distill.training.trainer import Trainer
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel

GPU_FLOPS, GPU_CORES = 300e12, 16
STAGES = [ModelConfig, ObjectiveConfig, StructuralConfig, TrainConfig, DistillationConfig]


class Noise(Dataset):
    """Random pictures in memory."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        self.images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["lite", "resnet50", "dinov2", "paper"])
    parser.add_argument(
        "--photos",
        type=int,
        default=1_400_000,
        help="photos of an epoch; the default is about the training set of MSLS",
    )
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    print(f"{usable_cores()} cores here; an epoch of {arguments.photos:,} photos; ms a photo, hours an epoch")
    print("| recipe | decode | describe | step | GFLOP a step | here | one H100 | eight |")
    print("|---|---|---|---|---|---|---|---|")
    for recipe in arguments.recipes:
        options = apply_recipe(
            option_parser := make_parser("", "", STAGES), ["--recipe", recipe, "--weights", ""], "student"
        )
        settings = StudentSettings(*parse(option_parser, options, STAGES).stages)
        print(table_row(recipe, settings, arguments.photos, arguments.batch), flush=True)


def table_row(recipe: str, settings: StudentSettings, photos: int, batch: int) -> str:
    """The row of a recipe in the table."""
    trainer = make_trainer(settings, batch)
    model, images = trainer.model, trainer.images.images.to(memory_format=torch.channels_last)  # type: ignore[attr-defined]
    steps = bare_steps(trainer)

    def describe() -> None:
        with evaluation_mode(model):
            model(images)

    with FlopCounterMode(display=False) as counter:
        describe()
    forward = counter.get_total_flops() / batch
    flops = forward * (3 if trainer.initial_model is None else 4)

    decode, describe_ms = measure_decoding(model.input_size), median_ms(describe) / batch
    step = median_ms(lambda: next(steps)) / batch
    train = settings.train
    per_step = train.places * train.images_per_place * train.accumulate
    if train.mining == "tuples":
        mined = len(mining_steps(train)) * (train.cached_queries + train.cached_negatives)
    else:
        mined = sum(pool_size(photos, mined_photos(train, step)) for step in mining_steps(train))
    mined_share = mined / (train.steps * per_step)
    here_ms = decode / usable_cores() * (1 + mined_share) + describe_ms * mined_share + step
    gpu_ms = max(1000 * (flops + mined_share * forward) / GPU_FLOPS, decode / GPU_CORES * (1 + mined_share))
    hours = [photos * milliseconds / 3.6e6 for milliseconds in (here_ms, gpu_ms, gpu_ms / 8)]
    cells = " | ".join(f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in hours)
    return f"| {recipe} | {decode:.1f} | {describe_ms:.1f} | {step:.1f} | {flops / 1e9:.1f} | {cells} |"


def make_trainer(settings: StudentSettings, batch: int) -> Trainer:
    """A trainer of the network and losses of a recipe. batch: the number of pictures, four of each place."""
    torch.manual_seed(0)
    number, drives = np.arange(batch), np.zeros(batch, int)
    unknown, no_flags = np.full(batch, np.nan, np.float32), np.zeros(batch, bool)
    utm = np.stack([100.0 * (number // 4), number % 4], 1)
    photos = Photos(number.astype(str), utm, drives, unknown, no_flags, no_flags)
    model = StructuralModel(training_model_config(settings)).to(memory_format=torch.channels_last)
    metric_loss = MetricLoss(settings.objective, settings.model.global_length, batch)
    objective = Objective(metric_loss, settings.structural, settings.distillation)
    config = TrainConfig(**{**vars(settings.train), "places": batch // 4, "images_per_place": 4, "mining": "places"})
    fabric = launch_fabric(torch.device("cpu"))
    return Trainer(model, Places(photos, Guard()), Noise(batch, model.input_size), objective, config, fabric)


def measure_decoding(size: tuple[int, int]) -> float:
    """Milliseconds in which one core decodes a photo and resizes it."""
    with tempfile.TemporaryDirectory() as folder:
        photo = SamePhoto(folder, size)
        return median_ms(lambda: [photo[number] for number in range(50)]) / 50


def median_ms(work: Callable[[], object], repeats: int = 5) -> float:
    """The median of milliseconds of a call, after a warm-up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[1:]))


if __name__ == "__main__":
    main()
