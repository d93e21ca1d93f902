"""The calibration error: worked out by hand, and its value by chance."""

import numpy as np
import pytest

from vpr.retrieval.reliability import calibration_error, chance_error


def test_the_calibration_error_by_hand():
    probabilities = np.array([0.05, 0.05, 0.95, 0.95, 1.0])
    right = np.array([False, True, True, True, False])
    # bins: |0.05 - 0.5| for two of five, |0.9667 - 0.6667| for three of five
    assert calibration_error(probabilities, right) == pytest.approx(0.4 * 0.45 + 0.6 * 0.3)


def test_correct_probabilities_of_few_answers_have_an_error_by_chance():
    """Of one answer with p = 0.7 it is 0.3 with probability 0.7, and 0.7 with 0.3."""
    assert chance_error(np.array([0.7]), draws=4000) == pytest.approx(0.7 * 0.3 + 0.3 * 0.7, abs=0.02)
    many = np.random.default_rng(1).random(20_000)
    assert chance_error(many, draws=3) < 0.02 and chance_error(np.array([0.0, 1.0])) == 0
