"""The schedule: learning rates, and the steps of minings, validations and pauses."""

import pytest
import torch

from vpr.distill.settings import TrainConfig
from vpr.distill.training.schedule import learning_rate, mining_steps, pause_steps, plateaus, validation_steps


def rates(config, scores=()):
    """The learning rate of each step; scores: of the validation after some steps."""
    scores = dict(scores)
    return [
        learning_rate(config, step, [score for after, score in scores.items() if after <= step])
        for step in range(config.steps)
    ]


def test_a_cosine_rises_and_falls_to_zero():
    values = rates(TrainConfig(steps=100, learning_rate=2.0))
    assert values[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0]) and values[5] == pytest.approx(2.0)
    assert values[5:] == sorted(values[5:], reverse=True) and values[52] == pytest.approx(1.0, abs=0.04)
    assert 0 < values[99] < 0.002


def test_on_a_plateau_the_rate_is_reduced_after_validations_without_improvement():
    config = TrainConfig(steps=12, learning_rate=2.0, schedule="plateau", plateau_after=2, plateau_factor=0.1)
    assert rates(config, {2: 0.3, 4: 0.3, 6: 0.2, 8: 0.5, 10: 0.1}) == pytest.approx([2.0] * 6 + [0.2] * 6)
    assert rates(config, {2: 0.3, 4: 0.2, 6: 0.4, 8: 0.1}) == pytest.approx([2.0] * 12)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_plateaus_are_those_of_torch(patience):
    scores = torch.randint(0, 6, (60,), generator=torch.Generator().manual_seed(patience)).tolist()
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.5, patience - 1, threshold=0, eps=0)
    for number, score in enumerate(scores):
        torchs.step(score)
        assert optimizer.param_groups[0]["lr"] == 0.5 ** plateaus(scores[: number + 1], patience)
    assert plateaus(scores, patience) > 3


def test_pauses_are_in_order_and_complete():
    config = TrainConfig(steps=20, checkpoint_every=7, minings=2, validate_every=9)
    assert list(mining_steps(config)) == [4, 12] and list(validation_steps(config)) == [9, 18, 20]
    assert pause_steps(config, 4) == [7, 9, 12, 14, 18, 20]
    tuples = TrainConfig(steps=20, mining="tuples", cached_queries=48, places=8, checkpoint_every=100)
    assert list(mining_steps(tuples)) == [0, 6, 12, 18] and pause_steps(tuples, 0) == [6, 12, 18, 20]
