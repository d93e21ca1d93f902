"""The choice of a setting: worked out by hand, and against exact tests of pairs."""

import numpy as np
import pytest
from scipy.stats import binomtest

from vpr.eval.calibration.choice import choose_setting
from vpr.eval.calibration.criterion import PLACE_CRITERION, Setting
from vpr.eval.labels.label_metrics import LABEL_CRITERION

PRIOR = Setting("complement", 0.7, 40.0)
FIRST, FAR = Setting("complement", 0.85, 5.0), Setting("complement", 1.0, 0.0)


def answers(count, wrong):
    values = np.ones(count)
    values[list(wrong)] = 0
    return values


def test_the_prior_is_chosen_as_long_as_its_difference_from_the_best_is_noise():
    best = answers(100, ())
    within = choose_setting({FIRST: best, PRIOR: answers(100, range(9)), FAR: answers(100, range(50))}, PRIOR)
    assert (within.setting, within.best, set(within.equal)) == (PRIOR, FIRST, {PRIOR, FIRST})
    assert within.difference == pytest.approx(0.09) and within.error == pytest.approx(0.03)  # sqrt(9) / 100
    assert "w 5 to 40 and mass 0.7 to 0.85; the best is w 5, mass 0.85, by 9.0 +- 9.0 points" in within.summary()
    beyond = choose_setting({FIRST: best, PRIOR: answers(100, range(10))}, PRIOR)
    assert beyond.setting == FIRST and beyond.difference == 0 and "worse beyond noise" in beyond.summary()
    assert beyond.record()["weights"] == [5.0, 5.0] and beyond.record()["settings"] == 1


def test_noise_is_about_what_the_exact_test_of_mcnemar_calls_noise():
    for better, worse in [(3, 0), (9, 0), (14, 6), (30, 10), (60, 50), (90, 50)]:
        other = answers(400, range(200, 200 + worse))
        kept = choose_setting({FIRST: other, PRIOR: answers(400, range(better))}, PRIOR).setting == PRIOR
        assert kept == (binomtest(better, better + worse).pvalue > 0.0027)  # three standard errors


def test_the_nearest_to_the_prior_is_chosen_and_of_equal_ones_the_larger_mass():
    same = answers(9, (1,))
    near = [Setting("complement", 0.85, 20.0), Setting("complement", 0.85, 40.0), Setting("complement", 0.55, 40.0)]
    assert choose_setting({FAR: same, **dict.fromkeys(near, same)}, PRIOR).setting == near[1]


@pytest.mark.parametrize("criterion", [PLACE_CRITERION, LABEL_CRITERION])
def test_the_values_of_queries_average_to_the_value_of_the_criterion(criterion):
    rng = np.random.default_rng(0)
    ranked = np.argsort(rng.random((30, 40)), axis=1)
    positives = [rng.choice(40, rng.integers(1, 6), replace=False) for _ in ranked]
    values = criterion.values(ranked, positives)
    assert values.shape == (30,) and values.mean() == pytest.approx(
        criterion.value(criterion.metrics(ranked, positives))
    )
