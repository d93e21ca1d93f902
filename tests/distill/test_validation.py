"""Validation during a training: the best weights, early stopping, the plateau schedule, and the log."""

import csv
from dataclasses import replace

import pytest
from training import CONFIG, Pictures, Scores, same, train, trainer_of, weights_of

from vpr.base.errors import VprError
from vpr.distill.settings import TrainConfig
from vpr.distill.training.validation import check_validation

pytestmark = pytest.mark.slow

OFTEN = replace(CONFIG, validate_every=2)  # after steps 2, 4, 6, 8 and 9


class ScoreByWeights(Scores):
    """A validator whose score depends on the weights alone."""

    def score(self, model):
        value = float(sum(weight.double().sin().sum() for weight in weights_of(model).values()))
        self.scores.append(value)
        return {"score": value, "recall@1": 0.5}


def test_the_weights_of_the_best_validation_are_kept(tmp_path):
    validator = Scores([0.1, 0.4, 0.2, 0.4, 0.3])
    weights, _ = train(tmp_path / "a.pt", Pictures(), OFTEN, validator=validator)
    assert len(validator.seen) == 5 and same(weights, validator.seen[1]) and not same(weights, validator.seen[4])


def test_validations_do_not_change_the_training(tmp_path):
    validator = Scores([0.1, 0.2, 0.3, 0.4, 0.5])
    validated = train(tmp_path / "a.pt", Pictures(), OFTEN, validator=validator)
    plain = train(tmp_path / "b.pt", Pictures())
    assert same(validated[0], plain[0]) and validated[1] == plain[1]


def test_ema_weights_are_validated_and_kept(tmp_path):
    validator = Scores([0.5, 0.4, 0.3, 0.2, 0.1])
    weights, _ = train(tmp_path / "a.pt", Pictures(), replace(OFTEN, ema=0.5), validator=validator)
    assert same(weights, validator.seen[0])
    plain = train(tmp_path / "b.pt", Pictures(), replace(CONFIG, steps=2))[0]
    assert not same(weights, plain)


def test_patience_stops_the_training_early(tmp_path, caplog):
    validator = Scores([0.1, 0.4, 0.2, 0.4])
    caplog.set_level("INFO")
    trainer = trainer_of(Pictures(), replace(OFTEN, patience=2))
    trainer.train(tmp_path / "a.pt", score=validator.score)
    assert trainer.step == 8 and len(validator.seen) == 4 and same(weights_of(trainer.model), validator.seen[1])
    assert "early stopping: no improvement since step 4" in caplog.text
    again = trainer_of(Pictures(), replace(OFTEN, patience=2), init=1)
    again.train(tmp_path / "a.pt", score=validator.score)  # killed after its last checkpoint
    assert again.step == 8 and len(validator.seen) == 4 and same(weights_of(again.model), validator.seen[1])


@pytest.mark.parametrize("share", [0.4, 0.7, 0.97])
def test_an_interrupted_training_has_the_validations_rates_and_log_of_an_uninterrupted_one(tmp_path, share):
    config = replace(OFTEN, steps=21, schedule="plateau", plateau_after=1, mining="tuples", images_per_place=3)
    whole, validator = Pictures(), ScoreByWeights()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    expected = train(tmp_path / "a" / "c.pt", whole, config, validator=validator)[0]
    interrupted = ScoreByWeights()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b" / "c.pt", Pictures(stop_at=int(share * whole.asked)), config, validator=interrupted)
    assert same(train(tmp_path / "b" / "c.pt", Pictures(), config, validator=interrupted, init=1)[0], expected)
    assert list(dict.fromkeys(interrupted.scores)) == validator.scores
    table = (tmp_path / "a" / "training.csv").read_text()
    assert (tmp_path / "b" / "training.csv").read_text() == table


def test_the_log_has_losses_rates_and_validations(tmp_path):
    train(tmp_path / "a.pt", Pictures(), replace(OFTEN, steps=15), validator=Scores([0.1] * 8))
    rows = {int(row["step"]): row for row in csv.DictReader((tmp_path / "training.csv").open())}
    assert list(rows) == [2, 4, 6, 8, 10, 12, 14, 15]
    assert rows[2]["recall@1"] == "0.5" and rows[2]["infonce"] == ""
    assert all(float(rows[step][name]) > 0 for step in (10, 15) for name in ("infonce", "structural", "learning_rate"))


def test_tensorboard_gets_the_same_numbers_after_an_interruption(tmp_path):
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


@pytest.mark.parametrize(
    ("options", "held_out", "words"),
    [
        ({"validate_every": 5}, "", "--validate-every needs held-out data; pass a value for --held-out"),
        ({"patience": 2}, "cph", "--patience needs validations; pass --validate-every STEPS"),
        ({"schedule": "plateau"}, "cph", "--schedule plateau needs validations"),
    ],
)
def test_options_that_need_validations_are_refused_without_them(options, held_out, words):
    with pytest.raises(VprError) as caught:
        check_validation(TrainConfig(**options), held_out)
    assert words in str(caught.value)
