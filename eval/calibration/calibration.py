"""Calibration on held-out data: the weight of S_struct in the final score, and the probability of an answer.

The held-out data are a city, or classes, that no model is trained on and that is not evaluated.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.calibration.criterion import PLACE_CRITERION, Criterion
from vpr.eval.confidence import first_is_right
from vpr.eval.descriptors import DescribedSet
from vpr.eval.ranking import Shortlist, find_shortlist
from vpr.retrieval.confidence import Curve, Curves, answer_separation
from vpr.retrieval.fusion import add_geometry, reorder, weighted_sum
from vpr.retrieval.rerank import Similarities
from vpr.retrieval.settings import FIRST_BY_GEOMETRY, Calibration, RerankConfig
from vpr.transport.marginals import FromGlobals

log = logging.getLogger("vpr")

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)  # the largest is doubled as long as it is the best
MAX_WEIGHT = 1000.0
MASSES = (1.0, 0.85, 0.7)
QUERIES = 500
DEPTH = 100


class Setting(NamedTuple):
    """A setting that is tried."""

    marginals: FromGlobals
    mass: float
    weight: float


@dataclass(frozen=True, eq=False)
class Sample:
    """Some queries of a described set with their shortlists."""

    described: DescribedSet
    queries: np.ndarray  # (S,) numbers of the queries
    shortlist: Shortlist  # of all queries of the set
    criterion: Criterion

    @classmethod
    def draw(cls, described: DescribedSet, criterion: Criterion) -> Sample:
        """At most `QUERIES` queries with shortlists of `DEPTH`."""
        shortlist = find_shortlist(described, DEPTH, criterion.full_depth(described.data))
        return cls(described, sample_queries(described.data), shortlist, criterion)

    @property
    def ranked(self) -> np.ndarray:
        """(S, K) the shortlists of the queries."""
        ranked: np.ndarray = self.shortlist.ranked[self.queries]
        return ranked

    @property
    def positives(self) -> list[np.ndarray]:
        """The positives of each query."""
        return [self.described.data.answers[query] for query in self.queries]

    @property
    def geometry(self) -> int:
        """The number of first candidates that are ordered by geometry: 0 for classes, sequences and few patches."""
        frames = self.described.rows.query.shape[1] * self.described.rows.database.shape[1]
        is_of_scenes = frames == 1 and self.criterion is PLACE_CRITERION
        return Calibration().default_geometry(self.described.cache.spec.patches) if is_of_scenes else 0

    def compare(self, config: RerankConfig, weight: float = 1.0) -> Similarities:
        """The similarities (S, K) of the queries and their candidates. weight: of S_struct, for geometry."""
        return self.described.compare(self.ranked, config, queries=self.queries, weight=weight)

    def sweep_weights(self, similarities: Similarities) -> dict[float, dict[str, float]]:
        """The metrics of each of `WEIGHTS`. The largest weight is doubled as long as it is better than all others."""
        results: dict[float, dict[str, float]] = {}
        weights = list(WEIGHTS)
        for weight in weights:
            best = max(map(self.criterion.value, results.values()), default=0.0)
            order = reorder(self.ranked, weighted_sum(similarities.global_similarity, similarities.structural, weight))
            results[weight] = self.criterion.metrics(self.shortlist.with_tail(order, self.queries), self.positives)
            if weight == weights[-1] and weight < MAX_WEIGHT and self.criterion.value(results[weight]) > best:
                weights.append(2 * weight)
        return results

    def fit_curves(self, similarities: Similarities, weight: float) -> Curves:
        """The curves from separations to probabilities, before and after re-ranking with a weight."""
        data, before = self.described.data, self.shortlist.separation
        scores = weighted_sum(similarities.global_similarity, similarities.structural, weight)
        right = first_is_right(self.ranked, data, self.queries)
        first = None if before is None else Curve.fit(before[self.queries], right)
        plain = replace(similarities, geometry=None)
        by_geometry = None if similarities.geometry is None else self._fit_curve(similarities, scores)
        return Curves(first, self._fit_curve(plain, scores), by_geometry)

    def _fit_curve(self, similarities: Similarities, scores: np.ndarray) -> Curve | None:
        """The curve after re-ranking by scores (S, K), and by geometry if it is known."""
        data, geometry = self.described.data, similarities.geometry
        if geometry is not None:
            scores = add_geometry(scores, geometry, FIRST_BY_GEOMETRY, data.places(self.ranked))
            geometry = reorder(geometry, scores)
        ordered, structural = reorder(self.ranked, scores), reorder(similarities.structural, scores)
        separations = answer_separation(structural, geometry, data.places(ordered))
        return Curve.fit(separations, first_is_right(ordered, data, self.queries))


@dataclass(frozen=True)
class CalibrationResult:
    """The settings that `calibrate` chose, and its measurements."""

    held_out: str  # the city, or a count of classes
    weight: float  # of S_struct; S_global has weight 1
    marginals: str
    epsilon: float
    mass: float
    geometry: int  # number of first candidates that are ordered by geometry too
    adapted: bool  # whether the descriptors were adapted to the held-out database
    queries: int
    metrics: dict[str, dict[str, float]]  # of each setting, by "mass weight" or "marginals mass weight"
    curves: Curves

    def record(self) -> dict[str, Any]:
        """The ``calibration`` of metrics.json."""
        return {
            "city": self.held_out,
            "weight": self.weight,
            "marginals": self.marginals,
            "epsilon": self.epsilon,
            "mass": self.mass,
            "geometry": self.geometry,
            "adapted": self.adapted,
            "queries": self.queries,
            "recall": self.metrics,
            "confidence": self.curves.record(),
        }


def calibrate(described: DescribedSet, held_out: str, criterion: Criterion = PLACE_CRITERION) -> CalibrationResult:
    """Choose marginals, mass and weight by re-ranking queries of held-out data; fit the curves of probabilities.

    held_out: the name of the data. The marginals of the criterion, `MASSES` and `WEIGHTS` are tried. If settings are
    equally good, the first marginals, then the larger mass, then the smaller weight are chosen.
    """
    sample, config = Sample.draw(described, criterion), RerankConfig()
    log.info("calibrating the weight of S_struct on %s: %d queries", held_out, len(sample.queries))
    similarities: dict[tuple[FromGlobals, float], Similarities] = {}
    metrics: dict[Setting, dict[str, float]] = {}
    for marginals, mass in itertools.product(criterion.marginals, MASSES):
        compared = sample.compare(replace(config, marginals=marginals, mass=mass))
        similarities[marginals, mass] = compared
        for weight, scores in sample.sweep_weights(compared).items():
            metrics[Setting(marginals, mass, weight)] = scores

    def preference(setting: Setting) -> tuple[float, int, float, float]:
        order = -criterion.marginals.index(setting.marginals)
        return criterion.value(metrics[setting]), order, setting.mass, -setting.weight

    best = max(metrics, key=preference)
    several = len(criterion.marginals) > 1
    before, after = (100 * metrics[setting][criterion.reported] for setting in (best._replace(weight=0.0), best))
    log.info(
        "weight of S_struct: %g, mass %g%s, calibrated on %s (%d queries, %s %.1f %% -> %.1f %%)",
        best.weight,
        best.mass,
        f", marginals {best.marginals}" if several else "",
        held_out,
        len(sample.queries),
        criterion.title,
        before,
        after,
    )
    chosen, geometry = similarities[best.marginals, best.mass], sample.geometry
    if geometry:
        settings = replace(config, marginals=best.marginals, mass=best.mass, geometry=geometry)
        chosen = sample.compare(settings, best.weight)
    return CalibrationResult(
        held_out=held_out,
        weight=best.weight,
        marginals=best.marginals,
        epsilon=config.epsilon,
        mass=best.mass,
        adapted=described.adapted,
        queries=len(sample.queries),
        metrics={_key(setting, several): scores for setting, scores in metrics.items()},
        geometry=geometry,
        curves=sample.fit_curves(chosen, best.weight),
    )


def sample_queries(data: RetrievalSet) -> np.ndarray:
    """Numbers of at most `QUERIES` queries with positives, evenly spaced."""
    scored = data.scored
    sample: np.ndarray = scored[np.unique(np.linspace(0, len(scored) - 1, min(QUERIES, len(scored))).astype(int))]
    return sample


def _key(setting: Setting, several: bool) -> str:
    """The name of a setting in metrics.json."""
    return (f"{setting.marginals} " if several else "") + f"{setting.mass:g} {setting.weight:g}"
