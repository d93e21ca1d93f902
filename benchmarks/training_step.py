"""The overhead of a training step: ``python -m benchmarks.training_step [--data DIR] [--steps N]``.

Our trainer trains one network (recipe `lite`, 112 pixels, 8 x 4 photos) with and without augmentation, from memory and
from JPEG files of 640 x 480 pixels. A bare loop trains the same network: forward, losses, backward and optimiser on one
prepared batch. The steps of all alternate. Prints medians of milliseconds per step. The difference is the time for
reading, augmentation, pairs, checks and the trainer.
"""

import argparse
import dataclasses
import functools
import operator
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from vpr.base.machine import choose_device
from vpr.base.processes import launch_fabric
from vpr.description.images import read_image
from vpr.distill.data import load_images, training_data
from vpr.distill.head_initialisation import initialise_whitening
from vpr.distill.losses.metric_loss import MetricLoss
from vpr.distill.losses.objective import Objective, Targets
from vpr.distill.sampling.places import Guard, Places
from vpr.distill.settings import (
    Augmentation,
    DistillationConfig,
    ObjectiveConfig,
    RunOptions,
    StructuralConfig,
    TrainConfig,
)
from vpr.distill.training.trainer import Trainer
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel

TRUNK = ModelConfig(
    "tf_efficientnet_lite0", weights="imagenet", head="whitening", dim=112, grid=7, image_size=112, pooling="vlad"
)


class SamePhoto(Dataset[torch.Tensor]):
    """One photo of 640 x 480 pixels, decoded at each access."""

    def __init__(self, folder: str, size: tuple[int, int]) -> None:
        self.path, self.size = Path(folder) / "a.jpg", size
        coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(self.path, quality=90)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(read_image(self.path, self.size).transpose(2, 0, 1).copy())


def main() -> None:
    """Measure, and print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        measure(folder)


def measure(folder: str) -> None:
    """Measure, and print the medians. folder: for a photo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    device, data = choose_device("auto"), training_data(RunOptions(arguments.data))
    fabric, places = launch_fabric(device), Places(data.photos, Guard())
    config = TrainConfig(steps=2 * arguments.steps, learning_rate=3e-4, minings=0, checkpoint_every=10**6)
    images = load_images(data, StructuralModel(TRUNK))
    for number in range(len(images)):  # decoded images stay in memory, as after the first epoch of a training
        images[number]

    photos = SamePhoto(folder, (TRUNK.image_size, TRUNK.image_size))

    def trainer(augment: Augmentation, read_from: Any = images) -> Trainer:
        torch.manual_seed(0)
        model = StructuralModel(TRUNK).to(device).to(memory_format=torch.channels_last)
        initialise_whitening(model, images, device, 0)
        structural = StructuralConfig(structural_negatives=10, structural_from=0.0)
        metric_loss = MetricLoss(ObjectiveConfig(), TRUNK.global_length, int(places.cells.max()) + 1)
        objective = Objective(metric_loss, structural, DistillationConfig(keep_weight=10.0))
        return Trainer(model, places, read_from, objective, dataclasses.replace(config, augment=augment), fabric)

    steps: dict[str, Iterator[Any]] = {
        "trainer": trainer("medium").train_to(2 * arguments.steps),
        "without augmentation": trainer("none").train_to(2 * arguments.steps),
        "without it, reading photos": trainer("none", photos).train_to(2 * arguments.steps),
        "bare loop": bare_steps(trainer("none")),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(arguments.steps):
        for name, work in steps.items():
            start = time.perf_counter()
            next(work)
            if number >= 5:  # after a warm-up
                times[name].append(1000 * (time.perf_counter() - start))
    for name, milliseconds in times.items():
        ratio = np.median(np.array(milliseconds) / np.array(times["bare loop"]))
        print(f"{name}: {np.median(milliseconds):.1f} ms per step, {ratio:.3f} of the bare loop")


def bare_steps(trainer: Trainer) -> Iterator[None]:
    """Training steps of the trainer's network and losses, on one prepared batch."""
    photos = trainer.sampler.batch(0)
    images = torch.stack([trainer.images[photo] for photo in photos.tolist()]).to(memory_format=torch.channels_last)
    batch, images = trainer.photo_batch(photos), images.to(trainer.fabric.device)
    pairs = batch.pairs()
    prepared_batch = dataclasses.replace(batch, find_pairs=lambda *_: pairs)
    trainer.network.train()
    while True:
        trainer.optimizer.zero_grad(set_to_none=True)
        described = trainer.network(images)
        terms = trainer.objective(described, Targets(prepared_batch, None, trainer.initial_patches(images), 0.5))
        functools.reduce(operator.add, terms.values()).backward()
        trainer.optimizer.step()
        yield


if __name__ == "__main__":
    main()
