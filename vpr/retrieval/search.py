"""Shortlists by FAISS: for each query the database images with the most similar global descriptors."""

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np

from vpr.retrieval.fusion import NO_CANDIDATE


def search(queries: np.ndarray, database: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact inner-product search.

    queries (Q, C), database (N, C) float32 unit vectors; depth is cut to N. Returns similarities (Q, k) float32,
    falling, and database rows (Q, k) int64.
    """
    index: Any = faiss.IndexFlatIP(database.shape[1])
    if getattr(faiss, "get_num_gpus", lambda: 0)():
        index = faiss.index_cpu_to_all_gpus(index)
    index.add(np.ascontiguousarray(database, np.float32))
    return index.search(np.ascontiguousarray(queries, np.float32), min(int(depth), len(database)))


def search_groups(
    queries: np.ndarray, database: np.ndarray, spans: Iterable[tuple[slice, slice]], depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Search each group of queries in its own part of the database.

    queries (Q, C), database (N, C) unit vectors. spans: the queries of each group and the database rows that they are
    searched in; together they hold every query once. Returns similarities (Q, k) float32, falling, and database rows
    (Q, k) int64, filled up with -inf and -1 where a group has fewer rows; k is depth, or the largest group's size.
    """
    spans = list(spans)
    depth = min(depth, max(rows.stop - rows.start for _, rows in spans))
    similarity = np.full((len(queries), depth), -np.inf, np.float32)
    ranked = np.full((len(queries), depth), NO_CANDIDATE, np.int64)
    for group, rows in spans:
        scores, found = search(queries[group], database[rows], depth)
        similarity[group, : found.shape[1]] = scores
        ranked[group, : found.shape[1]] = found + rows.start
    return similarity, ranked
