"""The size of a place: the distance beyond which two photos of a map show different places.

MSLS has a frame every 10 m and calls 25 m one place. A walk with a photo every 2 m, a road with one every 100 m and a
hall have others. So the size is estimated from the map itself. The photos of a sample are searched for in the map. The
*step* of the map is the median distance of a photo to the most alike one at another position: usually the next frame of
the same drive. A place reaches `NEIGHBOURS` steps. If the frames after that are still nearly as alike as the next one,
as in a dense walk, the place grows with them. If the most alike photos are not neighbours, each photo is a place of its
own, which ends before the next photo.

The size scales with the positions: a walk that is declared three times as long has places three times as large.
"""

import numpy as np

from vpr.maps.map_sample import MapSample
from vpr.positions.map_frame import NEIGHBOURS
from vpr.retrieval.confidence import ELSEWHERE_M

LONE = 0.75  # the same in distances to the nearest photo, if neighbours do not look alike
NEAR_SHARE, FEWEST_NEAR = 0.1, 5  # share and minimum number of the map's photos that are neighbours of one
MOST_ALIKE = 0.75  # of the alikeness of the best match, which frames in the middle of a place exceed
MOST_STEPS = 30  # maximum number of steps to follow the alikeness


def estimate_place_m(sample: MapSample | None, usual: float = ELSEWHERE_M) -> float:
    """The size of a place on a map; ``usual`` for a map with too few photos, or with one position.

    Both are in the unit of the map's frame.
    """
    if sample is None:
        return usual
    distances = np.where(sample.distances_m > 0, sample.distances_m, np.inf)  # inf: the photo itself, and padding
    has_other = np.isfinite(distances).any(1)
    nearest, near = _neighbourhoods(sample)
    if not (has_other & np.isfinite(nearest)).any():
        return usual
    best = np.where(np.isfinite(distances), sample.found.scores, -np.inf).argmax(1)
    steps = np.take_along_axis(distances, best[:, None], 1)[:, 0]
    has_neighbour = has_other & (steps <= near)
    if 2 * has_neighbour.sum() < has_other.sum():
        return LONE * float(np.median(nearest[np.isfinite(nearest)]))
    step = float(np.median(steps[has_neighbour]))
    return NEIGHBOURS * step * _alike_steps(sample.found.structural, distances, step)


def are_one_place(places: np.ndarray, place_m: float) -> bool:
    """Whether any two of the places (N, 3) are at most the size of a place apart."""
    different = np.unique(places, axis=0)
    if not len(different) or np.linalg.norm(np.ptp(different, axis=0)) <= place_m:
        return True
    return all(float(np.linalg.norm(different - place, axis=1).max()) <= place_m for place in different)


def _neighbourhoods(sample: MapSample) -> tuple[np.ndarray, np.ndarray]:
    """The distance of each photo to the nearest other position, and that within which its neighbours lie, (S,) each.

    Both are infinite if all photos of the map are at one position.
    """
    rank = max(FEWEST_NEAR, int(NEAR_SHARE * len(sample.places))) - 1
    nearest, near = np.full((2, len(sample.photos)), np.inf)
    for number, photo in enumerate(sample.photos):
        metres = np.linalg.norm(sample.places - sample.places[photo], axis=1)
        metres = metres[metres > 0]
        if len(metres):
            rank_here = min(rank, len(metres) - 1)
            nearest[number], near[number] = metres.min(), np.partition(metres, rank_here)[rank_here]
    return nearest, near


def _alike_steps(structural: np.ndarray, distances: np.ndarray, step: float) -> float:
    """The number of steps, at least 1, over which photos stay alike.

    structural, distances (S, K): S_struct of the candidates, and their distances in metres, inf if not compared. The
    alikeness of a candidate is its S_struct above the median of the photo's candidates, divided by that of the best.
    """
    scores = np.where(np.isfinite(distances), structural, np.nan)[np.isfinite(distances).any(1)]
    distances = distances[np.isfinite(distances).any(1)]
    median = np.nanmedian(scores, axis=1, keepdims=True)
    alikeness = (scores - median) / np.maximum(np.nanmax(scores, axis=1, keepdims=True) - median, 1e-9)
    before = np.inf
    for count in range(1, MOST_STEPS + 1):
        at_count = np.abs(distances / step - count) <= 0.5
        mean = float(alikeness[at_count].mean()) if at_count.any() else -np.inf
        if mean < MOST_ALIKE:
            if count == 1 or not np.isfinite(mean):
                return max(1.0, count - 1.0)
            return count - 1 + (before - MOST_ALIKE) / (before - mean)
        before = mean
    return float(MOST_STEPS)
