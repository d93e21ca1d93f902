"""From candidates to the position of a photo, its probability, and the decision whether it is on the map."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr.maps.candidates import Candidates
from vpr.maps.drives import frame_spacing, votes
from vpr.maps.familiarity import familiarity
from vpr.maps.geodesy import places_to_degrees
from vpr.maps.options import LocateConfig
from vpr.maps.results import Located, MapMatch
from vpr.maps.store import PhotoTable
from vpr.retrieval.confidence import ELSEWHERE_M, Curve

log = logging.getLogger("vpr")

DEFAULT_CONFIG = LocateConfig()


@dataclass(frozen=True, eq=False)
class MapContext:
    """The data of a map and its model that are needed to locate photos."""

    table: PhotoTable
    curve: Curve | None  # calibration: from separations to probabilities
    unknown_scores: np.ndarray  # (S,) as `vpr.maps.familiarity.unknown_place_scores`


@dataclass(frozen=True, eq=False)
class _Ranking:
    """The candidates of one photo in their final order."""

    photo: int  # row of the photo in `Candidates`
    order: np.ndarray  # (K,) columns of `Candidates`, best first
    probability: float | None  # of the first one


def locate(found: Candidates, names: Sequence[str], context: MapContext, config: LocateConfig) -> list[Located]:
    """The positions of Q photos, by their candidates in a map.

    A position is the mean of the candidates within 25 m of the first one, weighted by `Candidates.weights`. Its radius
    is 25 m, which the probability refers to, plus the distance of the first candidate from that mean. Without
    calibration the probability is None, the threshold is ignored and frames do not vote. The probability is also None
    if all candidates are within 25 m of the first. A photo is not on the map if its probability or its familiarity is
    below the threshold; one that is None refuses nothing. A photo without candidates is not on the map, and has no
    position.
    """
    curve = context.curve
    probabilities = None if curve is None else found.probabilities(curve)
    if config.sequence and curve is not None:
        _warn_of_reach(found, curve, config)
        probabilities = votes(found, curve, config.window, config.reach)
        orders = np.argsort(-probabilities, axis=1, kind="stable")
    else:
        orders = np.tile(np.arange(found.rows.shape[1]), (len(found), 1))
    located = []
    for photo, (name, order) in enumerate(zip(names, orders)):
        probability = None if probabilities is None else float(probabilities[photo, order[0]])
        located.append(_locate_one(name, found, _Ranking(photo, order, probability), context, config))
    return located


def _warn_of_reach(found: Candidates, curve: Curve, config: LocateConfig) -> None:
    """Log a warning if the frames of a drive are too far apart: then no frame supports another one."""
    spacing = frame_spacing(found, curve)
    if config.window and spacing is not None and spacing > ELSEWHERE_M + config.reach:
        log.warning(
            "frames of this drive lie about %.0f m apart, and --reach is %g m, so that they do not support each other; "
            "pass --reach %d", spacing, config.reach, 10 * math.ceil(0.15 * spacing),
        )  # fmt: skip


def _locate_one(name: str, found: Candidates, ranking: _Ranking, context: MapContext, config: LocateConfig) -> Located:
    """The position of one photo."""
    photo, order, probability = ranking.photo, ranking.order, ranking.probability
    if found.rows[photo, order[0]] < 0:
        return Located.without_candidates(name, found.not_searched)
    places, weights = found.places[photo][order], found.weights[photo][order]
    from_first = np.linalg.norm(places - places[0], axis=1)  # NaN for padding
    agreeing = from_first <= ELSEWHERE_M
    if not (from_first > ELSEWHERE_M).any():  # no candidate elsewhere to compare the first one with
        probability = None
    mean = (weights[agreeing, None] * places[agreeing]).sum(0) / weights[agreeing].sum()
    latitude, longitude = places_to_degrees(mean[None])
    metres = np.linalg.norm(places - mean, axis=1)
    familiar = familiarity(float(found.structural[photo, order[0]]), context.unknown_scores)
    on_map = (probability is None or probability >= config.threshold) and (
        familiar is None or familiar >= config.familiarity
    )
    return Located(
        photo=name,
        on_map=on_map,
        latitude=float(latitude[0]),
        longitude=float(longitude[0]),
        radius_m=float(ELSEWHERE_M + metres[0]),
        probability=probability,
        familiarity=familiar,
        separation=float(found.separations[photo, order[0]]),
        agreeing=int(agreeing.sum()),
        matches=_matches(found, ranking, metres[: config.top], context.table),
        not_searched=found.not_searched,
    )


def _matches(found: Candidates, ranking: _Ranking, metres: np.ndarray, table: PhotoTable) -> tuple[MapMatch, ...]:
    """The first candidates of a photo; metres (top,): their distances from its position."""
    photo = ranking.photo
    return tuple(
        MapMatch(
            photo=str(table.keys[found.rows[photo, column]]),
            latitude=float(table.latitude[found.rows[photo, column]]),
            longitude=float(table.longitude[found.rows[photo, column]]),
            metres=float(distance),
            s_global=float(found.global_similarity[photo, column]),
            s_struct=float(found.structural[photo, column]),
        )
        for column, distance in zip(ranking.order, metres)
        if found.rows[photo, column] >= 0
    )
