"""How familiar a photo's best match is, against what photos of unknown places would find on the same map.

Some photos of the map are asked for with everything within 25 m of them left out: they are strangers then. The
*familiarity* of a photo is the share of these strangers whose best match elsewhere is less alike, by S_struct. A place
that the map does not have is about as familiar as a stranger or less.
"""

import numpy as np

from vpr.maps.candidates import Comparer, Described
from vpr.retrieval.confidence import ELSEWHERE_M

STRANGERS, FEWEST = 200, 20  # photos that are asked for, at most and at least
DEPTH = 100


def strangers(comparer: Comparer) -> np.ndarray:
    """S_struct of the best matches elsewhere of some photos of a map, rising, (S,) float32.

    Empty where fewer than `FEWEST` photos have a match elsewhere: in small maps, and those of a few places.
    """
    photos = np.unique(np.linspace(0, len(comparer.rows) - 1, STRANGERS).astype(int))
    if len(photos) < FEWEST:
        return np.zeros(0, np.float32)
    cache, rows = comparer.cache, comparer.rows[photos]
    found = comparer.find(Described(np.asarray(cache.globals_[rows]), cache.read_patches(rows)), DEPTH)
    away = np.linalg.norm(found.places - comparer.places[photos][:, None], axis=2) > ELSEWHERE_M
    best = np.where(away, found.scores, -np.inf).argmax(1)
    alike = found.structural[np.arange(len(photos)), best][away.any(1)]
    if len(alike) < FEWEST:
        return np.zeros(0, np.float32)
    return np.sort(alike).astype(np.float32)


def familiarity(structural: float, strangers: np.ndarray) -> float | None:
    """Of a photo whose best match has this S_struct, in [0, 1]; None without strangers.

    >>> familiarity(0.3, np.array([0.1, 0.2, 0.4, 0.5]))
    0.5
    """
    return float(np.searchsorted(strangers, structural) / len(strangers)) if len(strangers) else None
