"""What a training step costs beside the network: ``python -m benchmarks.training_step [--data DIR] [--steps N]``.

The same network (recipe `lite`, 112 pixels, 8 x 4 photos) is trained by our trainer, with and without augmentation,
from memory and from JPEG files of 640 x 480 pixels, and by a bare loop: forward, losses, backward, optimiser on one
batch that is ready. All take turns; medians of milliseconds a step. What is between them is reading, augmentation,
pairs, checks and the trainer.
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
from vpr.base.processes import join
from vpr.description.images import read_image
from vpr.distill.contrast import Contrast
from vpr.distill.data import load_images, training_data
from vpr.distill.head import start_whitening
from vpr.distill.objective import Labels, Objective
from vpr.distill.places import Guard, Places
from vpr.distill.settings import (
    Augmentation,
    DistillationConfig,
    ObjectiveConfig,
    RunConfig,
    StructuralConfig,
    TrainConfig,
)
from vpr.distill.trainer import Trainer
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel

TRUNK = ModelConfig(
    "tf_efficientnet_lite0", weights="imagenet", head="whitening", dim=112, grid=7, image_size=112, pooling="vlad"
)


class SamePhoto(Dataset[torch.Tensor]):
    """One photo of 640 x 480 pixels, decoded anew each time."""

    def __init__(self, folder: str, size: tuple[int, int]) -> None:
        self.path, self.size = Path(folder) / "a.jpg", size
        coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(self.path, quality=90)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(read_image(self.path, self.size).transpose(2, 0, 1).copy())


def main() -> None:
    """Measure, and print both."""
    with tempfile.TemporaryDirectory() as folder:
        measure(folder)


def measure(folder: str) -> None:
    """As `main`; folder: for a photo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    device, data = choose_device("auto"), training_data(RunConfig(arguments.data))
    fabric, places = join(device), Places(data.photos, Guard())
    config = TrainConfig(steps=2 * arguments.steps, learning_rate=3e-4, minings=0, checkpoint_every=10**6)
    images = load_images(data, StructuralModel(TRUNK))
    for number in range(len(images)):  # they are kept in memory, as in a training's later epochs
        images[number]

    photos = SamePhoto(folder, (TRUNK.image_size, TRUNK.image_size))

    def trainer(augment: Augmentation, read_from: Any = images) -> Trainer:
        torch.manual_seed(0)
        model = StructuralModel(TRUNK).to(device).to(memory_format=torch.channels_last)
        start_whitening(model, images, device, 0)
        structural = StructuralConfig(structural_negatives=10, structural_from=0.0)
        contrast = Contrast(ObjectiveConfig(), TRUNK.global_length, int(places.cells.max()) + 1)
        objective = Objective(contrast, structural, DistillationConfig(keep_weight=10.0))
        return Trainer(model, places, read_from, objective, dataclasses.replace(config, augment=augment), fabric)

    steps: dict[str, Iterator[Any]] = {
        "trainer": trainer("medium")._run_to(2 * arguments.steps, None),
        "without augmentation": trainer("none")._run_to(2 * arguments.steps, None),
        "without it, reading photos": trainer("none", photos)._run_to(2 * arguments.steps, None),
        "bare loop": bare_steps(trainer("none")),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(arguments.steps):
        for name, work in steps.items():
            start = time.perf_counter()
            next(work)
            if number >= 5:  # the first warm up
                times[name].append(1000 * (time.perf_counter() - start))
    for name, found in times.items():
        ratio = np.median(np.array(found) / np.array(times["bare loop"]))
        print(f"{name}: {np.median(found):.1f} ms a step, {ratio:.3f} of the bare loop")


def bare_steps(trainer: Trainer) -> Iterator[None]:
    """Steps of the same network and losses on one batch that is ready."""
    rows = trainer.plan.batch(0)
    images = torch.stack([trainer.images[row] for row in rows.tolist()]).to(memory_format=torch.channels_last)
    known, device = trainer._known(rows), trainer.fabric.device
    positive, negative = known.within()
    ready = dataclasses.replace(known, pairs=lambda *_: (positive, negative))
    images = images.to(device)
    trainer.network.train()
    while True:
        trainer.optimizer.zero_grad(set_to_none=True)
        found = trainer.network(images)
        terms = trainer.objective(found, Labels(ready, None, trainer._before(images), 0.5))
        functools.reduce(operator.add, terms.values()).backward()
        trainer.optimizer.step()
        yield


if __name__ == "__main__":
    main()
