"""The two stages that order the database for each query: a shortlist, and its re-ranking. Each returns one result.

Rankings are (Q, K) int64 database numbers, best first, -1 where a query has fewer candidates.
"""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.foreign import ForeignDescriptors
from vpr.eval.described import DescribedSet
from vpr.eval.options import Fusion
from vpr.retrieval.confidence import Curves, separation
from vpr.retrieval.fusion import Trust, reciprocal_rank, reorder, trust, trusted, weighted_sum
from vpr.retrieval.rerank import CPU, compare
from vpr.retrieval.search import Finds, search_groups
from vpr.retrieval.sequences import compare_sequences, unit_mean
from vpr.retrieval.settings import RerankConfig

UNCALIBRATED = Curves()


@dataclass(frozen=True, eq=False)
class Shortlist:
    """The first candidates of every query."""

    ranked: np.ndarray  # (Q, K)
    similarity: np.ndarray | None = None  # (Q, K) float32 S_global, falling; None for an order that came without scores
    latency_ms: float | None = None  # a query; None for an order that was read from a file
    separation: np.ndarray | None = None  # (Q,) of the first candidate by S_global; None without scores
    own: bool = False  # by the global descriptors of the model that re-ranks
    behind: np.ndarray | None = None  # (Q, T) the candidates that come after and are not re-ranked; None for none


@dataclass(frozen=True, eq=False)
class Reranking:
    """A shortlist in its new order."""

    ranked: np.ndarray  # (Q, K), each row a permutation of the shortlist's
    similarity: np.ndarray  # (Q, K) float32 S_global in the new order
    structural: np.ndarray  # (Q, K) float32 S_struct likewise; with pruning an upper bound behind the first ranks
    weight: float  # of S_struct
    fusion: Fusion
    trust: Trust | None  # where the fusion went by it
    latency_ms: float  # a query
    separation: np.ndarray | None  # (Q,) of the first candidate by S_struct; None with pruning, which bounds the others


def find_shortlist(described: DescribedSet, depth: int, deepest: int = 0) -> Shortlist:
    """The database entries with the most similar global descriptors, each group searched by itself.

    deepest: candidates that are wanted in all; those beyond the depth come behind the shortlist.
    """
    found = search_shortlist(described.data, *described.searched(), max(depth, deepest))
    if found.ranked.shape[1] <= depth or found.similarity is None:
        return found
    ranked, similarity = found.ranked[:, :depth], found.similarity[:, :depth]
    sure = separation(similarity, described.data.places(ranked))
    return Shortlist(ranked, similarity, found.latency_ms, sure, behind=found.ranked[:, depth:])


def search_shortlist(data: RetrievalSet, queries: np.ndarray, database: np.ndarray | Finds, depth: int) -> Shortlist:
    """By unit descriptors of the queries (Q, C) and the database (N, C), each group searched by itself.

    database: or who holds it, as `search_groups` takes them.
    """
    start = time.perf_counter()
    wanted = depth if data.own is None else depth + 1
    similarity, ranked = data.without_own(*search_groups(queries, database, data.spans(), wanted))
    latency = _per_query(start, ranked)
    return Shortlist(ranked, similarity, latency, separation(similarity, data.places(ranked)))


def foreign_shortlist(data: RetrievalSet, foreign: ForeignDescriptors, depth: int) -> Shortlist:
    """As `find_shortlist`, by descriptors from elsewhere; those of a sequence are averaged.

    Raises VprError when an image has none.
    """
    queries, database = (
        unit_mean(foreign.of(side.images.ravel()).reshape(*side.images.shape, foreign.dim))
        for side in (data.queries, data.database)
    )
    return search_shortlist(data, queries, database, depth)


def rerank(
    described: DescribedSet,
    shortlist: Shortlist,
    config: RerankConfig,
    *,
    weight: float,
    fusion: Fusion = "auto",
    curves: Curves = UNCALIBRATED,
    device: torch.device = CPU,
) -> Reranking:
    """Order each shortlist by S_global + weight * S_struct, or by this fused with the shortlist's scores or ranks.

    fusion: ``auto`` fuses by trust where another model made the shortlist. curves: how sure the run's answers are,
    which trust is estimated by.
    """
    fusion = fusion_of(fusion, shortlist.own)
    by = compare if described.shards is None else described.shards.compare
    ranked = shortlist.ranked
    compared = partial(compare_sequences, described.cache, weight=weight, device=device, by=by)
    compared(described.rows.first(), ranked[:1], config)  # what is compiled at the first call is not timed
    start = time.perf_counter()
    found = compared(described.rows, ranked, config, title="re-ranking")
    scores = weighted_sum(found.global_, found.structural, weight)
    found_trust, places = None, described.data.places(ranked)
    if fusion == "reciprocal-rank":
        scores = np.where(ranked >= 0, reciprocal_rank(scores), -np.inf)
    elif fusion == "trust":
        found_trust = trust(scores, found.structural, places, curves, shortlist.similarity)
        scores = trusted(scores, found_trust.lambda_, shortlist.similarity)
    ordered, similarity, structural = (reorder(side, scores) for side in (ranked, found.global_, found.structural))
    latency = _per_query(start, ranked)
    sure = None if config.prune else separation(structural, described.data.places(ordered))
    return Reranking(ordered, similarity, structural, weight, fusion, found_trust, latency, sure)


def fusion_of(fusion: Fusion, own: bool) -> Fusion:
    """What ``auto`` stands for: a shortlist of the model that re-ranks is not fused, another's is, by trust."""
    return fusion if fusion != "auto" else "similarity" if own else "trust"


def _per_query(start: float, ranked: np.ndarray) -> float:
    """Milliseconds since the start, a query."""
    return 1000 * (time.perf_counter() - start) / max(1, len(ranked))
