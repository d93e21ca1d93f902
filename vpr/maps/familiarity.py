"""Familiarity: the best match of a photo, compared with the best matches of unknown places on the same map.

A sample of map photos is searched for with the photos of their own places excluded, as stand-ins for unknown places.
The best S_struct that each of them finds elsewhere is an unknown-place score. The *familiarity* of a photo is the share
of these scores that are lower than the S_struct of its own best match. It is low for a place that is not on the map.
"""

import numpy as np

from vpr.maps.map_sample import FEWEST, MapSample


def unknown_place_scores(sample: MapSample | None, place_m: float) -> np.ndarray:
    """The unknown-place scores of a map: S_struct, ascending, (S,) float32.

    place_m: size of a place, metres. Empty without a sample, and if fewer than `FEWEST` photos have a match elsewhere,
    as in maps of a few places.
    """
    if sample is None:
        return np.zeros(0, np.float32)
    found, away = sample.found, sample.distances_m > place_m
    best = np.where(away, found.scores, -np.inf).argmax(1)
    scores = found.structural[np.arange(len(away)), best][away.any(1)]
    if len(scores) < FEWEST:
        return np.zeros(0, np.float32)
    return np.sort(scores).astype(np.float32)


def familiarity(structural: float, unknown_scores: np.ndarray) -> float | None:
    """The familiarity of a photo by the S_struct of its best match, in [0, 1]; None without unknown-place scores.

    >>> familiarity(0.3, np.array([0.1, 0.2, 0.4, 0.5]))
    0.5
    """
    return float(np.searchsorted(unknown_scores, structural) / len(unknown_scores)) if len(unknown_scores) else None
