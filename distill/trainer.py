"""The training loop: steps, learning rate, mining, checkpoints; the same seed gives the same weights."""

import copy
import functools
import io
import logging
import math
import operator
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.utils import ModelEmaV3
from torch import nn

from vpr.base.errors import VprError
from vpr.base.files import write_bytes
from vpr.base.progress import progress
from vpr.description.describe import load_batches
from vpr.description.images import ImageFiles, Images, Uncut
from vpr.distill.augment import augment, augmentation, groups_of
from vpr.distill.contrast import Known
from vpr.distill.mining import hard_tuples, nearest_photos
from vpr.distill.objective import Labels, Objective
from vpr.distill.parallel import Shards, describe_together
from vpr.distill.parts import parameter_groups
from vpr.distill.places import BatchPlan, Places
from vpr.distill.rates import Rates
from vpr.distill.record import EVERY, RATE, Record
from vpr.distill.settings import TrainConfig
from vpr.distill.stops import minings, stops, validations
from vpr.distill.validations import SCORE, Validations
from vpr.models.descriptors import Descriptors
from vpr.models.weights import DAMAGED

log = logging.getLogger("vpr")

RECENT = 50  # steps over which losses are averaged


class OwnRows:
    """The batches of a plan, cut down to this process's photos."""

    def __init__(self, plan: BatchPlan, fabric: Fabric) -> None:
        self.plan, self.fabric = plan, fabric
        self.drawn: deque[tuple[np.ndarray, Shards]] = deque()  # the whole batches that were handed out, in order

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.plan:
            rows, shards = np.array(batch), Shards(self.fabric, groups_of(len(batch)))
            self.drawn.append((rows, shards))
            yield rows[shards.own].tolist()


class Trainer:
    """Trains one model on places, by an objective.

    images: the photos of `places`, in the same order. fabric: the processes that train, `vpr.base.processes.join`.
    """

    def __init__(
        self, model: nn.Module, places: Places, images: Images, objective: Objective, config: TrainConfig,
        fabric: Fabric,
    ) -> None:  # fmt: skip
        self.model, self.places, self.images = model, places, images
        self.objective, self.config, self.fabric = objective.to(fabric.device), config, fabric
        kept = objective.distillation is not None and objective.distillation.keep_weight > 0
        self.before = copy.deepcopy(model).to(fabric.device).eval() if kept else None
        groups = parameter_groups(model, config)
        groups[0]["params"] += list(objective.parameters())  # such as proxies
        optimizer = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
        self.network, self.optimizer = fabric.setup(model, optimizer)
        self.mean = ModelEmaV3(model, config.ema) if config.ema else None
        self.rates, self.validations, self.record = Rates(optimizer, config), Validations(config.patience), Record()
        shape, tuples = (config.places, config.images_per_place), config.mining == "tuples"
        self.plan = BatchPlan(places, shape, config.seed, config.sampling == "conditions", tuples)
        self.step = 0
        self.recent: list[dict[str, float]] = []  # losses of the last `RECENT` steps

    def train(
        self, checkpoint: Path, teacher: np.ndarray | None = None, score: Callable[[nn.Module], dict] | None = None
    ) -> dict[str, float]:
        """Train to the end, from the checkpoint if there is one; returns the mean of each loss over the last steps.
        The model then has the weights of the best validation, if there were any.

        checkpoint: the file that an interrupted run continues from; removed by the caller when the run is complete. The
        record of the training is written beside it. teacher: descriptors of the photos, (N, C) float32, or None.
        score: what a validation finds, `Validations.add`; the first process calls it.
        """
        config, first = self.config, self.fabric.is_global_zero
        if checkpoint.is_file():
            self._resume(checkpoint)
            log.info("continuing from step %d of %d", self.step, config.steps)
        if config.tensorboard and first:
            self.record.open_tensorboard(checkpoint.parent, self.step)
        self.network.train()
        began, start = self.step, time.monotonic()
        with progress(total=config.steps, done=self.step, title="training" if first else None, unit="step") as bar:
            for stop in stops(self.config, self.step):
                if self.validations.enough:
                    log.info("no better validation since step %d: the training ends", self.validations.best_step)
                    break
                if self.step in minings(config):
                    self._mine()
                for losses in self._run_to(stop, teacher):
                    self._note(losses)
                    bar.update()
                    if self.step % EVERY == 0:
                        bar.set_postfix_str(_shown(_means(self.recent)), refresh=False)
                said = _shown(_means(self.recent))
                log.info("step %d of %d%s: %s", self.step, config.steps, self._left(began, start), said)
                if score is not None and self.step in validations(config):
                    self._validate(score)
                self._save(checkpoint)
        self.record.close()
        if self.validations.best:
            log.info("the weights are those of step %d", self.validations.best_step)
            self.model.load_state_dict(self.validations.best)
        elif self.mean is not None:
            self.model.load_state_dict(self.mean.module.state_dict())
        return _means(self.recent)

    def _left(self, began: int, start: float) -> str:
        """How long the rest will take, going by the steps of this process."""
        minutes = (time.monotonic() - start) / max(1, self.step - began) * (self.config.steps - self.step) / 60
        return "" if self.step == self.config.steps else f" ({minutes:.0f} min left)" if minutes >= 1 else ""

    def _note(self, losses: dict[str, float]) -> None:
        """Take the losses of the step that was made into the means and the record."""
        self.recent = [*self.recent[1 - RECENT :], losses]
        if self.step % EVERY == 0 or self.step == self.config.steps:
            self.record.add(self.step, {RATE: self.rates.rate, **_means(self.recent[-EVERY:])})

    def _run_to(self, stop: int, teacher: np.ndarray | None) -> Iterator[dict[str, float]]:
        """Train up to a step, yielding each step's losses."""
        count = self.config.accumulate
        self.plan.steps = range(self.step * count, stop * count)
        sampler = OwnRows(self.plan, self.fabric)
        photos = Uncut(self.images) if isinstance(self.images, ImageFiles) else self.images
        batches = load_batches(photos, sampler, self.config.workers)
        while self.step < stop:
            self.rates.set(self.step)
            self.optimizer.zero_grad(set_to_none=True)
            found = []
            for number in range(self.step * count, (self.step + 1) * count):
                images = next(batches).to(self.fabric.device)
                last = number + 1 == (self.step + 1) * count
                with self.fabric.no_backward_sync(self.network, enabled=not last):
                    terms = self._losses(images, *sampler.drawn.popleft(), number, teacher)
                    self.fabric.backward(functools.reduce(operator.add, terms.values()) / count)
                values: Any = self.fabric.all_reduce(torch.stack(list(terms.values())).detach())  # their mean
                found.append(dict(zip(terms, values.tolist())))
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=5.0, error_if_nonfinite=False)
            self.optimizer.step()
            if self.mean is not None:
                self.mean.update(self.model)
            self.step += 1
            yield _means(found)

    def _losses(
        self, images: torch.Tensor, rows: np.ndarray, shards: Shards, number: int, teacher: np.ndarray | None
    ) -> dict[str, torch.Tensor]:
        """The terms of a batch, of whose photos (B,) this process has some images (b, 3, H, W).

        number: of the batch among all, from which its random numbers follow.
        """
        device, seed = self.fabric.device, self.config.seed * 1_000_003 + number
        size = self.images.size if isinstance(self.images, ImageFiles) else images.shape[-2:]
        transform = augmentation(self.config.augment, (size[0], size[1]))
        images = augment(images, shards.own_groups, transform, seed).to(memory_format=torch.channels_last)
        described, kept = self.network(images), self._before(images)
        self._require_finite({"descriptors": described.global_descriptor.sum()})
        patches = described.patch_descriptors
        whole = Descriptors(
            shards.whole(described.global_descriptor.float()),
            None if patches is None else shards.whole(patches.float()),
        )
        kept = None if kept is None else shards.whole(kept.float())
        target = None if teacher is None else torch.from_numpy(teacher[rows]).to(device)
        torch.manual_seed(seed)  # the same on all processes
        part = self.fabric.global_rank, self.fabric.world_size
        progress_ = self.step / self.config.steps
        terms = self.objective(whole, Labels(self._known(rows), target, kept, progress_, part))
        self._require_finite(terms)
        return terms

    def _known(self, rows: np.ndarray) -> Known:
        """The photos of a batch, their classes, and which of them, and of others, are pairs."""
        places, device = self.places, self.fabric.device

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
        with torch.no_grad(), self.fabric.autocast():
            return self.before(images).patch_descriptors

    def _mine(self) -> None:
        config, rng = self.config, np.random.default_rng([self.config.seed, self.step, 1])
        log.info("mining at step %d", self.step)
        describe = functools.partial(describe_together, self.fabric, self.model, self.images)
        if self.plan.tuples:
            cached = config.cached_queries, config.cached_negatives
            shares, negatives = self.plan.shares, config.images_per_place - 2
            found = hard_tuples(describe, self.places, cached, negatives, rng, shares)
        else:
            found = nearest_photos(describe, self.places.anchors, rng)
        self.plan.mined = self.fabric.broadcast(found)

    def _validate(self, score: Callable[[nn.Module], dict]) -> None:
        """Judge the model as it stands, or the mean of its weights where that is what will be kept."""
        model = self.model if self.mean is None else self.mean.module
        metrics = self.fabric.broadcast(score(model) if self.fabric.is_global_zero else {})
        self.validations.add(self.step, metrics, model)
        self.record.add(self.step, metrics)
        self.rates.validated(metrics[SCORE])

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint keeps the state of, by name."""
        precision = self.fabric.strategy.precision
        parts = {"model": self.model, "optimizer": self.optimizer, "objective": self.objective, "precision": precision}
        parts |= {"rates": self.rates, "validations": self.validations}
        return parts if self.mean is None else {**parts, "mean": self.mean.module}

    def _save(self, path: Path) -> None:
        if not self.fabric.is_global_zero:
            return
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"step": self.step, "recent": self.recent, "record": self.record.rows}
        if self.plan.mined is not None:
            state["mined"] = torch.from_numpy(self.plan.mined)
        content = io.BytesIO()
        torch.save(state, content)
        self.record.write(path.parent)
        write_bytes(path, content.getbuffer())

    def _resume(self, path: Path) -> None:
        """Take up the state of a checkpoint. Raises VprError for a file that is none of this training."""
        try:
            state = torch.load(path, map_location=self.fabric.device, weights_only=True)
            self.step, self.recent = int(state["step"]), list(state.get("recent", []))
            for name, part in self._parts().items():
                if name in state or name in ("model", "optimizer"):  # one of an earlier version has but these
                    part.load_state_dict(state[name])
            self.record.rows = list(state.get("record", []))
            if "mined" in state:
                self.plan.mined = state["mined"].cpu().numpy()
        except (*DAMAGED, pickle.UnpicklingError, TypeError, AttributeError, MemoryError) as error:
            raise VprError(f"{path} is damaged; remove it, and training starts from its first step") from error
        if not 0 < self.step <= self.config.steps:
            raise VprError(f"{path} is of step {self.step} of {self.config.steps}; remove it to start again")


def _means(recent: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each loss that the last of some steps had."""
    return {name: float(np.mean([losses.get(name, 0) for losses in recent])) for name in (recent[-1] if recent else {})}


def _shown(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
