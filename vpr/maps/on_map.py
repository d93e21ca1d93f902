"""The probability that the place of a photo is on the map, by what the search for the photo finds.

A logistic regression of up to four numbers of the best match, `FEATURES`. None of them has a unit, so that other models
and other scenes compare. Only ``familiar`` needs the map's own photos: searched for without their places, they say
which S_struct unknown places have on this map. Without it, or without geometry, another regression is used.

The regressions are a prior for all maps: `benchmarks.strangers` fits them to rendered cities and altered photographs
of which half of the places are left out, with equal weight for known and for unknown places. So a probability of 0.5
means that the evidence speaks for neither. docs/notes/maps.md has measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vpr.maps.candidates import Candidates

# Numbers of the best match, each higher for places on the map:
#   global      S_global, in standard deviations from the mean of the photo's candidates
#   separation  as `Candidates.separations`
#   geometry    the score of its geometry
#   familiar    S_struct, in standard deviations from the mean of the map's unknown-place scores
FEATURES = ("global", "separation", "geometry", "familiar")
LIMIT = 10.0  # of the size of a number, so that no single one decides against all others
FLAT = 1e-6  # standard deviation below which scores are equal
NO_PROBABILITIES = "this map has no probabilities"
TWO_THIRDS, RARE = 2 / 3, 0.005  # shares of strangers from which on most pass, and up to which hardly one does


@dataclass(frozen=True)
class OnMapModel:
    """A logistic regression from numbers of the best match to the probability that its place is on the map."""

    weights: Mapping[str, float]  # by feature
    intercept: float

    def log_odds(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """The log odds of photos (Q,) by their features, (Q,) each."""
        total = np.full(len(features["separation"]), self.intercept)
        for name, weight in self.weights.items():
            total = total + weight * features[name]
        return total


OnMapModels: TypeAlias = Mapping[tuple[bool, bool], OnMapModel]  # by whether geometry and ``familiar`` are known
# Fitted by `benchmarks.strangers`: with geometry or without, with the map's unknown-place scores or without.
MODELS: OnMapModels = {
    (True, True): OnMapModel({"global": 0.1043, "separation": 0.3133, "geometry": 5.639, "familiar": 0.7223}, -2.0273),
    (True, False): OnMapModel({"global": 0.2441, "separation": 0.5078, "geometry": 7.0693}, -3.3593),
    (False, True): OnMapModel({"global": 0.0861, "separation": 0.4367, "familiar": 1.0258}, -0.4181),
    (False, False): OnMapModel({"global": 0.3218, "separation": 0.7761}, -1.8908),
}
# The share of strangers whose probability reaches 0, 0.05, 0.1 and so on up to 1; each set fitted to the others.
STRANGERS = (
    1.0, 0.985, 0.92, 0.822, 0.694, 0.583, 0.483, 0.408, 0.327, 0.268, 0.218, 0.17, 0.134, 0.108, 0.088, 0.073, 0.058,
    0.035, 0.025, 0.012, 0.0,
)  # fmt: skip


def best_match_features(found: Candidates, unknown_scores: np.ndarray) -> dict[str, np.ndarray]:
    """The `FEATURES` of the best match of Q photos, (Q,) float64 each; ``geometry`` and ``familiar`` only if known.

    found: candidates, best first. unknown_scores: as `vpr.maps.familiarity.unknown_place_scores`. A photo without
    candidates has zeros.
    """
    best = found.structural[:, 0].astype(np.float64)
    result = {
        "global": _first_in_deviations(found.global_similarity),
        "separation": found.separations[:, 0],
    }
    if found.geometry is not None:
        result["geometry"] = found.geometry[:, 0].astype(np.float64)
    if len(unknown_scores):
        own = unknown_scores.astype(np.float64)
        result["familiar"] = (best - own.mean()) / max(float(own.std()), FLAT)
    return {name: np.where(found.rows[:, 0] >= 0, _limit(values), 0.0) for name, values in result.items()}


def _first_in_deviations(scores: np.ndarray) -> np.ndarray:
    """The first of scores (Q, K), -inf if there is no candidate, in standard deviations from their mean, (Q,)."""
    present = np.isfinite(scores)
    values, count = np.where(present, scores, 0).astype(np.float64), np.maximum(present.sum(1), 1)
    mean = values.sum(1) / count
    spread = np.sqrt((np.where(present, values - mean[:, None], 0) ** 2).sum(1) / count)
    return np.asarray((values[:, 0] - mean) / np.maximum(spread, FLAT))


def _limit(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.nan_to_num(values, posinf=LIMIT, neginf=-LIMIT), -LIMIT, LIMIT))


def on_map_log_odds(found: Candidates, unknown_scores: np.ndarray, models: OnMapModels = MODELS) -> np.ndarray:
    """The log odds that the places of Q photos are on the map, (Q,); arguments as `best_match_features`.

    -inf for a photo without candidates. NaN for one whose candidates all show one place: its numbers say nothing.
    """
    features = best_match_features(found, unknown_scores)
    model = models["geometry" in features, "familiar" in features]
    told = np.where(found.has_rivals, model.log_odds(features), np.nan)
    return np.asarray(np.where(found.rows[:, 0] >= 0, told, -np.inf))


def probabilities(log_odds: np.ndarray) -> np.ndarray:
    """Log odds of any shape as probabilities; NaN stays NaN."""
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))))


def share_of_strangers(threshold: float) -> float:
    """The share of photos of unknown places whose probability reaches a threshold, by the sets of the fit.

    >>> share_of_strangers(0.0), share_of_strangers(1.0)
    (1.0, 0.0)
    """
    steps = np.linspace(0, 1, len(STRANGERS))
    return float(np.interp(threshold, steps, STRANGERS))


def threshold_text(threshold: float) -> str:
    """The meaning of a threshold as a sentence.

    >>> threshold_text(0.0)
    'all photos of unknown places pass'
    """
    share = share_of_strangers(threshold)
    if share > TWO_THIRDS:
        return "all photos of unknown places pass" if share == 1 else "most photos of unknown places pass"
    passing = f"about one in {round(1 / share)} passes" if share > RARE else "hardly one passes"
    return f"of photos of unknown places, {passing}"
