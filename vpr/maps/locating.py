"""From candidates to positions: which candidates agree, how sure the answer is, and whether it is on the map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr.maps.candidates import Candidates
from vpr.maps.drives import votes
from vpr.maps.familiarity import familiarity
from vpr.maps.geodesy import degrees_of
from vpr.maps.options import LocateConfig
from vpr.maps.results import Located, MapMatch
from vpr.maps.store import PhotoTable
from vpr.retrieval.confidence import ELSEWHERE_M, Curve

USUAL = LocateConfig()


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a map and its model."""

    table: PhotoTable
    curve: Curve | None  # from separations to probabilities
    strangers: np.ndarray  # (S,) as `vpr.maps.familiarity.strangers` gives them


def locate(found: Candidates, names: Sequence[str], known: Known, config: LocateConfig) -> list[Located]:
    """Where each of Q photos was taken, by its candidates in a map.

    Without a curve no probability is told, none is too low, and frames do not vote; of a photo whose candidates all lie
    within 25 m of the first none is told either. The position is the mean of the
    candidates within 25 m of the first one, weighed by `Candidates.weights`. The radius is 25 m, which the probability
    is of, and the distance of that mean from the first.
    """
    curve, likely = known.curve, None if known.curve is None else known.curve(found.separations)
    if config.sequence and curve is not None:
        likely = votes(found, curve, config.window, config.reach)
        order = np.argsort(-likely, axis=1, kind="stable")
    else:
        order = np.tile(np.arange(found.rows.shape[1]), (len(found), 1))
    return [
        _located(found, photo, order[photo], None if likely is None else float(likely[photo, order[photo, 0]]),
                 (name, known, config))
        for photo, name in enumerate(names)
    ]  # fmt: skip


def _located(
    found: Candidates,
    photo: int,
    order: np.ndarray,
    probability: float | None,
    said: tuple[str, Known, LocateConfig],
) -> Located:
    """Of one photo, whose candidates come in an order (K,)."""
    name, known, config = said
    table = known.table
    places, weights = found.places[photo][order], found.weights[photo][order]
    agree = np.linalg.norm(places - places[0], axis=1) <= ELSEWHERE_M
    if agree.all():  # in one place nothing stands out
        probability = None
    mean = (weights[agree, None] * places[agree]).sum(0) / weights[agree].sum()
    latitude, longitude = degrees_of(mean[None])
    metres = np.linalg.norm(places - mean, axis=1)
    matches = tuple(
        MapMatch(
            str(table.keys[found.rows[photo, place]]),
            float(table.latitude[found.rows[photo, place]]),
            float(table.longitude[found.rows[photo, place]]),
            float(metres[rank]),
            float(found.global_[photo, place]),
            float(found.structural[photo, place]),
        )
        for rank, place in enumerate(order[: config.top])
    )
    familiar = familiarity(float(found.structural[photo, order[0]]), known.strangers)
    on_map = (probability is None or probability >= config.threshold) and (
        familiar is None or familiar >= config.familiarity
    )
    separation = float(found.separations[photo, order[0]])
    radius = float(ELSEWHERE_M + metres[0])
    where = float(latitude[0]), float(longitude[0]), radius
    return Located(name, on_map, *where, probability, familiar, separation, int(agree.sum()), matches,
                   found.not_searched)  # fmt: skip
