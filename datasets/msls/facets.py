"""What is known of the queries beside their images: city, light, view direction."""

import numpy as np

from vpr.datasets.msls.city import City
from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.msls.metadata import VIEW_DIRECTIONS
from vpr.datasets.msls.sequences import centres

UNKNOWN = "unknown"


def facets(dataset: MSLS) -> dict[str, np.ndarray]:
    """(Q,) str labels of the queries by name of facet; a facet that tells no query from another is left out.

    ``city``; ``light``: day or night; ``view``: the direction of the centre frame.
    """
    by_city = [_of_city(city) for city in dataset.cities]
    every = {name: np.concatenate([labels[name] for labels in by_city]) for name in by_city[0]}
    return {name: labels for name, labels in every.items() if len(set(labels.tolist())) > 1}


def _of_city(city: City) -> dict[str, np.ndarray]:
    side = city.query
    view = np.full(len(side), UNKNOWN, dtype=object)
    if side.view_direction is not None:
        names = np.array([name.lower() for name in VIEW_DIRECTIONS], dtype=object)
        view = names[side.view_direction[centres(side.frames)]]
    return {
        "city": np.full(len(side), city.name, dtype=object),
        "light": np.where(side.night, "night", "day").astype(object),
        "view": view,
    }
