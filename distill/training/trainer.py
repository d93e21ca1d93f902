"""The training loop. The same seed gives the same weights, also if the training was interrupted."""

from __future__ import annotations

import copy
import functools
import logging
import math
import operator
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.utils import ModelEmaV3
from torch import nn

from vpr.base.errors import VprError
from vpr.base.progress import progress
from vpr.description.describe import load_batches
from vpr.description.image_files import ImageFiles, Images, UncroppedImages
from vpr.distill.losses.objective import Objective, Targets
from vpr.distill.losses.pairs import Pairs, PhotoBatch
from vpr.distill.losses.structural import ProcessRank
from vpr.distill.sampling.augmentation import augment, augmentation
from vpr.distill.sampling.batches import BatchSampler
from vpr.distill.sampling.mining import TupleMining, hard_tuples, pool_size, similar_places
from vpr.distill.sampling.places import Places
from vpr.distill.settings import TrainConfig
from vpr.distill.training.checkpoint import Stateful, load_checkpoint, save_checkpoint
from vpr.distill.training.parallel import ShardedBatch, ShardSampler, describe_together
from vpr.distill.training.parameter_groups import LR_SCALE, parameter_groups
from vpr.distill.training.schedule import (
    learning_rate,
    mined_photos,
    mining_steps,
    pause_steps,
    validation_steps,
)
from vpr.distill.training.teacher_descriptors import TeacherDescriptors
from vpr.distill.training.training_log import LEARNING_RATE, LOG_EVERY, TrainingLog
from vpr.distill.training.validation import ValidationHistory
from vpr.models.descriptors import Descriptors
from vpr.models.engine import DescribingEngine

log = logging.getLogger("vpr")

Losses = dict[str, float]  # mean loss terms, by name
Score = Callable[[nn.Module], dict[str, float]]  # as `Validator.score`

RECENT = 50  # steps whose losses are averaged
MAX_GRADIENT_NORM = 5.0


class StepHistory:
    """The number of completed steps, and the losses of the last ones."""

    def __init__(self) -> None:
        self.step = 0
        self.recent: list[Losses] = []  # of the last `RECENT` steps

    def add(self, losses: Losses) -> None:
        """Count a completed step."""
        self.step += 1
        self.recent = [*self.recent[1 - RECENT :], losses]

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"step": self.step, "recent": self.recent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.step, self.recent = int(state["step"]), list(state["recent"])


class Trainer:
    """Trains one model on the photos of places, with an objective.

    images: the photos of `places`, in the same order. fabric: the processes that train together.
    """

    def __init__(
        self,
        model: nn.Module,
        places: Places,
        images: Images,
        objective: Objective,
        config: TrainConfig,
        fabric: Fabric,
    ) -> None:
        self.model, self.places, self.images = model, places, images
        self.objective, self.config, self.fabric = objective.to(fabric.device), config, fabric
        keeps_patches = objective.distillation is not None and objective.distillation.keep_weight > 0
        self.initial_model = copy.deepcopy(model).to(fabric.device).eval() if keeps_patches else None
        groups = parameter_groups(model, config)
        groups[0]["params"] += list(objective.parameters())  # such as proxies
        optimizer = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
        self.network, self.optimizer = fabric.setup(model, optimizer)
        self.ema = ModelEmaV3(model, config.ema) if config.ema else None
        self.sampler = BatchSampler.from_config(places, config)
        self.history, self.training_log = StepHistory(), TrainingLog()
        self.validations = ValidationHistory(config.patience)
        self.learning_rate = 0.0  # of the last step
        self.engine = DescribingEngine("auto", fabric.device)

    @property
    def step(self) -> int:
        """The number of completed steps."""
        return self.history.step

    def train(self, checkpoint: Path, teacher: TeacherDescriptors | None = None, score: Score | None = None) -> Losses:
        """Train to the end, from the checkpoint if there is one. Returns the mean losses of the last steps.

        The model then has the weights of the best validation if there was one, else the EMA weights if there are any.

        checkpoint: file for the state of an unfinished training. The caller removes it when the run is complete. The
        training log is written beside it. teacher: descriptors of the photos. score: validates a model; called by the
        first process alone.
        """
        if checkpoint.is_file():
            self._resume(checkpoint)
        if self.config.tensorboard and self.fabric.is_global_zero:
            self.training_log.open_tensorboard(checkpoint.parent, self.step)
        self._run(checkpoint, teacher, score)
        self.training_log.close()
        if self.validations.best_weights:
            log.info("using the weights of the best validation, at step %d", self.validations.best_step)
            self.model.load_state_dict(self.validations.best_weights)
        elif self.ema is not None:
            self.model.load_state_dict(self.ema.module.state_dict())
        return _mean_losses(self.history.recent)

    def _run(self, checkpoint: Path, teacher: TeacherDescriptors | None, score: Score | None) -> None:
        """Mine, train, validate and save, until the last step or early stopping."""
        config, title = self.config, "training" if self.fabric.is_global_zero else None
        self.network.train()
        first_step, start = self.step, time.monotonic()
        with progress(total=config.steps, done=self.step, title=title, unit="step") as bar:
            for pause in pause_steps(config, self.step):
                if self.validations.should_stop:
                    log.info("early stopping: no improvement since step %d", self.validations.best_step)
                    break
                if self.step in mining_steps(config):
                    self._mine()
                for _ in self.train_to(pause, teacher):
                    self._log_step()
                    bar.update()
                    if self.step == first_step + 1 < pause:
                        log.info("step %d of %d: %s", self.step, config.steps, _format(self.history.recent[-1]))
                    if self.step % LOG_EVERY == 0:
                        bar.set_postfix_str(_format(_mean_losses(self.history.recent)), refresh=False)
                losses = _format(_mean_losses(self.history.recent))
                log.info("step %d of %d%s: %s", self.step, config.steps, self._time_left(first_step, start), losses)
                if score is not None and self.step in validation_steps(config):
                    self._validate(score)
                self._save(checkpoint)

    def _time_left(self, first_step: int, start: float) -> str:
        """The remaining time, estimated from the steps since ``first_step``, for the log; empty below a minute."""
        remaining = self.config.steps - self.step
        minutes = (time.monotonic() - start) / max(1, self.step - first_step) * remaining / 60
        return f" ({minutes:.0f} min left)" if remaining and minutes >= 1 else ""

    def _log_step(self) -> None:
        """Log the learning rate and the mean losses, every `LOG_EVERY` steps."""
        if self.step % LOG_EVERY == 0 or self.step == self.config.steps:
            losses = _mean_losses(self.history.recent[-LOG_EVERY:])
            self.training_log.add(self.step, {LEARNING_RATE: self.learning_rate, **losses})

    def train_to(self, stop: int, teacher: TeacherDescriptors | None = None) -> Iterator[Losses]:
        """Train up to a step, yielding the losses of each step."""
        count = self.config.accumulate
        self.sampler.steps = range(self.step * count, stop * count)
        sampler = ShardSampler(self.sampler, self.fabric)
        images = UncroppedImages(self.images) if isinstance(self.images, ImageFiles) else self.images
        batches = load_batches(images, sampler, self.config.workers)
        while self.step < stop:
            self.learning_rate = learning_rate(self.config, self.step, self.validations.scores)
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * group[LR_SCALE]
            self.optimizer.zero_grad(set_to_none=True)
            losses = []
            for number in range(self.step * count, (self.step + 1) * count):
                own = next(batches).to(self.fabric.device)
                last = number + 1 == (self.step + 1) * count
                with self.fabric.no_backward_sync(self.network, enabled=not last):
                    terms = self._loss_terms(own, sampler.pending.popleft(), number, teacher)
                    self.fabric.backward(functools.reduce(operator.add, terms.values()) / count)
                values: Any = self.fabric.all_reduce(torch.stack(list(terms.values())).detach())  # their mean
                losses.append(dict(zip(terms, values.tolist())))
            self.fabric.clip_gradients(
                self.network, self.optimizer, max_norm=MAX_GRADIENT_NORM, error_if_nonfinite=False
            )
            self.optimizer.step()
            if self.ema is not None:
                self.ema.update(self.model)
            self.history.add(_mean_losses(losses))
            yield self.history.recent[-1]

    def _loss_terms(
        self, images: torch.Tensor, batch: ShardedBatch, number: int, teacher: TeacherDescriptors | None
    ) -> dict[str, torch.Tensor]:
        """The loss terms of a batch of B photos.

        images: those of this process, (b, 3, H, W). number: of the batch, counted from 0; it determines random numbers.
        """
        device, seed = self.fabric.device, self.config.seed * 1_000_003 + number
        height, width = self.images.size if isinstance(self.images, ImageFiles) else images.shape[-2:]
        transform = augmentation(self.config.augment, (height, width))
        images = augment(images, batch.shards.own_groups, transform, seed).to(memory_format=torch.channels_last)
        described, initial = self.network(images), self.initial_patches(images)
        self._require_finite({"descriptors": described.global_descriptor.sum()})
        patches, gather = described.patch_descriptors, batch.shards.gather
        whole = Descriptors(
            gather(described.global_descriptor.float()), None if patches is None else gather(patches.float())
        )
        targets = Targets(
            self.photo_batch(batch.photos),
            None if teacher is None else torch.from_numpy(teacher.of(batch.photos)).to(device),
            None if initial is None else gather(initial.float()),
            self.step / self.config.steps,
            ProcessRank(self.fabric.global_rank, self.fabric.world_size),
        )
        torch.manual_seed(seed)  # the same on all processes
        terms: dict[str, torch.Tensor] = self.objective(whole, targets)
        self._require_finite(terms)
        return terms

    def photo_batch(self, photos: np.ndarray) -> PhotoBatch:
        """The photos of a batch (B,), for the losses."""
        places, device = self.places, self.fabric.device

        def find_pairs(anchors: torch.Tensor, references: torch.Tensor) -> Pairs:
            masks = places.guard.masks(places.photos, anchors.cpu().numpy(), references.cpu().numpy())
            return Pairs(*(torch.from_numpy(mask).to(device) for mask in masks))

        classes = torch.from_numpy(places.cells[photos]).to(device)
        return PhotoBatch(torch.from_numpy(photos).to(device), classes, find_pairs)

    def initial_patches(self, images: torch.Tensor) -> torch.Tensor | None:
        """Patch descriptors (B, P, C) of the untrained model; None if no loss needs them."""
        if self.initial_model is None:
            return None
        with torch.no_grad(), self.fabric.autocast():
            described: Descriptors = self.initial_model(images)
        return described.patch_descriptors

    def _require_finite(self, values: dict[str, torch.Tensor]) -> None:
        """Raise VprError if a value is NaN or infinite, because the weights would be lost."""
        broken = [name for name, value in values.items() if not math.isfinite(float(value.detach()))]
        if broken:
            raise VprError(
                f"{', '.join(broken)}: not a finite number at step {self.step} of {self.config.steps} "
                f"(--learning-rate {self.config.learning_rate:g})",
                thing="--learning-rate",
                remedy="pass a lower --learning-rate, and --overwrite to start again",
            )

    def _mine(self) -> None:
        """Mine hard examples for the following batches."""
        config, rng = self.config, np.random.default_rng([self.config.seed, self.step, 1])

        def describe(photos: np.ndarray) -> np.ndarray:
            log.info("mining hard examples at step %d from %d photos", self.step, len(photos))
            return describe_together(self.fabric, self.model, self.images, photos)

        with self.describing(self.model):
            if config.mining == "tuples":
                mining = TupleMining(config.cached_queries, config.cached_negatives, config.images_per_place - 2)
                mined = hard_tuples(describe, self.places, mining, rng, self.sampler.probabilities)
            else:
                rows, anchors = self.sampler.draw_group(rng), self.places.anchors
                anchors = anchors if rows is None else anchors[rows]
                size = pool_size(len(anchors), mined_photos(config, self.step))
                mined = similar_places(describe, anchors, size, rng)
        self.sampler.mined = self.fabric.broadcast(mined)

    def _validate(self, score: Score) -> None:
        """Validate the model, or its EMA if there is one, because that is kept."""
        model = self.model if self.ema is None else self.ema.module
        with self.describing(model):
            metrics = self.fabric.broadcast(score(model) if self.fabric.is_global_zero else {})
        self.validations.add(self.step, metrics, model)
        self.training_log.add(self.step, metrics)

    @contextmanager
    def describing(self, model: Any) -> Iterator[None]:
        """The model describes photos by the engine."""
        model.engine = self.engine
        try:
            yield
        finally:
            model.engine = None

    def _parts(self) -> dict[str, Stateful]:
        """The parts whose state a checkpoint contains, by name."""
        parts: dict[str, Stateful] = {
            "history": self.history,
            "model": self.model,
            "optimizer": self.optimizer,
            "precision": self.fabric.strategy.precision,
            "objective": self.objective,
            "sampler": self.sampler,
            "validations": self.validations,
            "training_log": self.training_log,
        }
        return parts if self.ema is None else {**parts, "ema": self.ema.module}

    def _save(self, path: Path) -> None:
        """Write the checkpoint and the training log, by the first process."""
        if self.fabric.is_global_zero:
            self.training_log.write(path.parent)
            save_checkpoint(path, self._parts())

    def _resume(self, path: Path) -> None:
        """Restore a checkpoint. Raises VprError for a file that is damaged, or of another training."""
        load_checkpoint(path, self._parts(), self.fabric.device)
        if not 0 < self.step <= self.config.steps:
            problem = f"{path} is of step {self.step} of {self.config.steps}"
            raise VprError(problem, thing=path, remedy="remove it to train from the first step")
        log.info("continuing from step %d of %d", self.step, self.config.steps)


def _mean_losses(steps: list[Losses]) -> Losses:
    """The mean of each loss over some steps. The last step has all of them; in a step that lacks one it counts as 0."""
    return {name: float(np.mean([losses.get(name, 0) for losses in steps])) for name in (steps[-1] if steps else {})}


def _format(losses: Losses) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
