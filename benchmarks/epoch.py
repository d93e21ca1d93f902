"""What an epoch of training costs: ``python -m benchmarks.epoch [--recipes lite dinov2] [--photos N] [--batch N]``.

Measured on this machine for each recipe, in milliseconds a photo: decoding a JPEG of 640 x 480 pixels, describing it
(mining), and a step (forward, losses, backward, optimiser; without augmentation), in batches of ``--batch`` photos. An
epoch takes each photo once; a recipe's minings are spread over its steps. From the parts follow

- this machine: decoding, minings and steps one after the other, on the cores that it has;
- one and eight GPUs, an estimate: a step takes three times the operations that torch counts in a forward pass, and one
  more where patches are kept, at 300 TFLOP/s (bf16, 30 % of an H100's peak), while 16 cores for each GPU decode as fast
  as measured here for one. The slower of the two counts.

Networks start from random weights, which cost the same.
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
from vpr.description.describe import evaluating
from vpr.distill.losses.metric_loss import MetricLoss
from vpr.distill.losses.objective import Objective
from vpr.distill.sampling.mining import POOL
from vpr.distill.sampling.places import Guard, Photos, Places
from vpr.distill.settings import DistillationConfig, ObjectiveConfig, StructuralConfig, StudentSettings, TrainConfig
from vpr.distill.student import training_model_config
from vpr.distill.training.schedule import mining_steps
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
    parser.add_argument("--photos", type=int, default=1_400_000, help="of an epoch; about those of MSLS's training")
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    print(f"{usable_cores()} cores here; an epoch of {arguments.photos:,} photos; ms a photo, hours an epoch")
    print("| recipe | decode | describe | step | GFLOP a step | here | one H100 | eight |")
    print("|---|---|---|---|---|---|---|---|")
    for recipe in arguments.recipes:
        options = apply_recipe(known := make_parser("", "", STAGES), ["--recipe", recipe, "--weights", ""], "student")
        settings = StudentSettings(*parse(known, options, STAGES).stages)
        print(row(recipe, settings, arguments.photos, arguments.batch), flush=True)


def row(recipe: str, settings: StudentSettings, photos: int, batch: int) -> str:
    """A recipe's row of the table."""
    trainer = trainer_of(settings, batch)
    model, images = trainer.model, trainer.images.images.to(memory_format=torch.channels_last)  # type: ignore[attr-defined]
    steps = bare_steps(trainer)

    def described() -> None:
        with evaluating(model):
            model(images)

    with FlopCounterMode(display=False) as counter:
        described()
    forward = counter.get_total_flops() / batch
    flops = forward * (3 if trainer.initial_model is None else 4)

    decode, described_ms = decoding(model.input_size), median(described) / batch
    step = median(lambda: next(steps)) / batch
    train = settings.train
    per_step = train.places * train.images_per_place * train.accumulate
    cached = train.cached_queries + train.cached_negatives
    mined = len(mining_steps(train)) * (cached if train.mining == "tuples" else POOL) / (train.steps * per_step)
    here = decode / usable_cores() * (1 + mined) + described_ms * mined + step
    gpu = max(1000 * (flops + mined * forward) / GPU_FLOPS, decode / GPU_CORES * (1 + mined))
    hours = [photos * milliseconds / 3.6e6 for milliseconds in (here, gpu, gpu / 8)]
    shown = " | ".join(f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in hours)
    return f"| {recipe} | {decode:.1f} | {described_ms:.1f} | {step:.1f} | {flops / 1e9:.1f} | {shown} |"


def trainer_of(settings: StudentSettings, batch: int) -> Trainer:
    """A trainer of the recipe's network and losses on so many pictures, four a place."""
    torch.manual_seed(0)
    number, same = np.arange(batch), np.zeros(batch, int)
    unknown, never = np.full(batch, np.nan, np.float32), np.zeros(batch, bool)
    utm = np.stack([100.0 * (number // 4), number % 4], 1)
    photos = Photos(number.astype(str), utm, same, unknown, never, never)
    model = StructuralModel(training_model_config(settings)).to(memory_format=torch.channels_last)
    metric_loss = MetricLoss(settings.objective, settings.model.global_length, batch)
    objective = Objective(metric_loss, settings.structural, settings.distillation)
    config = TrainConfig(**{**vars(settings.train), "places": batch // 4, "images_per_place": 4, "mining": "places"})
    fabric = launch_fabric(torch.device("cpu"))
    return Trainer(model, Places(photos, Guard()), Noise(batch, model.input_size), objective, config, fabric)


def decoding(size: tuple[int, int]) -> float:
    """Milliseconds in which one core decodes a photo and brings it to the size."""
    with tempfile.TemporaryDirectory() as folder:
        photo = SamePhoto(folder, size)
        return median(lambda: [photo[number] for number in range(50)]) / 50


def median(work: Callable[[], object], repeats: int = 5) -> float:
    """The median of milliseconds that some calls take, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[1:]))


if __name__ == "__main__":
    main()
