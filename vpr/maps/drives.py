"""Drives: the frames of a drive are a hidden Markov chain over the photos of a map.

The hidden state of a frame is the photo of the map that was taken nearest to it, or "not on the map". Between frames
the camera moves to a photo within reach, in any direction or not at all; seldom it jumps to any photo, leaves the map,
or comes back. How far a frame may be from the one before is not asked for: it is part of the state. Several `MANNERS`
of moving are followed at once, with a reach of one place to sixteen, and one without any order. Each counts by how well
it explains the frames. A manner seldom changes into another one.

A frame says how well each of its candidates fits: exp(slope * `SHARPNESS` * z), where z is its S_struct in standard
deviations of all candidates, and slope is that of the run's calibration curve. Photos that are not candidates fit as
the worst candidate does, and all of them together not better than the candidates would. The fit is divided by its mean
over the map: so a frame that fits all photos equally well says nothing. In an ordered drive, each frame says nothing
with a probability of `SILENT`, because errors of neighbouring frames are alike. A frame that is not on the map fits all
photos equally well, and its best match is unfamiliar (`vpr.maps.familiarity`).

A second chain tells whether a frame is on the map. There, a frame that is not on the map fits by the odds against being
on the map of `vpr.maps.on_map`, to the power of `OFF_MAP`, times `UNKNOWN`. The first chain is milder: a drive by
night, whose matches are all weak, would lose its way.

No step compares all photos of the map. Only the candidates of a frame and of the frames around it are states of their
own, and one more state stands for all other photos. The mathematics is that of the forward-backward algorithm: Rabiner,
"A tutorial on hidden Markov models", 1989.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vpr.maps.candidates import Candidates
from vpr.maps.familiarity import familiarity
from vpr.retrieval.confidence import Curve

SHARPNESS, SILENT = 0.75, 0.5  # these and the following were chosen on amsterdam, the held-out city: docs/notes/maps.md
BEST = 10  # candidates of a frame that are states of the frames around it, too
JUMP = 0.02  # probability of a jump between two frames
RETURN = 0.5  # probability that a frame at one of the other photos is followed by one anywhere on the map
STRANGE, UNFAMILIAR, LEAST_FAMILIARITY = 0.7, 0.3, 0.02  # fit of a frame that is not on the map: 0.7 * familiarity^-0.3
OFF_MAP, UNKNOWN = 1.5, 1.5  # chosen on amsterdam and sf with half of their places left out


@dataclass(frozen=True)
class Manner:
    """A manner of moving: what may happen between two frames."""

    reach: float  # maximum distance, in places
    jump: float
    returns: float
    silent: float


MANNERS = (
    *(Manner(float(reach), JUMP, RETURN, SILENT) for reach in (1, 2, 4, 8, 16)),
    Manner(2.0, 0.2, RETURN, 0.3),  # a drive with many jumps
    Manner(0.0, 1.0, 1.0, 0.0),  # photos in no order: each by itself
)


@dataclass(frozen=True, eq=False)
class MapPlaces:
    """Where the photos of a map are."""

    places: np.ndarray  # (N, 3) metres
    place_m: float  # size of a place

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.places)

    def neighbour_counts(self, rows: np.ndarray) -> np.ndarray:
        """The photos within reach of photos (U,), by manner, (M, U); at least 1, the photo itself."""
        counts = np.ones((len(MANNERS), len(rows)))
        for number, manner in enumerate(MANNERS):
            if manner.reach and len(rows):
                reach_m = manner.reach * self.place_m
                counts[number] = self._tree.query_ball_point(self.places[rows], reach_m, return_length=True)
        return counts

    def moves(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The probability of a move from photos (U,) to photos (V,), by manner, (M, U, V)."""
        apart = np.linalg.norm(self.places[before][:, None] - self.places[after][None], axis=2)
        reach = self.place_m * np.array([one.reach for one in MANNERS])
        stays = 1 - np.array([one.jump for one in MANNERS])
        share = stays[:, None] / self.neighbour_counts(before)
        return np.asarray((apart <= reach[:, None, None]) * share[:, :, None])


@dataclass(frozen=True, eq=False)
class Evidence:
    """How well one frame fits the photos of a map; 1 on average over the map."""

    rows: np.ndarray  # (K,) its candidates, ascending
    fit: np.ndarray  # (K,)
    fit_elsewhere: float  # of each photo that is not a candidate
    fit_off_map: float  # of not being on the map
    fit_unknown: float = 1.0  # the same by `vpr.maps.on_map`, to tell whether the frame is on the map

    @property
    def best(self) -> np.ndarray:
        """Its best candidates, (`BEST`,) or fewer."""
        return self.rows[np.argsort(-self.fit, kind="stable")[:BEST]]

    def at(self, rows: np.ndarray) -> np.ndarray:
        """The fit of photos (U,)."""
        result = np.full(len(rows), self.fit_elsewhere)
        if len(self.rows):
            position = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
            result = np.where(self.rows[position] == rows, self.fit[position], result)
        return result


SILENCE = Evidence(np.zeros(0, np.int64), np.zeros(0), 1.0, 1.0)  # of a frame that says nothing


def read_evidence(
    found: Candidates, photos: int, curve: Curve, unknown_scores: np.ndarray, log_odds: np.ndarray
) -> list[Evidence]:
    """The evidence of each frame; a frame whose candidates all show one place is silent.

    photos: the number of photos in the map. unknown_scores: as `vpr.maps.familiarity.unknown_place_scores`. log_odds
    (T,): that each frame is on the map, as `vpr.maps.on_map.on_map_log_odds`.
    """
    result = []
    for frame in range(len(found)):
        present = found.rows[frame] >= 0
        rows, structural = found.rows[frame][present], found.structural[frame][present].astype(np.float64)
        if not found.has_rivals[frame]:
            result.append(SILENCE)
            continue
        z = (structural - structural.max()) / max(float(structural.std()), 1e-9)
        fit = np.exp(SHARPNESS * max(curve.slope, 0.0) * z)
        others = photos - len(rows)
        elsewhere = fit.min() * min(1.0, len(rows) / max(others, 1))
        mean = (fit.sum() + others * elsewhere) / photos
        strange = familiarity(float(structural[0]), unknown_scores)
        off_map = 1.0 if strange is None else STRANGE * max(strange, LEAST_FAMILIARITY) ** -UNFAMILIAR
        unknown = 1.0 if np.isnan(log_odds[frame]) else UNKNOWN * float(np.exp(-OFF_MAP * log_odds[frame]))
        order = np.argsort(rows)
        result.append(Evidence(rows[order], fit[order] / mean, float(elsewhere / mean), off_map, unknown))
    return result
