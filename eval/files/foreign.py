"""Somebody else's rankings: a prediction file to be scored, or a shortlist to be re-ranked."""

import logging
from pathlib import Path

import numpy as np

from vpr.datasets.msls.dataset import MSLS
from vpr.eval.files.prediction_file import PredictionError, read_predictions
from vpr.eval.files.resolve import UNKNOWN_QUERY, ProblemPolicy, resolve

log = logging.getLogger("vpr")


def read_rankings(path: Path, dataset: MSLS, strict: bool) -> np.ndarray:
    """The rankings (Q, K) of a prediction file; what is odd about it is logged with its count, or refused when strict.

    Raises PredictionError for a file that cannot be used, and for queries that no city of the tree has.
    """
    policy: ProblemPolicy = "error" if strict else "count"
    resolved = resolve(read_predictions(path), dataset, policy, policy)
    for problem in resolved.problems:
        if problem.kind == UNKNOWN_QUERY:
            raise PredictionError(f"{path}: {problem}; is the file for another dataset or split?")
        log.warning("%s: %s", path, problem)
    return resolved.ranked


def read_shortlist(path: Path, dataset: MSLS, depth: int) -> np.ndarray:
    """The first ``depth`` of each ranking, (Q, K) int64, with -1 behind. What is odd about the file is logged with its
    count. An entry that a row repeats is left out: re-ranking would give it two ranks.

    Raises PredictionError for a file that cannot be used, and for unknown keys: nothing can be re-ranked for them.
    """
    resolved = resolve(read_predictions(path), dataset, unknown="error")
    for problem in resolved.problems:
        log.warning("%s: %s", path, problem)
    ranked = without_repeats(resolved.ranked)
    if repeats := np.count_nonzero(resolved.ranked >= 0) - np.count_nonzero(ranked >= 0):
        log.warning("%s: %d repeated predictions are left out of the shortlist, the first of each stays", path, repeats)
    return ranked[:, :depth].astype(np.int64)


def without_repeats(ranked: np.ndarray) -> np.ndarray:
    """Rankings (Q, K) with each number once in its row, where it is first, and -1 behind."""
    result = np.full_like(ranked, -1)
    for row, numbers in enumerate(ranked.tolist()):
        once = [number for number in dict.fromkeys(numbers) if number >= 0]
        result[row, : len(once)] = once
    return result
