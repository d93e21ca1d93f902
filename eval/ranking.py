"""Shortlists and re-ranking of a loaded dataset, in its pooled numbering; images and sequences alike."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from datasets.msls import MSLS
from vpr.cache import DescriptorCache
from vpr.rerank import RerankConfig, Similarities, compare
from vpr.shortlist import search

Scope = Literal["city", "merged"]


def frame_paths(dataset: MSLS) -> tuple[np.ndarray, np.ndarray]:
    """Image paths of every query's frames (Q, Lq) and of every database entry's (N, Ld), str."""
    sides = ([city.query for city in dataset.cities], [city.database for city in dataset.cities])
    return tuple(np.concatenate([side.image_paths(side.frames) for side in both]) for both in sides)


@dataclass(frozen=True)
class Rows:
    """Where the frames of queries and database lie in a cache."""

    query: np.ndarray  # (Q, Lq) int64
    database: np.ndarray  # (N, Ld) int64

    @classmethod
    def of(cls, dataset: MSLS, cache: DescriptorCache) -> "Rows":
        """Look up every frame; raises CacheError when one is missing."""
        return cls(*(cache.rows(paths.ravel()).reshape(paths.shape) for paths in frame_paths(dataset)))


def sequence_descriptors(cache: DescriptorCache, rows: np.ndarray) -> np.ndarray:
    """Global descriptors of sequences (S, L): the mean of the frames' descriptors, of unit length, (S, C) float32."""
    if rows.shape[1] == 1:
        return np.asarray(cache.globals_[rows[:, 0]])
    mean = cache.globals_[rows].mean(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def shortlist(
    dataset: MSLS, queries: np.ndarray, database: np.ndarray, scope: Scope, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar database entries of each query: of its own city, or of all cities merged.

    queries (Q, C), database (N, C) unit vectors in pooled order. Returns similarities (Q, depth) float32 and pooled
    indices (Q, depth) int64, filled up with -inf and -1 where a city has fewer entries.
    """
    spans = list(zip(dataset.query_offsets, dataset.query_offsets[1:], dataset.database_offsets, dataset.database_offsets[1:]))
    if scope == "merged":
        spans = [(0, len(queries), 0, len(database))]
    depth = min(depth, max(stop - start for *_, start, stop in spans))
    similarity = np.full((len(queries), depth), -np.inf, np.float32)
    ranked = np.full((len(queries), depth), -1, np.int64)
    for first, last, start, stop in spans:
        scores, rows = search(queries[first:last], database[start:stop], depth)
        similarity[first:last, : rows.shape[1]] = scores
        ranked[first:last, : rows.shape[1]] = rows + start
    return similarity, ranked


def compare_frames(
    cache: DescriptorCache, rows: Rows, ranked: np.ndarray, config: RerankConfig, title: str | None = None, **how: object
) -> Similarities:
    """Every frame of each query with every frame of its candidates, both fields (Q, Lq, K, Ld).

    ranked (Q, K); -inf where it holds -1. how: the weight and the device of `vpr.rerank.compare`.
    """
    (queries, length), (_, width) = rows.query.shape, rows.database.shape
    candidates = np.where(ranked[:, :, None] >= 0, rows.database[ranked], -1)
    repeated = np.repeat(candidates.reshape(queries, -1), length, axis=0)
    found = compare(cache, rows.query.ravel(), repeated, config, title, **how)
    shape = (queries, length, ranked.shape[1], width)
    return Similarities(found.global_.reshape(shape), found.structural.reshape(shape))


def compare_shortlist(
    cache: DescriptorCache, rows: Rows, ranked: np.ndarray, config: RerankConfig, title: str | None = None, **how: object
) -> Similarities:
    """S_global and S_struct of each query and its shortlist (Q, K); -inf where the shortlist holds -1.

    Sequences: S_global is the cosine of the sequence descriptors; for S_struct every frame of the query counts with its
    best partner among the candidate's frames, and the frames of the query are averaged (docs/protocol.md compares the
    simple choices).
    """
    found = compare_frames(cache, rows, ranked, config, title, **how)
    if found.global_.shape[1] == found.global_.shape[3] == 1:
        return Similarities(found.global_[:, 0, :, 0], found.structural[:, 0, :, 0])
    own, theirs = (sequence_descriptors(cache, side) for side in (rows.query, rows.database))
    similarity = np.einsum("qc,qkc->qk", own, theirs[ranked]).astype(np.float32)
    return Similarities(np.where(ranked >= 0, similarity, -np.inf), found.structural.max(3).mean(1))
