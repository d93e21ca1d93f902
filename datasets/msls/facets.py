"""Labels of the queries besides their images: city, light, view direction."""

import numpy as np

from vpr.datasets.msls.city import City
from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.msls.metadata import VIEW_DIRECTIONS
from vpr.datasets.msls.sequences import centres

UNKNOWN = "unknown"


def facets(dataset: MSLS) -> dict[str, np.ndarray]:
    """(Q,) str labels of the queries by facet, without facets that have the same label for all queries.

    ``city``; ``light``: day or night; ``view``: the direction of the centre frame.
    """
    by_city = [_city_facets(city) for city in dataset.cities]
    all_labels = {name: np.concatenate([labels[name] for labels in by_city]) for name in by_city[0]}
    return {name: labels for name, labels in all_labels.items() if len(set(labels.tolist())) > 1}


def _city_facets(city: City) -> dict[str, np.ndarray]:
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
