"""Votes of a drive: the frames of a folder in their order say together where each of them was taken.

Each candidate of a frame has a probability, by the run's curve on its own separation. A candidate's vote is the mean,
over the frames of a window around its own, of the best probability among their candidates that a drive may have
reached: within 25 m, and ``reach`` metres more for each frame between. The candidate with the highest vote is the
answer, and its vote is the probability.
"""

import numpy as np

from vpr.maps.candidates import Candidates
from vpr.retrieval.confidence import ELSEWHERE_M, Curve


def votes(found: Candidates, curve: Curve, window: int, reach: float) -> np.ndarray:
    """The vote of every candidate (T, K) of the frames of a drive, in [0, 1].

    window: frames on each side that vote. reach: metres between a frame and the next, at most.
    """
    likely = curve(found.separations)
    result = np.zeros(likely.shape)
    for frame in range(len(found)):
        voters = range(max(0, frame - window), min(len(found), frame + window + 1))
        for other in voters:
            if other == frame:
                result[frame] += likely[frame]
                continue
            apart = np.linalg.norm(found.places[frame][:, None] - found.places[other][None], axis=2)
            near = apart <= ELSEWHERE_M + reach * abs(other - frame)
            result[frame] += np.where(near, likely[other][None], 0).max(1)
        result[frame] /= len(voters)
    return result
