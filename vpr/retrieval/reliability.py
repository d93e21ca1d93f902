"""The reliability of probabilities: bins, and the calibration error. Arrays are (Q,), one value a query."""

import numpy as np

BINS = 10  # of probabilities, equally wide


def calibration_error(probabilities: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Expected calibration error: the mean over queries of |mean probability - share right| of the query's bin, over
    `BINS` bins (Guo et al., ICML 2017).

    weights: how much each query counts; None counts all alike.

    >>> calibration_error(np.array([0.25, 0.25, 1.0, 1.0]), np.array([True, False, True, True]))
    0.125
    """
    share = np.ones(len(right)) if weights is None else weights
    gaps = [abs((share * (probabilities - right))[b].sum()) for b in probability_bins(probabilities)]
    return float(np.sum(gaps) / share.sum())


def equal_weights(classes: np.ndarray) -> np.ndarray:
    """The weights (Q,) by which both classes (Q,) bool count the same, whatever their numbers.

    >>> equal_weights(np.array([True, False, False, False, False])).tolist()
    [0.5, 0.125, 0.125, 0.125, 0.125]
    """
    return np.asarray(np.where(classes, 0.5 / max(classes.sum(), 1), 0.5 / max((~classes).sum(), 1)))


def chance_error(probabilities: np.ndarray, draws: int = 200) -> float:
    """The mean calibration error of answers that are right with these very probabilities. For few queries it is not 0.

    draws: how often the answers are drawn, with a fixed seed.
    """
    rng = np.random.default_rng(0)
    draws_right = [rng.random(len(probabilities)) < probabilities for _ in range(draws)]
    return float(np.mean([calibration_error(probabilities, right) for right in draws_right]))


def probability_bins(probabilities: np.ndarray) -> list[np.ndarray]:
    """For each bin that is not empty, in rising order: whether the probability of a query is in it, (Q,) bool."""
    place = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    return [place == number for number in np.unique(place)]
