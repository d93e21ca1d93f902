"""Bootstrap intervals of a mean over queries. Whole groups are resampled, and trainings if there are several.

A group is a drive, or a class. Neighbouring queries of a drive succeed and fail together, so single queries must not be
resampled.
"""

from dataclasses import dataclass

import numpy as np

from vpr.datasets.retrieval_set import RetrievalSet

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval."""

    mean: float
    low: float
    high: float

    @property
    def percent(self) -> str:
        """In per cent, with the interval."""
        return f"{100 * self.mean:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


def resampling_groups(data: RetrievalSet) -> np.ndarray:
    """(S,) int: the group of each scored query, equal for queries that are resampled together.

    A group is a drive. If drives are unknown, or all queries belong to one drive, each query is a group.
    """
    known = data.drives is not None and len(np.unique(data.drives[data.scored])) > 1
    return data.drives[data.scored] if known else data.scored  # type: ignore[index]


def interval(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> Estimate:
    """The mean of values (T, Q) over T trainings and Q queries, with its percentile bootstrap interval of 95 %.

    groups: (Q,) int, equal for queries of one group. Each draw takes as many trainings and as many groups as there are,
    with replacement. For the difference of two methods pass the differences of their values, so that both share the
    draws.
    """
    values = np.atleast_2d(np.asarray(values, np.float64))
    _, number = np.unique(groups, return_inverse=True)
    count = np.bincount(number)
    sums = np.stack([np.bincount(number, row) for row in values])
    rng = np.random.default_rng(seed)
    trainings = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), DRAWS) / len(values)
    chosen = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), DRAWS)
    means = np.einsum("bt,td,bd->b", trainings, sums, chosen) / np.maximum(chosen @ count, 1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values.mean()), float(low), float(high))
