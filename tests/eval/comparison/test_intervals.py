"""Intervals: means, the width that drives have, and the truth inside as often as is said."""

import numpy as np
import pytest

from vpr.eval.comparison.intervals import interval


def test_the_mean_is_over_trainings_and_queries():
    found = interval(np.array([[1, 0, 1, 1], [0, 0, 1, 0]]), np.array([0, 0, 1, 1]))
    assert found.mean == 0.5 and found.low <= 0.5 <= found.high


def test_equal_drives_and_trainings_leave_no_doubt():
    found = interval(np.tile([1.0, 0.0], (3, 4)), np.repeat(np.arange(4), 2))
    assert (found.low, found.mean, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_drives_and_not_queries_are_resampled():
    """Ten queries that succeed or fail together tell as much as one."""
    rng = np.random.default_rng(0)
    drives = np.repeat(np.arange(40), 10)
    together = np.repeat(rng.random(40) < 0.5, 10)
    by_drive, by_query = interval(together, drives), interval(together, np.arange(400))
    expected = 2 * 1.96 * together.std() / np.sqrt(40)
    assert by_drive.high - by_drive.low == pytest.approx(expected, rel=0.1)
    assert by_query.high - by_query.low == pytest.approx(expected / np.sqrt(10), rel=0.1)


def test_trainings_widen_the_interval_by_how_much_they_differ():
    drives = np.arange(2000)
    values = np.stack([np.random.default_rng(seed).random(2000) < share for seed, share in enumerate((0.4, 0.5, 0.6))])
    wide, narrow = interval(values, drives), interval(values.mean(0), drives)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_the_truth_lies_inside_as_often_as_is_said():
    rng, inside = np.random.default_rng(1), 0
    for trial in range(100):
        shares = rng.beta(2, 2, 50)  # of each drive; their mean is 1 / 2
        found = interval(rng.random(500) < np.repeat(shares, 10), np.repeat(np.arange(50), 10), seed=trial)
        inside += found.low <= 0.5 <= found.high
    assert 88 <= inside <= 100
