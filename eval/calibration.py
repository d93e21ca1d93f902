"""The weight of S_struct in the final score, fixed on a training-side city that is evaluated nowhere else."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.confidence import first_is_right
from vpr.eval.described import DescribedSet
from vpr.eval.metrics import evaluate
from vpr.eval.ranking import Shortlist, find_shortlist
from vpr.retrieval.confidence import Curve, Curves, separation
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.rerank import CPU, Similarities
from vpr.retrieval.sequences import CacheRows, compare_sequences
from vpr.retrieval.settings import RerankConfig
from vpr.transport.marginals import FromGlobals

log = logging.getLogger("vpr")

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)  # doubled on while the largest is the best
MOST_WEIGHT = 1000.0
MASSES = (1.0, 0.85, 0.7)
QUERIES = 500
DEPTH = 100


@dataclass(frozen=True)
class Judging:
    """By what settings are chosen."""

    metrics: Callable[[np.ndarray, list[np.ndarray]], dict[str, float]]
    chosen_by: tuple[str, ...]  # the metrics whose mean is the higher, the better; the first is shown
    kinds: tuple[FromGlobals, ...]  # marginals to choose from
    adapt: bool | None = None  # whether descriptors are adapted to the held-out set; None where it is large enough
    to_the_last: bool = False  # whether the metrics want rankings as deep as a query has positives

    @property
    def first(self) -> str:
        """The metric that is shown."""
        return self.chosen_by[0]

    @property
    def title(self) -> str:
        """Its name in text."""
        return self.first.replace("recall", "R").upper()

    def deepest(self, data: RetrievalSet) -> int:
        """How deep rankings are wanted."""
        return int(data.answers.counts.max(initial=0)) if self.to_the_last else 0

    def goodness(self, metrics: dict[str, float]) -> float:
        """The mean of what settings are chosen by."""
        return sum(metrics[name] for name in self.chosen_by) / len(self.chosen_by)


PLACES = Judging(evaluate, ("recall@1", "recall@5", "recall@10"), ("complement",))


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found."""

    city: str
    weight: float  # of S_struct, S_global having weight 1
    marginals: str
    epsilon: float
    mass: float
    adapted: bool  # whether the descriptors were adapted to the city's database
    queries: int
    recall: dict[str, dict[str, float]]  # metrics by "mass weight"
    confidence: dict[str, dict[str, float] | None]  # `Curves.record`


def calibrate(described: DescribedSet, city: str, device: torch.device = CPU, judging: Judging = PLACES) -> Calibration:
    """Re-rank queries of a held-out city, or of held-out classes, under marginals, `MASSES` and `WEIGHTS`; take what is
    judged the best.

    At most `QUERIES` queries, evenly chosen, with shortlists of `DEPTH`. Of equals the first kind, the larger mass and
    the smaller weight are taken. The best setting then fixes how sure the answers are.
    """
    chosen, positives = some_queries(described.data), described.data.answers
    shortlist = find_shortlist(described, DEPTH, judging.deepest(described.data))
    ranked, answers = shortlist.ranked[chosen], [positives[query] for query in chosen]
    rows = CacheRows(described.rows.query[chosen], described.rows.database)
    behind = None if shortlist.behind is None else shortlist.behind[chosen]
    config, kinds, goodness, found = RerankConfig(), judging.kinds, judging.goodness, {}
    log.info("fixing the weight of S_struct on %s: %d queries", city, len(chosen))
    recall: dict[tuple[FromGlobals, float, float], dict[str, float]] = {}
    for kind, mass in itertools.product(kinds, MASSES):
        tried = replace(config, marginals=kind, mass=mass)
        found[kind, mass] = compare_sequences(described.cache, rows, ranked, tried, device=device)
        by = by_weight(ranked, found[kind, mass], answers, judging, behind)
        recall |= {(kind, mass, weight): metrics for weight, metrics in by.items()}
    kind, mass, weight = max(recall, key=lambda one: (goodness(recall[one]), -kinds.index(one[0]), one[1], -one[2]))
    before, after = (100 * recall[kind, mass, tried][judging.first] for tried in (0.0, weight))
    log.info(
        "weight of S_struct: %g, mass %g%s, fixed on %s (%d queries, %s %.1f %% -> %.1f %%)",
        weight, mass, f", marginals {kind}" if len(kinds) > 1 else "", city, len(chosen), judging.title, before, after,
    )  # fmt: skip
    several = len(kinds) > 1
    named = {(f"{one} " if several else "") + f"{m:g} {w:g}": metrics for (one, m, w), metrics in recall.items()}
    curves = _curves(described.data, chosen, shortlist, found[kind, mass], weight)
    fixed = (kind, config.epsilon, mass, described.adapted)
    return Calibration(city, weight, *fixed, len(chosen), named, curves.record())


def by_weight(
    ranked: np.ndarray,
    found: Similarities,
    answers: list[np.ndarray],
    judging: Judging,
    behind: np.ndarray | None = None,
) -> dict[float, dict[str, float]]:
    """Metrics under each of `WEIGHTS`, and under their doubles for as long as the largest is better than all others.

    behind (Q, T): candidates that come after the shortlists.
    """
    results: dict[float, dict[str, float]] = {}
    to_try = list(WEIGHTS)
    for weight in to_try:
        best = max(map(judging.goodness, results.values()), default=0.0)
        order = reorder(ranked, weighted_sum(found.global_, found.structural, weight))
        results[weight] = judging.metrics(order if behind is None else np.concatenate([order, behind], 1), answers)
        if weight == to_try[-1] and weight < MOST_WEIGHT and judging.goodness(results[weight]) > best:
            to_try.append(2 * weight)
    return results


def _curves(
    data: RetrievalSet, queries: np.ndarray, shortlist: Shortlist, found: Similarities, weight: float
) -> Curves:
    """How sure the answers are before and after re-ranking; ``found`` is of the given queries (S,), by number."""
    ranked, before = shortlist.ranked[queries], shortlist.separation
    scores = weighted_sum(found.global_, found.structural, weight)
    ordered, structural = reorder(ranked, scores), reorder(found.structural, scores)
    after = separation(structural, data.places(ordered))
    first = None if before is None else Curve.fit(before[queries], first_is_right(ranked, data, queries))
    return Curves(first, Curve.fit(after, first_is_right(ordered, data, queries)))


def some_queries(data: RetrievalSet) -> np.ndarray:
    """Numbers of at most `QUERIES` queries with answers, evenly chosen."""
    scored = data.scored
    return scored[np.unique(np.linspace(0, len(scored) - 1, min(QUERIES, len(scored))).astype(int))]
