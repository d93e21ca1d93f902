"""Validation during a training: the best weights, early stopping, and the validator's interface."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.distill.settings import TrainConfig
from vpr.distill.training.training_log import require_tensorboard

log = logging.getLogger("vpr")
SCORE = "score"  # the metric by which weights are chosen; higher is better


class Validator(Protocol):
    """Held-out data that models are validated and calibrated on."""

    @property
    def held_out(self) -> str:
        """The names of the data, joined by commas; empty for none."""

    @property
    def fingerprint(self) -> str:
        """A digest of the content of the data."""

    def score(self, model: Any) -> dict[str, float]:
        """The metrics of a model in training, by name; one of them is `SCORE`."""

    def measure(self, model: Any) -> dict[str, np.ndarray]:
        """Recall@1 of each query (S,) after re-ranking, on each set that a model is measured on, by name."""

    def calibrate(self, model: Any) -> dict[str, Any]:
        """The entries of metrics.json that the finished model gets."""


def check_validation(config: TrainConfig, held_out: str) -> None:
    """Raise VprError if validations, held-out data or TensorBoard are missing that the options need.

    held_out: name of the held-out data; empty for none.
    """
    if config.tensorboard:
        require_tensorboard()
    if config.validate_every and not held_out:
        raise VprError(
            "--validate-every needs held-out data", thing="--validate-every", remedy="pass a value for --held-out"
        )
    if not config.validate_every and (config.patience or config.schedule == "plateau"):
        option = "--patience" if config.patience else "--schedule plateau"
        raise VprError(f"{option} needs validations", thing=option, remedy="pass --validate-every STEPS")


class ValidationHistory:
    """The validations of one training, in order, and the weights of the best one."""

    def __init__(self, patience: int = 0) -> None:
        """patience: validations without improvement that end the training; 0 disables early stopping."""
        self.patience = patience
        self.results: list[dict[str, float]] = []  # metrics of each validation, with its step
        self.best_weights: dict[str, torch.Tensor] = {}  # empty before the first validation

    def add(self, step: int, metrics: dict[str, float], model: nn.Module) -> None:
        """Record a validation, and copy the weights if they are the best so far."""
        improved = metrics[SCORE] > max(self.scores, default=-math.inf)
        self.results.append({"step": step, **metrics})
        if improved:
            self.best_weights = copy.deepcopy(model.state_dict())
        values = ", ".join(f"{name} {100 * value:.1f} %" for name, value in metrics.items() if name != SCORE)
        log.info("validation at step %d: %s%s", step, values, " (best so far)" if improved else "")

    @property
    def scores(self) -> list[float]:
        """The score of each validation."""
        return [result[SCORE] for result in self.results]

    @property
    def best_step(self) -> int:
        """The step of the best validation, the first one of equal scores. There must be a validation."""
        return int(max(self.results, key=lambda result: result[SCORE])["step"])

    @property
    def should_stop(self) -> bool:
        """Whether the last ``patience`` validations brought no improvement."""
        if not self.patience or not self.results:
            return False
        return sum(result["step"] > self.best_step for result in self.results) >= self.patience

    def metrics(self) -> dict[str, Any]:
        """The entries of metrics.json; empty without validations."""
        return {"validations": self.results, "best_step": self.best_step} if self.results else {}

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"results": self.results, "best_weights": self.best_weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.results, self.best_weights = list(state["results"]), dict(state["best_weights"])
