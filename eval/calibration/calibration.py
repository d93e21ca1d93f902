"""Calibration on held-out data: the weight of S_struct in the final score, and the probability of an answer.

The held-out data are a city, or classes, that no model is trained on and that is not evaluated.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.calibration.choice import Choice, choose_setting
from vpr.eval.calibration.criterion import PLACE_CRITERION, Criterion, Setting
from vpr.eval.confidence import first_is_right
from vpr.eval.descriptors import DescribedSet
from vpr.eval.ranking import Shortlist, find_shortlist
from vpr.retrieval.confidence import DEFAULT_CURVES, FEWEST, Curve, Curves, answer_separation
from vpr.retrieval.fusion import add_geometry, reorder, weighted_sum
from vpr.retrieval.rerank import Similarities
from vpr.retrieval.settings import FIRST_BY_GEOMETRY, Calibration, RerankConfig
from vpr.transport.marginals import Calibrated

log = logging.getLogger("vpr")

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0)  # the largest is doubled as long as it is the best
MAX_WEIGHT = 1000.0
MASSES = (1.0, 0.85, 0.7)
QUERIES = 500
DEPTH = 100
Stage = Literal["shortlist", "rerank", "geometry"]  # names of `Curves`


@dataclass(frozen=True, eq=False)
class Scores:
    """How well a setting orders the queries of a sample."""

    metrics: dict[str, float]
    values: np.ndarray  # (S,) the value of each query by the criterion

    @classmethod
    def pool(cls, parts: Sequence[Scores]) -> Scores:
        """The scores of the queries of several sets together."""
        counts = [len(part.values) for part in parts]
        names = parts[0].metrics
        metrics = {name: float(np.average([part.metrics[name] for part in parts], weights=counts)) for name in names}
        return cls(metrics, np.concatenate([part.values for part in parts]))


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The first answers of the queries of a sample."""

    separations: np.ndarray  # (S,)
    right: np.ndarray  # (S,) bool


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
        fits = frames == 1 and self.criterion.of_scenes
        return Calibration().default_geometry(self.described.cache.spec.patches) if fits else 0

    def compare(self, config: RerankConfig, weight: float = 1.0) -> Similarities:
        """The similarities (S, K) of the queries and their candidates. weight: of S_struct, for geometry."""
        return self.described.compare(self.ranked, config, queries=self.queries, weight=weight)

    def order(self, similarities: Similarities, weight: float) -> np.ndarray:
        """The rankings (S, K + T) by S_global + weight * S_struct, with what follows the shortlists."""
        ordered = reorder(self.ranked, weighted_sum(similarities.global_similarity, similarities.structural, weight))
        return self.shortlist.with_tail(ordered, self.queries)

    def score(self, similarities: Similarities, weight: float) -> Scores:
        """The scores of a weight."""
        order = self.order(similarities, weight), self.positives
        return Scores(self.criterion.metrics(*order), self.criterion.values(*order))

    def outcomes(self, similarities: Similarities, weight: float) -> dict[Stage, Outcomes]:
        """The answers before and after re-ranking with a weight, by stage, as far as they are known."""
        data, before = self.described.data, self.shortlist.separation
        scores = weighted_sum(similarities.global_similarity, similarities.structural, weight)
        stages: dict[Stage, Outcomes] = {}
        if before is not None:
            stages["shortlist"] = Outcomes(before[self.queries], first_is_right(self.ranked, data, self.queries))
        stages["rerank"] = self._reranked(replace(similarities, geometry=None), scores)
        if similarities.geometry is not None:
            stages["geometry"] = self._reranked(similarities, scores)
        return stages

    def _reranked(self, similarities: Similarities, scores: np.ndarray) -> Outcomes:
        """The answers after re-ranking by scores (S, K), and by geometry if it is known."""
        data, geometry = self.described.data, similarities.geometry
        if geometry is not None:
            scores = add_geometry(scores, geometry, FIRST_BY_GEOMETRY, data.places(self.ranked))
            geometry = reorder(geometry, scores)
        ordered, structural = reorder(self.ranked, scores), reorder(similarities.structural, scores)
        separations = answer_separation(structural, geometry, data.places(ordered))
        return Outcomes(separations, first_is_right(ordered, data, self.queries))


def sweep_weights(samples: Sequence[Sample], similarities: Sequence[Similarities]) -> dict[float, Scores]:
    """The scores of each of `WEIGHTS`. The largest weight is doubled as long as it is better than all others.

    similarities: of each sample; the samples have one criterion.
    """
    value = samples[0].criterion.value
    results: dict[float, Scores] = {}
    weights = list(WEIGHTS)
    for weight in weights:
        best = max((value(scores.metrics) for scores in results.values()), default=0.0)
        results[weight] = Scores.pool([own.score(found, weight) for own, found in zip(samples, similarities)])
        if weight == weights[-1] and weight < MAX_WEIGHT and value(results[weight].metrics) > best:
            weights.append(2 * weight)
    return results


def fit_curves(outcomes: Sequence[dict[Stage, Outcomes]]) -> Curves:
    """The curves from separations to probabilities of each stage that all samples know."""
    curves: dict[Stage, Curve | None] = {}
    for stage in get_args(Stage):
        known = [own[stage] for own in outcomes if stage in own]
        curves[stage] = None
        if len(known) == len(outcomes):
            separations = np.concatenate([own.separations for own in known])
            curves[stage] = _fit_curve(stage, separations, np.concatenate([own.right for own in known]))
    return Curves(curves["shortlist"], curves["rerank"], curves["geometry"])


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
    choice: Choice | None  # None if the best setting was taken

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
            **({} if self.choice is None else {"choice": self.choice.record()}),
        }


def calibrate(
    described: Sequence[DescribedSet], held_out: str, criterion: Criterion = PLACE_CRITERION
) -> CalibrationResult:
    """Choose marginals, mass and weight by re-ranking queries of held-out data; fit the curves of probabilities.

    described: one set or several; every query counts the same. held_out: the name of the data. The marginals of the
    criterion, `MASSES` and `WEIGHTS` are tried. Of settings that differ from the best by noise only, the one nearest
    the criterion's prior is chosen, see `choose_setting`. Without a prior it is the best; of equally good ones the
    first marginals, the larger mass, the smaller weight.
    """
    samples, config = [Sample.draw(own, criterion) for own in described], RerankConfig()
    queries = sum(len(sample.queries) for sample in samples)
    log.info("calibrating the weight of S_struct on %s: %d queries", held_out, queries)
    similarities: dict[tuple[Calibrated, float], list[Similarities]] = {}
    scores: dict[Setting, Scores] = {}
    for marginals, mass in itertools.product(criterion.marginals, MASSES):
        compared = [sample.compare(replace(config, marginals=marginals, mass=mass)) for sample in samples]
        similarities[marginals, mass] = compared
        for weight, found in sweep_weights(samples, compared).items():
            scores[Setting(marginals, mass, weight)] = found
    choice = None
    if criterion.prior is not None:
        choice = choose_setting({setting: found.values for setting, found in scores.items()}, criterion.prior)
    best = _best_setting(scores, criterion) if choice is None else choice.setting
    several = len(criterion.marginals) > 1
    before, after = (100 * scores[setting].metrics[criterion.reported] for setting in (best._replace(weight=0.0), best))
    log.info(
        "weight of S_struct: %g, mass %g%s, calibrated on %s (%d queries, %s %.1f %% -> %.1f %%)",
        best.weight,
        best.mass,
        f", marginals {best.marginals}" if several else "",
        held_out,
        queries,
        criterion.title,
        before,
        after,
    )
    if choice is not None:
        log.info("%s", choice.summary())
    chosen, geometry = similarities[best.marginals, best.mass], min(sample.geometry for sample in samples)
    if geometry:
        settings = replace(config, marginals=best.marginals, mass=best.mass, geometry=geometry)
        chosen = [sample.compare(settings, best.weight) for sample in samples]
    return CalibrationResult(
        held_out=held_out,
        weight=best.weight,
        marginals=best.marginals,
        epsilon=config.epsilon,
        mass=best.mass,
        adapted=all(own.adapted for own in described),
        queries=queries,
        metrics={_key(setting, several): found.metrics for setting, found in scores.items()},
        geometry=geometry,
        curves=fit_curves([sample.outcomes(found, best.weight) for sample, found in zip(samples, chosen)]),
        choice=choice,
    )


def sample_queries(data: RetrievalSet) -> np.ndarray:
    """Numbers of at most `QUERIES` queries with positives, evenly spaced."""
    scored = data.scored
    sample: np.ndarray = scored[np.unique(np.linspace(0, len(scored) - 1, min(QUERIES, len(scored))).astype(int))]
    return sample


def _best_setting(scores: dict[Setting, Scores], criterion: Criterion) -> Setting:
    """The setting of the highest value; of equal ones the first marginals, the larger mass, the smaller weight."""

    def preference(setting: Setting) -> tuple[float, int, float, float]:
        order = -criterion.marginals.index(setting.marginals)
        return criterion.value(scores[setting].metrics), order, setting.mass, -setting.weight

    return max(scores, key=preference)


def _fit_curve(stage: Stage, separations: np.ndarray, right: np.ndarray) -> Curve:
    """The curve of a stage from separations (S,) and whether the first answers are right (S,) bool."""
    rarer = "right" if right.sum() < (~right).sum() else "wrong"
    count = int(min(right.sum(), (~right).sum()))
    if count < FEWEST:
        log.info(
            "%s: %d of %d first answers are %s, too few for a curve of probabilities alone; "
            "it is drawn towards that of the built-in weights",
            stage, count, len(right), rarer,
        )  # fmt: skip
    prior = getattr(DEFAULT_CURVES, stage)
    return Curve.fit(separations, right, prior)


def _key(setting: Setting, several: bool) -> str:
    """The name of a setting in metrics.json."""
    return (f"{setting.marginals} " if several else "") + f"{setting.mass:g} {setting.weight:g}"
