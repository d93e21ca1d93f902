"""Votes of a drive: the frames of a folder in their order say together where each of them was taken.

Each candidate of a frame has a probability, by the run's curve on its own separation. A candidate's vote is the mean,
over the frames of a window around its own, of the best probability among their candidates that a drive may have
reached: within 25 m, and ``reach`` metres more for each frame between. Frames without candidates elsewhere do not vote
for others. The candidate with the highest vote is the answer. Frames that agree are surer than their mean: `surer`
makes a probability of a vote.
"""

import numpy as np

from vpr.maps.candidates import Candidates
from vpr.retrieval.confidence import ELSEWHERE_M, Curve

SLOPE, INTERCEPT = 2.0, 0.5  # fitted on the held-out city of mini-MSLS, to 1.98 and 0.49


def surer(vote: np.ndarray) -> np.ndarray:
    """The probability that a vote is worth, whose log odds are `SLOPE` times those of the vote, and `INTERCEPT` more.

    >>> surer(np.array([0.5, 0.8])).round(2).tolist()
    [0.62, 0.96]
    """
    odds = np.exp(INTERCEPT) * (vote / np.maximum(1 - vote, 1e-9)) ** SLOPE
    return odds / (1 + odds)


def votes(found: Candidates, curve: Curve, window: int, reach: float) -> np.ndarray:
    """What the vote of every candidate (T, K) of the frames of a drive is worth, in [0, 1].

    window: frames on each side that vote. reach: metres between a frame and the next, at most.
    """
    likely = curve(found.separations)
    result = np.zeros(likely.shape)
    for frame in range(len(found)):
        around = range(max(0, frame - window), min(len(found), frame + window + 1))
        voters = [other for other in around if other == frame or found.tell[other]]
        for other in voters:
            if other == frame:
                result[frame] += likely[frame]
                continue
            apart = np.linalg.norm(found.places[frame][:, None] - found.places[other][None], axis=2)
            near = apart <= ELSEWHERE_M + reach * abs(other - frame)
            result[frame] += np.where(near, likely[other][None], 0).max(1)
        result[frame] /= len(voters)
        if len(voters) > 1:
            result[frame] = surer(result[frame])
    return result
