"""Shortlists by FAISS: for each query the database images with the most similar global descriptors."""

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import faiss
import numpy as np

from vpr.retrieval.fusion import NO_CANDIDATE

Finds = Callable[[np.ndarray, slice, int], tuple[np.ndarray, np.ndarray]]
MOST_ON_GPU = 2048  # neighbours that FAISS finds on a GPU


def search(queries: np.ndarray, database: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact inner-product search.

    queries (Q, C), database (N, C) float32 unit vectors; depth is cut to N. Returns similarities (Q, k) float32,
    falling, and database rows (Q, k) int64.
    """
    depth = min(int(depth), len(database))
    queries, database = (np.ascontiguousarray(side, np.float32) for side in (queries, database))
    search_all: Any = faiss.knn
    if depth <= MOST_ON_GPU and getattr(faiss, "get_num_gpus", lambda: 0)():
        search_all = partial(faiss.knn_gpu, gpu_resources())
    return search_all(queries, database, depth, metric=faiss.METRIC_INNER_PRODUCT)


@cache
def gpu_resources() -> Any:
    """FAISS's memory on the GPU and its handles, taken once in a process."""
    return faiss.StandardGpuResources()


def search_groups(
    queries: np.ndarray, database: np.ndarray | Finds, spans: Iterable[tuple[slice, slice]], depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Search each group of queries in its own part of the database.

    queries (Q, C), database (N, C) unit vectors; or who holds them, called with queries, the rows that are searched and
    a depth, to find as `search` does, numbered from the first of the rows. spans: the queries of each group and the
    database rows that they are searched in; together they hold every query once. Returns similarities (Q, k) float32,
    falling, and database rows (Q, k) int64, filled up with -inf and -1 where a group has fewer rows; k is depth, or the
    largest group's size.
    """
    spans = list(spans)
    depth = min(depth, max(rows.stop - rows.start for _, rows in spans))
    similarity = np.full((len(queries), depth), -np.inf, np.float32)
    ranked = np.full((len(queries), depth), NO_CANDIDATE, np.int64)
    for group, rows in spans:
        if callable(database):
            scores, found = database(queries[group], rows, depth)
        else:
            scores, found = search(queries[group], database[rows], depth)
        similarity[group, : found.shape[1]] = scores
        ranked[group, : found.shape[1]] = found + rows.start
    return similarity, ranked
