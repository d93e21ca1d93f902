"""The steps at which a training pauses."""

from collections.abc import Sequence

from vpr.distill.settings import TrainConfig


def minings(config: TrainConfig) -> Sequence[int]:
    """The steps before which there is a mining."""
    if config.mining == "tuples":
        return range(0, config.steps, max(1, config.cached_queries // (config.places * config.accumulate)))
    first = config.steps // 5
    return [first + (config.steps - first) * i // max(1, config.minings) for i in range(config.minings)]


def validations(config: TrainConfig) -> Sequence[int]:
    """The steps after which there is a validation, the last one among them.

    >>> list(validations(TrainConfig(steps=25, validate_every=10)))
    [10, 20, 25]
    """
    every, last = config.validate_every, config.steps
    return [*range(every, last, every), last] if every else []


def stops(config: TrainConfig, step: int) -> list[int]:
    """The steps after this one at which the loop pauses: to mine, to validate, to save, to end."""
    saves = range(config.checkpoint_every, config.steps, config.checkpoint_every)
    return sorted(stop for stop in {*saves, *minings(config), *validations(config), config.steps} if stop > step)
