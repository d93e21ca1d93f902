"""Votes of a drive: neighbouring frames vote on where each frame was taken.

Each candidate of a frame has a probability: the run's calibration curve at its separation. For a vote, each frame of
the window contributes the highest probability among its candidates that the drive can have reached: those within 25 m,
plus ``reach`` metres for each frame between. The vote of a candidate is the mean of these. Frames whose candidates are
all in one place vote only for themselves. The candidate with the highest vote is the answer. Agreement of several
frames is stronger evidence than the mean of their probabilities, so `calibrate_vote` turns a vote into a probability.
"""

import numpy as np

from vpr.maps.candidates import Candidates
from vpr.retrieval.confidence import ELSEWHERE_M, Curve

SLOPE, INTERCEPT = 2.0, 0.5  # fitted on the held-out city of mini-MSLS, to 1.98 and 0.49
LIKELY = 0.5  # minimum probability of a frame for the estimate of the spacing
FEWEST_PAIRS = 3  # minimum number of consecutive pairs of such frames


def calibrate_vote(vote: np.ndarray) -> np.ndarray:
    """Calibrated probability: logit(p) = SLOPE * logit(vote) + INTERCEPT.

    >>> calibrate_vote(np.array([0.5, 0.8])).round(2).tolist()
    [0.62, 0.96]
    """
    odds = np.exp(INTERCEPT) * (vote / np.maximum(1 - vote, 1e-9)) ** SLOPE
    return np.asarray(odds / (1 + odds))


def votes(found: Candidates, curve: Curve, window: int, reach: float) -> np.ndarray:
    """The calibrated votes (T, K) of the candidates of T frames, in [0, 1].

    window: frames on each side that vote. reach: maximum distance between consecutive frames, metres.
    """
    probabilities = found.probabilities(curve)
    result = np.zeros(probabilities.shape)
    for frame in range(len(found)):
        around = range(max(0, frame - window), min(len(found), frame + window + 1))
        voters = [other for other in around if other == frame or found.has_rivals[other]]
        for other in voters:
            if other == frame:
                result[frame] += probabilities[frame]
                continue
            apart = np.linalg.norm(found.places[frame][:, None] - found.places[other][None], axis=2)
            near = apart <= ELSEWHERE_M + reach * abs(other - frame)
            result[frame] += np.where(near, probabilities[other][None], 0).max(1)
        result[frame] /= len(voters)
        if len(voters) > 1:
            result[frame] = calibrate_vote(result[frame])
    return result


def frame_spacing(found: Candidates, curve: Curve) -> float | None:
    """The median distance between consecutive frames, metres, by their first candidates.

    Only frames with a probability of at least `LIKELY` are used. None if there are fewer than `FEWEST_PAIRS` pairs.
    """
    likely = found.probabilities(curve)[:, 0] >= LIKELY
    pairs = np.flatnonzero(likely[:-1] & likely[1:])
    if len(pairs) < FEWEST_PAIRS:
        return None
    return float(np.median(np.linalg.norm(found.places[pairs + 1, 0] - found.places[pairs, 0], axis=1)))
