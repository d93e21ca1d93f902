"""The two stages that order the database for each query: a shortlist, and its re-ranking. Each returns one result.

Rankings are (Q, K) int64 database numbers, best first, -1 where a query has fewer candidates.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from eval.described import DescribedSet
from eval.options import Fusion
from vpr.retrieval.fusion import reciprocal_rank, reorder, weighted_sum
from vpr.retrieval.rerank import CPU
from vpr.retrieval.search import search_groups
from vpr.retrieval.sequences import compare_sequences
from vpr.retrieval.settings import RerankConfig


@dataclass(frozen=True, eq=False)
class Shortlist:
    """The first candidates of every query."""

    ranked: np.ndarray  # (Q, K)
    similarity: np.ndarray | None = None  # (Q, K) float32 S_global, falling; None for an order that came without scores
    latency_ms: float | None = None  # a query; None for an order that was read from a file


@dataclass(frozen=True, eq=False)
class Reranking:
    """A shortlist in its new order."""

    ranked: np.ndarray  # (Q, K), each row a permutation of the shortlist's
    scores: np.ndarray  # (Q, K) float32 in the shortlist's order: what it was sorted by
    weight: float  # of S_struct
    fusion: Fusion
    latency_ms: float  # a query


def find_shortlist(described: DescribedSet, depth: int) -> Shortlist:
    """The database entries with the most similar global descriptors, each group searched by itself."""
    queries, database = described.global_descriptors()
    start = time.perf_counter()
    similarity, ranked = search_groups(queries, database, described.data.spans(), depth)
    return Shortlist(ranked, similarity, _per_query(start, ranked))


def rerank(
    described: DescribedSet,
    shortlist: Shortlist,
    config: RerankConfig,
    *,
    weight: float,
    fusion: Fusion = "auto",
    device: torch.device = CPU,
) -> Reranking:
    """Order each shortlist by S_global + weight * S_struct, or by the ranks that this and the shortlist give.

    fusion: ``auto`` fuses ranks where the shortlist came without scores.
    """
    if fusion == "auto":
        fusion = "reciprocal-rank" if shortlist.similarity is None else "similarity"
    start, ranked = time.perf_counter(), shortlist.ranked
    found = compare_sequences(
        described.cache, described.rows, ranked, config, weight=weight, device=device, title="re-ranking"
    )
    scores = weighted_sum(found.global_, found.structural, weight)
    if fusion == "reciprocal-rank":
        scores = np.where(ranked >= 0, reciprocal_rank(scores), -np.inf)
    ordered = reorder(ranked, scores)
    return Reranking(ordered, scores, weight, fusion, _per_query(start, ranked))


def _per_query(start: float, ranked: np.ndarray) -> float:
    """Milliseconds since the start, a query."""
    return 1000 * (time.perf_counter() - start) / max(1, len(ranked))
