"""The training loop: steps, learning rate, mining, checkpoints; the same seed gives the same weights."""

import copy
import functools
import io
import logging
import math
import operator
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from distill.augment import augment, augmentation
from distill.contrast import Known
from distill.mining import nearest_photos
from distill.objective import Labels, Objective
from distill.places import BatchPlan, Places
from distill.settings import TrainConfig
from vpr.base.errors import VprError
from vpr.base.files import write_bytes
from vpr.base.progress import progress
from vpr.description.images import Images
from vpr.models.weights import DAMAGED

log = logging.getLogger("vpr")

RECENT = 50  # steps over which losses are averaged


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
        kept = objective.distillation is not None and objective.distillation.keep_weight > 0
        self.before = copy.deepcopy(model).eval() if kept else None
        groups = parameter_groups(model, config.backbone_rate)
        groups[0]["params"] += list(objective.parameters())  # such as proxies
        self.optimizer = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
        self.plan = BatchPlan(
            places, (config.places, config.images_per_place), config.seed, config.sampling == "conditions"
        )
        self.step = 0
        self.recent: list[dict[str, float]] = []  # losses of the last `RECENT` steps

    def train(self, device: torch.device, checkpoint: Path, teacher: np.ndarray | None = None) -> dict[str, float]:
        """Train to the end, from the checkpoint if there is one; returns the mean of each loss over the last steps."""
        config = self.config
        if checkpoint.is_file():
            self._resume(checkpoint, device)
            log.info("continuing from step %d of %d", self.step, config.steps)
        self.model.train()
        stops = self._stops()
        with progress(total=config.steps, done=self.step, title="training", unit="step") as bar:
            for stop in stops:
                if self.step in self._mining_steps():
                    self._mine(device)
                for losses in self._run_to(stop, device, teacher):
                    self.recent = [*self.recent[1 - RECENT :], losses]
                    bar.update()
                    if self.step % 10 == 0:
                        bar.set_postfix_str(_shown(_means(self.recent)))
                self._save(checkpoint)
                log.info("step %d of %d: %s", self.step, config.steps, _shown(_means(self.recent)))
        return _means(self.recent)

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
            group["lr"] = self._learning_rate() * group["share"]
        target = None if teacher is None else torch.from_numpy(teacher[rows]).to(images.device)
        height, width = images.shape[-2:]
        images = augment(images, augmentation(self.config.augment, (height, width)))
        images = images.to(memory_format=torch.channels_last)
        described, kept = self.model(images), self._before(images)
        self._require_finite({"descriptors": described.global_descriptor.sum()})
        terms = self.objective(described, Labels(self._known(rows), target, kept, self.step / self.config.steps))
        self._require_finite(terms)
        self.optimizer.zero_grad(set_to_none=True)
        functools.reduce(operator.add, terms.values()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _known(self, rows: np.ndarray) -> Known:
        """The photos of a batch, their classes, and which of them, and of others, are pairs."""
        places, device = self.places, next(self.model.parameters()).device

        def pairs(some: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            masks = places.guard.masks(places.photos, some.cpu().numpy(), others.cpu().numpy())
            positive, negative = (torch.from_numpy(mask).to(device) for mask in masks)
            return positive, negative

        return Known(torch.from_numpy(rows).to(device), torch.from_numpy(places.cells[rows]).to(device), pairs)

    def _require_finite(self, values: dict[str, torch.Tensor]) -> None:
        """Raise VprError when one is not a finite number: what would be trained from here on is worth nothing."""
        broken = [name for name, value in values.items() if not math.isfinite(float(value.detach()))]
        if broken:
            raise VprError(
                f"{', '.join(broken)}: not a finite number at step {self.step} of {self.config.steps} "
                f"(--learning-rate {self.config.learning_rate:g}); give a smaller rate, and --overwrite to start again"
            )

    def _before(self, images: torch.Tensor) -> torch.Tensor | None:
        """Patch descriptors (B, P, C) of the network before training, where they are to be kept."""
        if self.before is None:
            return None
        with torch.no_grad():
            return self.before(images).patch_descriptors

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
        state |= {"recent": self.recent, "objective": self.objective.state_dict()}
        if self.plan.neighbours is not None:
            state["neighbours"] = torch.from_numpy(self.plan.neighbours)
        content = io.BytesIO()
        torch.save(state, content)
        write_bytes(path, content.getbuffer())

    def _resume(self, path: Path, device: torch.device) -> None:
        """Take up the state of a checkpoint. Raises VprError for a file that is none of this training."""
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            self.step, self.recent = int(state["step"]), list(state.get("recent", []))
            self.model.load_state_dict(state["model"])
            if "objective" in state:  # a checkpoint of an earlier version has none
                self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            if "neighbours" in state:
                self.plan.neighbours = state["neighbours"].cpu().numpy()
        except (*DAMAGED, pickle.UnpicklingError, TypeError, AttributeError, MemoryError) as error:
            raise VprError(f"{path} is damaged; remove it, and training starts from its first step") from error
        if not 0 < self.step <= self.config.steps:
            raise VprError(f"{path} is of step {self.step} of {self.config.steps}; remove it to start again")


def parameter_groups(model: nn.Module, backbone_rate: float) -> list[dict[str, Any]]:
    """The trained parameters with their share of the learning rate; a backbone of share 0 is frozen."""
    part = getattr(model, "backbone", getattr(model, "encoder", None)) if backbone_rate != 1 else None
    backbone = list(part.parameters()) if isinstance(part, nn.Module) else []
    apart = {id(parameter) for parameter in backbone}
    others = [parameter for parameter in model.parameters() if id(parameter) not in apart and parameter.requires_grad]
    for parameter in backbone:
        parameter.requires_grad_(backbone_rate > 0)
    groups = [{"params": others, "share": 1.0}]
    return [*groups, {"params": backbone, "share": backbone_rate}] if backbone and backbone_rate else groups


def _means(recent: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each loss that the last of some steps had."""
    return {name: float(np.mean([losses.get(name, 0) for losses in recent])) for name in (recent[-1] if recent else {})}


def _shown(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
