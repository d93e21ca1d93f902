"""Whether two results on the same queries differ by more than noise."""

from __future__ import annotations

import numpy as np


def paired_error(differences: np.ndarray) -> float:
    """The standard error of the mean of the differences (S,) of two results, query by query, if they are noise.

    Noise has expectation 0, so the error is sqrt(sum of d^2) / S, as in McNemar's test.

    >>> paired_error(np.array([1.0, -1.0, 0.0, 1.0, 1.0]))
    0.4
    """
    return float(np.sqrt((differences**2).sum()) / len(differences))
