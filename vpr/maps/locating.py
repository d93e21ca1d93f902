"""From candidates to the position of a photo, its probability, and the decision whether it is on the map."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vpr.maps.candidates import Candidates
from vpr.maps.drive_filter import FramePlace, Stretch, follow, smooth_both
from vpr.maps.drives import Evidence, MapPlaces, read_evidence
from vpr.maps.familiarity import familiarity
from vpr.maps.on_map import MODELS, OnMapModels, on_map_log_odds, probabilities
from vpr.maps.options import LocateConfig
from vpr.maps.results import Located, MapMatch
from vpr.maps.store import PhotoTable
from vpr.retrieval.confidence import ELSEWHERE_M, Curve

DEFAULT_CONFIG = LocateConfig()


@dataclass(frozen=True, eq=False)
class MapContext:
    """The data of a map and its model that are needed to locate photos."""

    table: PhotoTable
    curve: Curve | None  # calibration: from separations to probabilities, of photos by themselves
    unknown_scores: np.ndarray  # (S,) as `vpr.maps.familiarity.unknown_place_scores`
    place_m: float = ELSEWHERE_M  # size of a place
    frame_curve: Curve | None = None  # of frames of drives, without geometry; None for ``curve``
    models: OnMapModels = field(default_factory=lambda: MODELS)  # from what is found to log odds of being on the map

    @cached_property
    def photos(self) -> MapPlaces:
        """Where the photos are."""
        return MapPlaces(self.table.places, self.place_m)

    def evidence(self, found: Candidates) -> list[Evidence]:
        """The evidence of the frames of a drive; there must be a curve."""
        assert self.curve is not None
        return read_evidence(
            found, len(self.table), self.frame_curve or self.curve, self.unknown_scores, self.log_odds(found)
        )

    def log_odds(self, found: Candidates) -> np.ndarray:
        """The log odds that the places of photos are on the map, (Q,); NaN if they are not known."""
        if self.curve is None:
            return np.full(len(found), np.nan)
        return on_map_log_odds(found, self.unknown_scores, self.models)

    def familiarities(self, found: Candidates) -> list[float | None]:
        """The familiarity of each photo."""
        return [familiarity(float(best), self.unknown_scores) for best in found.structural[:, 0]]


@dataclass(frozen=True, eq=False)
class _Answer:
    """The candidates of one photo in their final order, and where it is."""

    photo: int  # row of the photo in `Candidates`
    order: np.ndarray  # (K,) columns of `Candidates`, best first
    probability: float | None  # of the place
    on_map: float | None  # probability that its place is on the map
    centre: np.ndarray | None = None  # (3,) middle of the place; None for the first candidate
    mean: np.ndarray | None = None  # (3,) position if no candidate is in the place
    stretch: Stretch | None = None  # of a drive, to test the familiarity of all of it; None for a photo by itself


def locate(found: Candidates, names: Sequence[str], context: MapContext, config: LocateConfig) -> list[Located]:
    """The positions of Q photos, by their candidates in a map.

    A position is the mean of the candidates in the place of the first one, weighted by `Candidates.weights`. Its radius
    is the size of a place, which the probability refers to, plus the distance of the first candidate from that mean.
    Without calibration the probabilities are None, the threshold is ignored and frames of a drive are located one by
    one. They are also None if all candidates are in the place of the first. A photo is not on the map if its on-map
    probability or its familiarity is below the threshold; one that is None refuses nothing. A photo without candidates
    is not on the map, and has no position.
    """
    if config.sequence and context.curve is not None:
        track = smooth_both(context.photos, context.evidence(found))
        stretches = follow(context.photos, track, context.familiarities(found))
        answers = [_drive_answer(found, n, *one, context) for n, one in enumerate(zip(track, stretches))]
    else:
        chances = probabilities(context.log_odds(found)).tolist()
        answers = [_single_answer(found, number, context.curve, on_map) for number, on_map in enumerate(chances)]
    return [_locate_one(name, found, answer, context, config) for name, answer in zip(names, answers)]


def locate_frame(
    found: Candidates, name: str, at: FramePlace, stretch: Stretch, context: MapContext, config: LocateConfig
) -> Located:
    """The position of the one photo in ``found``, a frame of a drive that is at this place."""
    return _locate_one(name, found, _drive_answer(found, 0, at, stretch, context), context, config)


def _single_answer(found: Candidates, photo: int, curve: Curve | None, on_map: float = np.nan) -> _Answer:
    """The answer for a photo by itself. on_map: the probability that it is; NaN if that is not known."""
    order = np.arange(found.rows.shape[1])
    probability = None
    if curve is not None:
        probability = float(curve(found.separations[photo, 0])) if found.rows[photo, 0] >= 0 else 0.0
    return _Answer(photo, order, probability, None if np.isnan(on_map) else on_map)


def _drive_answer(found: Candidates, photo: int, at: FramePlace, stretch: Stretch, context: MapContext) -> _Answer:
    """The answer for a frame of a drive: first the candidates in its place, the likeliest first."""
    if at.best < 0 or found.rows[photo, 0] < 0:
        return _single_answer(found, photo, context.curve)
    rows, places = found.rows[photo], context.photos.places
    centre = places[at.best]
    in_place = np.linalg.norm(found.places[photo] - centre, axis=1) <= context.place_m  # False for padding
    mass = np.where(rows >= 0, at.mass_of(rows), -1.0)
    order = np.lexsort((-mass, rows != at.best, ~in_place))
    near = np.linalg.norm(places[at.rows] - centre, axis=1) <= context.place_m
    mean = (at.mass[near, None] * places[at.rows[near]]).sum(0) / at.mass[near].sum()
    on_map = at.on_map if at.second_on_map is None else at.second_on_map
    if stretch.is_far:  # by chance, streets are not alike for so long
        on_map = max(on_map, at.on_map)
    return _Answer(photo, order, at.if_on_map, on_map, centre, mean, stretch)


def _locate_one(name: str, found: Candidates, answer: _Answer, context: MapContext, config: LocateConfig) -> Located:
    """The position of one photo."""
    photo, order, probability, place_m = answer.photo, answer.order, answer.probability, context.place_m
    if found.rows[photo, order[0]] < 0:
        return Located.without_candidates(name, found.not_searched, context.table.kind)
    places, weights = found.places[photo][order], found.weights[photo][order]
    centre = places[0] if answer.centre is None else answer.centre
    agreeing = np.linalg.norm(places - centre, axis=1) <= place_m  # False for padding
    if not found.has_rivals[photo]:  # no candidate elsewhere to compare the first one with
        probability = None
    mean = answer.mean
    if agreeing.any():
        mean = (weights[agreeing, None] * places[agreeing]).sum(0) / weights[agreeing].sum()
    assert mean is not None
    frame = context.table.frame
    mean = frame.settle(mean)
    familiar = familiarity(float(found.structural[photo, order[0]]), context.unknown_scores)
    if answer.stretch is None:
        is_familiar = familiar is None or familiar >= config.familiarity
    else:
        is_familiar = answer.stretch.is_familiar(config.familiarity)
    on_map = (answer.on_map is None or answer.on_map >= config.threshold) and is_familiar
    return Located.at(
        frame.kind,
        frame.position(mean),
        float(place_m + np.linalg.norm(centre - mean)),
        photo=name,
        on_map=on_map,
        probability=probability,
        familiarity=familiar,
        separation=float(found.separations[photo, order[0]]),
        agreeing=int(agreeing.sum()),
        matches=_matches(found, answer, np.linalg.norm(places - mean, axis=1)[: config.top], context.table),
        not_searched=found.not_searched,
        on_map_probability=answer.on_map,
        is_unfamiliar=not is_familiar,
    )


def _matches(found: Candidates, answer: _Answer, distances: np.ndarray, table: PhotoTable) -> tuple[MapMatch, ...]:
    """The first candidates of a photo; distances (top,): from its position."""
    photo = answer.photo
    return tuple(
        MapMatch.at(
            table.kind,
            table.position(found.rows[photo, column]),
            float(distance),
            photo=str(table.keys[found.rows[photo, column]]),
            s_global=float(found.global_similarity[photo, column]),
            s_struct=float(found.structural[photo, column]),
        )
        for column, distance in zip(answer.order, distances)
        if found.rows[photo, column] >= 0
    )
