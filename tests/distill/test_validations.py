"""Validations on the way: the best weights, the end of a training, the rate on a plateau, and the record."""

import csv
from dataclasses import replace

import pytest
import torch
from training import CONFIG, Pictures, Scores, same, train, trainer_of, weights_of

from vpr.base.errors import VprError
from vpr.distill.rates import Rates
from vpr.distill.settings import TrainConfig
from vpr.distill.stops import minings, stops, validations
from vpr.distill.validations import check_validations

pytestmark = pytest.mark.slow

OFTEN = replace(CONFIG, validate_every=2)  # after steps 2, 4, 6, 8 and 9


class ByWeights(Scores):
    """A judge whose score follows from the weights alone."""

    def score(self, model):
        value = float(sum(weight.double().sin().sum() for weight in weights_of(model).values()))
        self.scores.append(value)
        return {"score": value, "recall@1": 0.5}


def test_the_weights_of_the_best_validation_are_kept(tmp_path):
    judge = Scores([0.1, 0.4, 0.2, 0.4, 0.3])
    weights, _ = train(tmp_path / "a.pt", Pictures(), OFTEN, judge=judge)
    assert len(judge.seen) == 5 and same(weights, judge.seen[1]) and not same(weights, judge.seen[4])


def test_validations_change_nothing_else(tmp_path):
    judge = Scores([0.1, 0.2, 0.3, 0.4, 0.5])
    judged, plain = train(tmp_path / "a.pt", Pictures(), OFTEN, judge=judge), train(tmp_path / "b.pt", Pictures())
    assert same(judged[0], plain[0]) and judged[1] == plain[1]


def test_a_mean_of_weights_is_what_is_judged_and_kept(tmp_path):
    judge = Scores([0.5, 0.4, 0.3, 0.2, 0.1])
    weights, _ = train(tmp_path / "a.pt", Pictures(), replace(OFTEN, ema=0.5), judge=judge)
    assert same(weights, judge.seen[0])
    plain = train(tmp_path / "b.pt", Pictures(), replace(CONFIG, steps=2))[0]
    assert not same(weights, plain)


def test_patience_ends_the_training(tmp_path, caplog):
    judge = Scores([0.1, 0.4, 0.2, 0.4])
    caplog.set_level("INFO")
    trainer = trainer_of(Pictures(), replace(OFTEN, patience=2))
    trainer.train(tmp_path / "a.pt", score=judge.score)
    assert trainer.step == 8 and len(judge.seen) == 4 and same(weights_of(trainer.model), judge.seen[1])
    assert "no better validation since step 4: the training ends" in caplog.text
    again = trainer_of(Pictures(), replace(OFTEN, patience=2), init=1)
    again.train(tmp_path / "a.pt", score=judge.score)  # killed after its last checkpoint
    assert again.step == 8 and len(judge.seen) == 4 and same(weights_of(again.model), judge.seen[1])


@pytest.mark.parametrize("share", [0.4, 0.7, 0.97])
def test_an_interrupted_training_has_the_validations_the_rates_and_the_record_of_one_that_was_not(tmp_path, share):
    config = replace(OFTEN, steps=21, schedule="plateau", plateau_after=1, mining="tuples", images_per_place=3)
    whole, judge = Pictures(), ByWeights()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    expected = train(tmp_path / "a" / "c.pt", whole, config, judge=judge)[0]
    found = ByWeights()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b" / "c.pt", Pictures(stop_at=int(share * whole.asked)), config, judge=found)
    assert same(train(tmp_path / "b" / "c.pt", Pictures(), config, judge=found, init=1)[0], expected)
    assert list(dict.fromkeys(found.scores)) == judge.scores
    record = (tmp_path / "a" / "training.csv").read_text()
    assert (tmp_path / "b" / "training.csv").read_text() == record


def test_the_record_has_losses_rates_and_validations(tmp_path):
    train(tmp_path / "a.pt", Pictures(), replace(OFTEN, steps=15), judge=Scores([0.1] * 8))
    rows = {int(row["step"]): row for row in csv.DictReader((tmp_path / "training.csv").open())}
    assert list(rows) == [2, 4, 6, 8, 10, 12, 14, 15]
    assert rows[2]["recall@1"] == "0.5" and rows[2]["infonce"] == ""
    assert all(float(rows[step][name]) > 0 for step in (10, 15) for name in ("infonce", "structural", "learning_rate"))


def test_tensorboard_gets_the_same_numbers_also_after_an_interruption(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config, whole = replace(CONFIG, steps=31, tensorboard=True, checkpoint_every=5), Pictures()
    train(tmp_path / "whole.pt", whole, replace(config, tensorboard=False))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "a.pt", Pictures(stop_at=int(0.8 * whole.asked)), config)
    train(tmp_path / "a.pt", Pictures(), config, init=1)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    rows = {int(row["step"]): float(row["infonce"]) for row in csv.DictReader((tmp_path / "training.csv").open())}
    assert {event.step: pytest.approx(event.value) for event in events.Scalars("infonce")} == rows
    assert list(rows) == [10, 20, 30, 31]


def rates(config, scores):
    """The rate at each step, of a parameter with half a share, with a validation's score after some steps."""
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "share": 0.5}], 1.0)
    found, schedule = [], Rates(optimizer, config)
    for step in range(config.steps):
        schedule.set(step)
        found.append(optimizer.param_groups[0]["lr"])
        if step + 1 in scores:
            schedule.validated(scores[step + 1])
    return found


def test_a_cosine_rises_and_falls_to_nothing():
    found = rates(TrainConfig(steps=100, learning_rate=2.0), {})
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and found[5] == pytest.approx(1.0)
    assert found[5:] == sorted(found[5:], reverse=True) and found[52] == pytest.approx(0.5, abs=0.02)
    assert 0 < found[99] < 0.001


def test_on_a_plateau_the_rate_is_lowered_after_so_many_validations_without_a_better_one():
    config = TrainConfig(steps=12, learning_rate=2.0, schedule="plateau", plateau_after=2, plateau_factor=0.1)
    found = rates(config, {2: 0.3, 4: 0.3, 6: 0.2, 8: 0.5, 10: 0.1})
    assert found == pytest.approx([1.0] * 6 + [0.1] * 6)
    assert rates(config, {2: 0.3, 4: 0.2, 6: 0.4, 8: 0.1}) == pytest.approx([1.0] * 12)


def test_pauses_come_in_order_and_hold_all_that_is_due():
    config = TrainConfig(steps=20, checkpoint_every=7, minings=2, validate_every=9)
    assert list(minings(config)) == [4, 12] and list(validations(config)) == [9, 18, 20]
    assert stops(config, 4) == [7, 9, 12, 14, 18, 20]
    tuples = TrainConfig(steps=20, mining="tuples", cached_queries=48, places=8, checkpoint_every=100)
    assert list(minings(tuples)) == [0, 6, 12, 18] and stops(tuples, 0) == [6, 12, 18, 20]


@pytest.mark.parametrize(
    ("options", "city", "words"),
    [
        ({"validate_every": 5}, "", "--validate-every needs something to validate on; pass --held-out"),
        ({"patience": 2}, "cph", "--patience goes by validations; pass --validate-every STEPS"),
        ({"schedule": "plateau"}, "cph", "--schedule plateau goes by validations"),
    ],
)
def test_what_needs_validations_says_so(options, city, words):
    with pytest.raises(VprError) as caught:
        check_validations(TrainConfig(**options), city)
    assert words in str(caught.value)
