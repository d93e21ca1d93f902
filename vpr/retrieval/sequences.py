"""Sequences of images, described by the descriptors of their frames; a single image is a sequence of one."""

from dataclasses import dataclass

import numpy as np

from vpr.cache import DescriptorCache
from vpr.description.joined_cache import JoinedCache
from vpr.retrieval.fusion import NO_CANDIDATE
from vpr.retrieval.index import Index
from vpr.retrieval.rerank import CachedImages, Similarities
from vpr.retrieval.settings import RerankConfig

BLOCK = 1024  # sequences whose frames are read at a time


@dataclass(frozen=True, eq=False)
class CacheRows:
    """The rows of a cache with the frames of queries and database."""

    query: np.ndarray  # (Q, Lq) int64
    database: np.ndarray  # (N, Ld) int64

    @classmethod
    def look_up(cls, cache: DescriptorCache, queries: np.ndarray, database: np.ndarray) -> "CacheRows":
        """Look up the image files (Q, Lq) and (N, Ld) str; raises CacheError if one is missing."""
        query_rows = cache.query_rows if isinstance(cache, JoinedCache) else cache.rows
        return cls(
            query_rows(queries.ravel()).reshape(queries.shape), cache.rows(database.ravel()).reshape(database.shape)
        )


def sequence_descriptors(cache: DescriptorCache, rows: np.ndarray) -> np.ndarray:
    """Global descriptors of sequences (S, L): the normalised mean over the frames, (S, C) float32."""
    if rows.shape[1] == 1:
        return np.asarray(cache.globals_[rows[:, 0]])
    blocks = (cache.globals_[rows[start : start + BLOCK]] for start in range(0, len(rows), BLOCK))
    return np.concatenate([unit_mean(block) for block in blocks])


def unit_mean(descriptors: np.ndarray) -> np.ndarray:
    """The normalised mean over the frames of descriptors (S, L, C): (S, C)."""
    mean = descriptors.mean(1)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True))


def compare_frames(
    index: Index,
    cache: DescriptorCache,
    rows: CacheRows,
    ranked: np.ndarray,
    config: RerankConfig,
    *,
    weight: float = 1.0,
    title: str | None = None,
) -> Similarities:
    """The similarities of all frames of each query and all frames of its candidates, (Q, Lq, K, Ld).

    index: that of the database; images have the numbers of the rows in the cache. ranked (Q, K): database sequences,
    padded with -1, for which the result is -inf. weight, title: as for `compare_images`.
    """
    (queries, length), (_, width) = rows.query.shape, rows.database.shape
    candidates = np.where(ranked[:, :, None] >= 0, rows.database[ranked], NO_CANDIDATE)
    repeated = np.repeat(candidates.reshape(queries, -1), length, axis=0)
    found = index.compare(CachedImages(cache, rows.query.ravel()), repeated, config, weight=weight, title=title)
    shape = (queries, length, ranked.shape[1], width)
    geometry = None if found.geometry is None else found.geometry.reshape(shape)
    return Similarities(found.global_similarity.reshape(shape), found.structural.reshape(shape), geometry)


def compare_sequences(
    index: Index,
    cache: DescriptorCache,
    rows: CacheRows,
    ranked: np.ndarray,
    config: RerankConfig,
    *,
    weight: float = 1.0,
    title: str | None = None,
) -> Similarities:
    """S_global and S_struct of each query and its candidates (Q, K); -inf for -1. Arguments as for `compare_frames`.

    For sequences, S_global is the cosine of the sequence descriptors. S_struct is the maximum over the frames of the
    candidate, averaged over the frames of the query (docs/notes/protocol.md compares the simple choices). Geometry
    is of pairs of images only: raises ValueError if it is asked for with sequences.
    """
    single = rows.query.shape[1] == rows.database.shape[1] == 1
    if config.geometry and not single:
        raise ValueError("geometry is of pairs of images, not of sequences")
    found = compare_frames(index, cache, rows, ranked, config, weight=weight, title=title)
    if single:
        sides = (found.global_similarity, found.structural, found.geometry)
        return Similarities(*(side[:, 0, :, 0] for side in sides if side is not None))
    own, theirs = (sequence_descriptors(cache, side) for side in (rows.query, rows.database))
    similarity = np.empty(ranked.shape, np.float32)
    for query, candidates in enumerate(ranked):  # (Q, K, C) would not fit into memory
        similarity[query] = theirs[candidates] @ own[query]
    return Similarities(np.where(ranked >= 0, similarity, -np.inf), found.structural.max(3).mean(1))
