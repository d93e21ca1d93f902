"""The schedule of a training: the learning rate, and the steps at which it mines, validates and pauses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vpr.distill.settings import TrainConfig

WARM_UP = 20  # the warm-up takes one step of 20


def learning_rate(config: TrainConfig, step: int, scores: Sequence[float] = ()) -> float:
    """The learning rate of a step, from 0: a linear warm-up, then a cosine to zero, or a plateau schedule.

    scores: of the validations before the step, which lower the rate of the plateau schedule.
    """
    warm_up, rate = max(1, config.steps // WARM_UP), config.learning_rate
    if config.schedule == "plateau":
        for _ in range(plateaus(scores, config.plateau_after)):
            rate *= config.plateau_factor
    if step < warm_up:
        return rate * (step + 1) / warm_up
    if config.schedule == "plateau":
        return rate
    return rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (config.steps - warm_up)))


def plateaus(scores: Sequence[float], patience: int) -> int:
    """How often ``patience`` scores in a row brought no improvement; higher scores are better.

    >>> plateaus([0.3, 0.3, 0.2, 0.5, 0.1], patience=2)
    1
    """
    best, without_improvement, count = -math.inf, 0, 0
    for score in scores:
        without_improvement = 0 if score > best else without_improvement + 1
        best = max(best, score)
        if without_improvement == patience:
            count, without_improvement = count + 1, 0
    return count


def mining_steps(config: TrainConfig) -> Sequence[int]:
    """The steps before which hard examples are mined."""
    if config.mining == "tuples":
        return range(0, config.steps, max(1, config.cached_queries // (config.places * config.accumulate)))
    first = config.steps // 5
    return [first + (config.steps - first) * i // max(1, config.minings) for i in range(config.minings)]


def mined_photos(config: TrainConfig, step: int) -> int:
    """The number of photos in the batches from the mining before a step to the next mining, or to the end.

    >>> mined_photos(TrainConfig(steps=20, minings=4), step=4)
    128
    """
    stop = min((later for later in mining_steps(config) if later > step), default=config.steps)
    return (stop - step) * config.accumulate * config.batch_size


def validation_steps(config: TrainConfig) -> Sequence[int]:
    """The steps after which the model is validated; the last step is one of them.

    >>> list(validation_steps(TrainConfig(steps=25, validate_every=10)))
    [10, 20, 25]
    """
    every, last = config.validate_every, config.steps
    return [*range(every, last, every), last] if every else []


def pause_steps(config: TrainConfig, step: int) -> list[int]:
    """The later steps at which the loop pauses to mine, validate, save or end."""
    saves = range(config.checkpoint_every, config.steps, config.checkpoint_every)
    steps = {*saves, *mining_steps(config), *validation_steps(config), config.steps}
    return sorted(pause for pause in steps if pause > step)
