"""The two stages that rank the database for each query: a shortlist, and its re-ranking.

Rankings are (Q, K) int64 database numbers, best first, filled up with -1 if a query has fewer candidates.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.foreign import ForeignDescriptors, read_foreign
from vpr.eval.descriptors import DescribedSet
from vpr.eval.options import Fusion
from vpr.retrieval.confidence import Curves, answer_separation, separation
from vpr.retrieval.fusion import (
    Trust,
    add_geometry,
    estimate_trust,
    fuse_ranks,
    fuse_with_trust,
    reorder,
    weighted_sum,
)
from vpr.retrieval.search import Searchable, search_groups
from vpr.retrieval.sequences import sequence_descriptors, unit_mean
from vpr.retrieval.settings import RerankConfig
from vpr.retrieval.vector_index import VectorIndex

log = logging.getLogger("vpr")

UNCALIBRATED = Curves()
SAME = 1e-5  # largest difference of two similarities that is rounding


@dataclass(frozen=True, eq=False)
class Shortlist:
    """The first candidates of every query."""

    ranked: np.ndarray  # (Q, K)
    similarity: np.ndarray | None = None  # (Q, K) float32 S_global, falling; None if only the ranks are known
    latency_ms: float | None = None  # per query; None for a shortlist that was read from a file
    separation: np.ndarray | None = None  # (Q,) of the first candidate by S_global; None without scores
    same_model: bool = False  # whether the model that re-ranks made the shortlist, by its global descriptors
    tail: np.ndarray | None = None  # (Q, T) ranked after the shortlist and not re-ranked; None if there are none

    def with_tail(self, ranked: np.ndarray, queries: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Rankings (S, K) of some queries followed by their tails, (S, K + T)."""
        return ranked if self.tail is None else np.concatenate([ranked, self.tail[queries]], 1)


@dataclass(frozen=True, eq=False)
class Reranking:
    """A re-ranked shortlist."""

    ranked: np.ndarray  # (Q, K), each row a permutation of the shortlist's
    similarity: np.ndarray  # (Q, K) float32 S_global in the new order
    structural: np.ndarray  # (Q, K) float32 S_struct likewise; with pruning an upper bound after the first ranks
    weight: float  # of S_struct
    fusion: Fusion
    trust: Trust | None  # None unless the fusion uses it
    latency_ms: float  # per query
    separation: np.ndarray | None  # (Q,) `answer_separation` of the first; None with pruning, which only has bounds
    geometry: int = 0  # number of first candidates whose order also goes by geometry


def find_shortlist(described: DescribedSet, depth: int, full_depth: int = 0) -> Shortlist:
    """The database entries with the most similar global descriptors. Each group (city) is searched by itself.

    full_depth: length of the complete ranking; the candidates after the first ``depth`` are the tail.
    """
    queries = sequence_descriptors(described.cache, described.rows.query)
    full = search_shortlist(described.data, queries, described.index, max(depth, full_depth))
    if full.ranked.shape[1] <= depth or full.similarity is None:
        return full
    ranked, similarity = full.ranked[:, :depth], full.similarity[:, :depth]
    confidence = separation(similarity, described.data.places(ranked))
    return Shortlist(ranked, similarity, full.latency_ms, confidence, tail=full.ranked[:, depth:])


def search_shortlist(data: RetrievalSet, queries: np.ndarray, database: Searchable, depth: int) -> Shortlist:
    """The shortlist by unit descriptors of the queries (Q, C), each group searched by itself."""
    start = time.perf_counter()
    count = depth if data.own is None else depth + 1
    similarity, ranked = data.without_own(*search_groups(queries, database, data.spans(), count))
    latency = _per_query(start, ranked)
    if not _tells_apart(similarity, ranked):
        log.warning(
            "all global descriptors of the database are equally similar to a query, so the shortlist is no better than "
            "chance; check the weights of the model, or the descriptors"
        )
    return Shortlist(ranked, similarity, latency, separation(similarity, data.places(ranked)))


def _tells_apart(similarity: np.ndarray, ranked: np.ndarray) -> bool:
    """Whether a query has candidates (Q, K) of different similarity; also True if no query has two candidates."""
    is_there = ranked >= 0
    several = is_there.sum(1) > 1
    rows, is_there = similarity[several], is_there[several]
    spread = rows.max(1, where=is_there, initial=-np.inf) - rows.min(1, where=is_there, initial=np.inf)
    return len(rows) == 0 or bool((spread > SAME).any())


def read_descriptors(data: RetrievalSet, path: Path) -> ForeignDescriptors:
    """The descriptors of another model for a set; errors as `read_foreign`."""
    sides = {"database": data.database, "queries": data.queries}
    return read_foreign(path, {part: [*dict.fromkeys(side.images.ravel().tolist())] for part, side in sides.items()})


def foreign_shortlist(data: RetrievalSet, foreign: ForeignDescriptors, depth: int) -> Shortlist:
    """The shortlist by the descriptors of another model. A sequence has the mean of its images' descriptors.

    Raises VprError if an image has no descriptor.
    """
    queries, database = (
        unit_mean(foreign.look_up(side.images.ravel()).reshape(*side.images.shape, foreign.dim))
        for side in (data.queries, data.database)
    )
    return search_shortlist(data, queries, VectorIndex(database), depth)


def rerank(
    described: DescribedSet,
    shortlist: Shortlist,
    config: RerankConfig,
    *,
    weight: float,
    fusion: Fusion = "auto",
    curves: Curves = UNCALIBRATED,
) -> Reranking:
    """Order each shortlist by S_global + weight * S_struct, or by the fusion of this score and the shortlist's.

    With ``config.geometry`` the score also goes by the geometry of the first candidates, see `add_geometry`.

    fusion: as `resolve_fusion`. curves: from separations to probabilities, to estimate trust.
    """
    fusion = resolve_fusion(fusion, shortlist.same_model)
    ranked, places = shortlist.ranked, described.data.places(shortlist.ranked)
    described.compare(ranked[:1], config, queries=slice(1), weight=weight)  # compiles now, outside of the timing
    start = time.perf_counter()
    similarities = described.compare(ranked, config, weight=weight, title="re-ranking")
    scores = weighted_sum(similarities.global_similarity, similarities.structural, weight)
    if similarities.geometry is not None:
        scores = add_geometry(scores, similarities.geometry, config.geometry, places)
    estimated = None
    if fusion == "reciprocal-rank":
        scores = np.where(ranked >= 0, fuse_ranks(scores), -np.inf)
    elif fusion == "trust":
        estimated = estimate_trust(
            scores, similarities.structural, places, curves, shortlist.similarity, similarities.geometry
        )
        scores = fuse_with_trust(scores, estimated.fusion_weight, shortlist.similarity)
    ordered, similarity, structural = (
        reorder(side, scores) for side in (ranked, similarities.global_similarity, similarities.structural)
    )
    latency = _per_query(start, ranked)
    geometry = None if similarities.geometry is None else reorder(similarities.geometry, scores)
    confidence = None if config.prune else answer_separation(structural, geometry, described.data.places(ordered))
    return Reranking(ordered, similarity, structural, weight, fusion, estimated, latency, confidence, config.geometry)


def resolve_fusion(fusion: Fusion, same_model: bool) -> Fusion:
    """The fusion that ``auto`` selects: trust for a shortlist of another model, otherwise similarity."""
    return fusion if fusion != "auto" else "similarity" if same_model else "trust"


def _per_query(start: float, ranked: np.ndarray) -> float:
    """Milliseconds since the start, per query."""
    return 1000 * (time.perf_counter() - start) / max(1, len(ranked))
