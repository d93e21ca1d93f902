"""The weight of S_struct in the final score, fixed on a training-side city that is evaluated nowhere else."""

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch

from datasets.retrieval_set import RetrievalSet
from eval.confidence import first_is_right
from eval.described import DescribedSet
from eval.metrics import evaluate
from eval.ranking import Shortlist, find_shortlist
from vpr.retrieval.confidence import Curve, Curves, separation
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.rerank import CPU, Similarities
from vpr.retrieval.sequences import CacheRows, compare_sequences
from vpr.retrieval.settings import RerankConfig

log = logging.getLogger("vpr")

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)  # doubled on while the largest is the best
MOST_WEIGHT = 1000.0
MASSES = (1.0, 0.85, 0.7)
QUERIES = 500
DEPTH = 100


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


def calibrate(described: DescribedSet, city: str, device: torch.device = CPU) -> Calibration:
    """Re-rank queries of a held-out city under `MASSES` and `WEIGHTS`; take the best mean of Recall@1, 5 and 10.

    At most `QUERIES` queries, evenly chosen, with shortlists of `DEPTH`. Of equals the larger mass and the smaller
    weight are taken. The best setting then fixes how sure the answers are.
    """
    chosen, positives = some_queries(described.data), described.data.answers
    shortlist = find_shortlist(described, DEPTH)
    ranked, answers = shortlist.ranked[chosen], [positives[query] for query in chosen]
    rows = CacheRows(described.rows.query[chosen], described.rows.database)
    config, found = RerankConfig(), {}
    recall: dict[tuple[float, float], dict[str, float]] = {}
    for mass in MASSES:
        found[mass] = compare_sequences(described.cache, rows, ranked, replace(config, mass=mass), device=device)
        recall |= {(mass, weight): metrics for weight, metrics in by_weight(ranked, found[mass], answers).items()}
    mass, weight = max(recall, key=lambda setting: (goodness(recall[setting]), setting[0], -setting[1]))
    before, after = recall[mass, 0.0]["recall@1"], recall[mass, weight]["recall@1"]
    log.info(
        "weight of S_struct: %g, mass %g, fixed on %s (%d queries, R@1 %.1f %% -> %.1f %%)",
        weight, mass, city, len(chosen), 100 * before, 100 * after,
    )  # fmt: skip
    named = {f"{mass:g} {weight:g}": metrics for (mass, weight), metrics in recall.items()}
    curves = _curves(described.data, chosen, shortlist, found[mass], weight)
    fixed = (config.marginals, config.epsilon, mass, described.adapted)
    return Calibration(city, weight, *fixed, len(chosen), named, curves.record())


def by_weight(ranked: np.ndarray, found: Similarities, answers: list[np.ndarray]) -> dict[float, dict[str, float]]:
    """Metrics under each of `WEIGHTS`, and under their doubles for as long as the largest is better than all others."""
    results: dict[float, dict[str, float]] = {}
    to_try = list(WEIGHTS)
    for weight in to_try:
        best = max(map(goodness, results.values()), default=0.0)
        results[weight] = evaluate(reorder(ranked, weighted_sum(found.global_, found.structural, weight)), answers)
        if weight == to_try[-1] and weight < MOST_WEIGHT and goodness(results[weight]) > best:
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


def goodness(metrics: dict[str, float]) -> float:
    """The sum of Recall@1, 5 and 10."""
    return sum(metrics[f"recall@{k}"] for k in (1, 5, 10))
