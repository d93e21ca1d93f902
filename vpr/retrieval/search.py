"""Shortlists by FAISS: for each query the database images with the most similar global descriptors."""

from collections.abc import Iterable
from functools import cache, partial
from typing import Any, Protocol

import faiss
import numpy as np

from vpr.retrieval.fusion import NO_CANDIDATE

MOST_ON_GPU = 2048  # maximum number of neighbours of FAISS on a GPU


class Searchable(Protocol):
    """Entries that are searched by their global descriptors."""

    def search(self, queries: np.ndarray, depth: int, entries: slice | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest entries of unit vectors (Q, C): similarities (Q, k) float32, descending, and entries (Q, k).

        entries: the range to search; None for all. Entries are numbered from the first of all, not of the range.
        """
        ...


def search(queries: np.ndarray, database: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact inner-product search.

    queries (Q, C), database (N, C): float32 unit vectors. Returns similarities (Q, k) float32, descending, and database
    rows (Q, k) int64; k is depth, or N if that is smaller.
    """
    depth = min(int(depth), len(database))
    queries, database = (np.ascontiguousarray(side, np.float32) for side in (queries, database))
    search_all: Any = faiss.knn
    if depth <= MOST_ON_GPU and getattr(faiss, "get_num_gpus", lambda: 0)():
        search_all = partial(faiss.knn_gpu, gpu_resources())
    similarity, rows = search_all(queries, database, depth, metric=faiss.METRIC_INNER_PRODUCT)
    return similarity, rows


@cache
def gpu_resources() -> Any:
    """FAISS's memory and handles on the GPU, allocated once per process."""
    return faiss.StandardGpuResources()


def search_groups(
    queries: np.ndarray, database: Searchable, spans: Iterable[tuple[slice, slice]], depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Search each group of queries in its own part of the database.

    queries (Q, C): unit vectors. spans: for each group its queries, and the range of database entries to search; each
    query is in one group. Returns similarities (Q, k) float32, descending, and entries (Q, k) int64, padded with -inf
    and -1 if a group has fewer entries; k is depth, or the size of the largest range if that is smaller.
    """
    spans = list(spans)
    depth = min(depth, max(entries.stop - entries.start for _, entries in spans))
    similarity = np.full((len(queries), depth), -np.inf, np.float32)
    ranked = np.full((len(queries), depth), NO_CANDIDATE, np.int64)
    for group, entries in spans:
        scores, numbers = database.search(queries[group], depth, entries)
        similarity[group, : numbers.shape[1]] = scores
        ranked[group, : numbers.shape[1]] = numbers
    return similarity, ranked
