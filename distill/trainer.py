"""The training loop: steps, learning rate, mining, checkpoints; the same seed gives the same weights."""

import functools
import logging
import math
import operator
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from distill.augment import augment, augmentation
from distill.mining import nearest_photos
from distill.objective import Labels, Objective
from distill.places import BatchPlan, Places
from distill.settings import TrainConfig
from vpr.base.files import replacing
from vpr.base.progress import progress
from vpr.description.images import Images

log = logging.getLogger("vpr")


class Numbered(Dataset[tuple[int, torch.Tensor]]):
    """A dataset whose items carry their index."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor]:
        return index, self.images[index]


class Trainer:
    """Trains one model on places, by an objective.

    images: the photos of `places`, in the same order. teacher: their teacher descriptors, (N, C) float32, or None.
    checkpoint: the file that an interrupted run continues from; removed by the caller when the run is complete.
    """

    def __init__(self, model: nn.Module, places: Places, images: Images, objective: Objective, config: TrainConfig):
        self.model, self.places, self.images = model, places, images
        self.objective, self.config = objective, config
        self.optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        self.plan = BatchPlan(
            places, (config.places, config.images_per_place), config.seed, config.sampling == "conditions"
        )
        self.step = 0

    def train(self, device: torch.device, checkpoint: Path, teacher: np.ndarray | None = None) -> dict[str, float]:
        """Train to the end, from the checkpoint if there is one; returns the mean of each loss over the last steps."""
        config = self.config
        if checkpoint.is_file():
            self._resume(checkpoint, device)
            log.info("continuing from step %d of %d", self.step, config.steps)
        self.model.train()
        recent: list[dict[str, float]] = []
        stops = self._stops()
        with progress(total=config.steps, done=self.step, title="training", unit="step") as bar:
            for stop in stops:
                if self.step in self._mining_steps():
                    self._mine(device)
                for losses in self._run_to(stop, device, teacher):
                    recent = [*recent[-49:], losses]
                    bar.update()
                    if self.step % 10 == 0:
                        bar.set_postfix_str(_shown(_means(recent)))
                self._save(checkpoint)
                log.info("step %d of %d: %s", self.step, config.steps, _shown(_means(recent)))
        return _means(recent)

    def _mining_steps(self) -> list[int]:
        config = self.config
        first = config.steps // 5
        return [first + (config.steps - first) * i // max(1, config.minings) for i in range(config.minings)]

    def _stops(self) -> list[int]:
        """Steps still to come at which the loop pauses: to mine, to save, to end."""
        config = self.config
        saves = range(config.checkpoint_every, config.steps, config.checkpoint_every)
        return sorted(step for step in {*saves, *self._mining_steps(), config.steps} if step > self.step)

    def _run_to(self, stop: int, device: torch.device, teacher: np.ndarray | None) -> Iterator[dict[str, float]]:
        """Train up to a step, yielding each step's losses."""
        self.plan.steps = range(self.step, stop)
        loader = DataLoader(Numbered(self.images), batch_sampler=self.plan, num_workers=self.config.workers)
        for rows, images in loader:
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)
            yield self._update(rows.numpy(), images.to(device), teacher)
            self.step += 1

    def _update(self, rows: np.ndarray, images: torch.Tensor, teacher: np.ndarray | None) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        masks = self.places.guard.masks(self.places.photos, rows)
        positive, negative = (torch.from_numpy(mask).to(images.device) for mask in masks)
        target = None if teacher is None else torch.from_numpy(teacher[rows]).to(images.device)
        height, width = images.shape[-2:]
        images = augment(images, augmentation(self.config.augment, (height, width)))
        described = self.model(images.to(memory_format=torch.channels_last))
        terms = self.objective(described, Labels(positive, negative, target, self.step / self.config.steps))
        self.optimizer.zero_grad(set_to_none=True)
        functools.reduce(operator.add, terms.values()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _learning_rate(self) -> float:
        config = self.config
        warmup = max(1, config.steps // 20)
        if self.step < warmup:
            return config.learning_rate * (self.step + 1) / warmup
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (self.step - warmup) / (config.steps - warmup)))

    def _mine(self, device: torch.device) -> None:
        rng = np.random.default_rng([self.config.seed, self.step, 1])
        self.plan.neighbours = nearest_photos(self.model, self.images, self.places.anchors, device, rng)

    def _save(self, path: Path) -> None:
        state = {"step": self.step, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.plan.neighbours is not None:
            state["neighbours"] = torch.from_numpy(self.plan.neighbours)
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def _resume(self, path: Path, device: torch.device) -> None:
        state = torch.load(path, map_location=device, weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if "neighbours" in state:
            self.plan.neighbours = state["neighbours"].cpu().numpy()


def _means(recent: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each loss that the last of some steps had."""
    return {name: float(np.mean([losses.get(name, 0) for losses in recent])) for name in (recent[-1] if recent else {})}


def _shown(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
