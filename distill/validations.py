"""What validations during a training found, the best weights among them, and when it is enough."""

import copy
import logging
from typing import Any, Protocol

import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.distill.record import require_tensorboard
from vpr.distill.settings import TrainConfig

log = logging.getLogger("vpr")
SCORE = "score"  # what is compared, higher is better


class Judge(Protocol):
    """What models are judged by: a city that is kept apart."""

    city: str  # empty for none

    def score(self, model: Any) -> dict[str, float]:
        """What a validation during the training finds; see `Validations.add`."""

    def calibrate(self, model: Any) -> dict[str, Any]:
        """What the finished model's metrics.json holds besides its losses."""


def check_validations(config: TrainConfig, city: str) -> None:
    """Raise VprError for validations without a held-out city, for what needs validations that there are not, and for a
    record in a format that is not installed."""
    if config.tensorboard:
        require_tensorboard()
    if config.validate_every and not city:
        raise VprError("--validate-every needs something to validate on; pass --held-out")
    if not config.validate_every and (config.patience or config.schedule == "plateau"):
        name = "--patience" if config.patience else "--schedule plateau"
        raise VprError(f"{name} goes by validations; pass --validate-every STEPS")


class Validations:
    """The validations of one training, in order."""

    def __init__(self, patience: int = 0) -> None:
        """patience: validations without a better one that end the training; 0 for none."""
        self.patience = patience
        self.found: list[dict[str, float]] = []  # with the step
        self.best: dict[str, torch.Tensor] = {}  # weights of the best

    def add(self, step: int, metrics: dict[str, float], model: nn.Module) -> None:
        """Record what a validation found, among it ``SCORE``, and keep the weights if they are better than before."""
        better = metrics[SCORE] > max((past[SCORE] for past in self.found), default=float("-inf"))
        self.found.append({"step": step, **metrics})
        if better:
            self.best = copy.deepcopy(model.state_dict())
        shown = ", ".join(f"{name} {100 * value:.1f} %" for name, value in metrics.items() if name != SCORE)
        log.info("validation at step %d: %s%s", step, shown, " (the best so far)" if better else "")

    @property
    def best_step(self) -> int:
        """The step of the first of the best validations; there must be one."""
        return int(max(self.found, key=lambda past: past[SCORE])["step"])

    @property
    def enough(self) -> bool:
        """Whether the last `patience` validations were none better."""
        if not self.patience or not self.found:
            return False
        return sum(past["step"] > self.best_step for past in self.found) >= self.patience

    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds of them; nothing where there were none."""
        return {"validations": self.found, "best_step": self.best_step} if self.found else {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"found": self.found, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.found, self.best = list(state["found"]), dict(state["best"])
