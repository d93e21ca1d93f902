"""The learning rate over a training."""

import math
from typing import Any

import torch

from vpr.distill.settings import TrainConfig

WARM_UP = 20  # one of so many steps


class Rates:
    """Sets an optimiser's learning rates, each group's ``share`` of one rate: a warm-up over 5 % of the steps, then a
    cosine to zero, or by ``schedule`` plateau one rate that torch lowers when validations bring nothing better."""

    def __init__(self, optimizer: Any, config: TrainConfig) -> None:
        self.optimizer, self.config = optimizer, config
        self.rate = 0.0
        self.plateau = None
        if config.schedule == "plateau":
            peak = torch.optim.SGD([torch.zeros(1)], config.learning_rate)  # what torch lowers, away from the warm-up
            self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                peak, "max", config.plateau_factor, config.plateau_after - 1, threshold=0
            )

    def set(self, step: int) -> None:
        """Set the rates of a step."""
        config, warm_up = self.config, max(1, self.config.steps // WARM_UP)
        peak = config.learning_rate if self.plateau is None else self.plateau.optimizer.param_groups[0]["lr"]
        self.rate = peak
        if step < warm_up:
            self.rate = peak * (step + 1) / warm_up
        elif self.plateau is None:
            self.rate = peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (config.steps - warm_up)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group["share"]

    def validated(self, score: float) -> None:
        """Take a validation's score into account."""
        if self.plateau is not None:
            self.plateau.step(score)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        plateau = self.plateau
        return {} if plateau is None else {"plateau": plateau.state_dict(), "peak": plateau.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        if self.plateau is not None:
            self.plateau.load_state_dict(state["plateau"])
            self.plateau.optimizer.load_state_dict(state["peak"])
