"""Shortlists: for each query the database images with the most similar global descriptors.

FAISS takes 0.2 s and 300 MB to import. A command that locates one photo does not need it: for few queries numpy is
about as fast.
"""

from collections.abc import Iterable
from functools import cache, partial
from typing import Any, Protocol

import numpy as np

from vpr.retrieval.fusion import NO_CANDIDATE

FEW_QUERIES, FEW_PAIRS = 8, 1 << 17  # queries, and pairs with an entry, up to which numpy is about as fast as FAISS
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
    if len(queries) <= FEW_QUERIES and len(queries) * len(database) <= FEW_PAIRS:
        similarity = np.einsum("qc,nc->qn", queries, database)  # equal entries get equal numbers, unlike by BLAS
        if np.isfinite(similarity).all():
            return take_best(similarity, depth)
    import faiss

    search_all: Any = faiss.knn
    if depth <= MOST_ON_GPU and getattr(faiss, "get_num_gpus", lambda: 0)():
        search_all = partial(faiss.knn_gpu, gpu_resources())
    similarity, rows = search_all(queries, database, depth, metric=faiss.METRIC_INNER_PRODUCT)
    return similarity, rows


def take_best(similarity: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest numbers of each row (Q, N), descending, and their columns, as FAISS gives them; depth is at most N.

    Of equal numbers those of the first columns are taken, and the last of these columns comes first.
    """
    columns = np.empty((len(similarity), depth), np.int64)
    for row, best in zip(similarity, columns if depth else []):
        least = np.partition(row, -depth)[-depth]
        above, equal = np.flatnonzero(row > least), np.flatnonzero(row == least)
        chosen = np.concatenate([above, equal[: depth - len(above)]])
        best[:] = chosen[np.lexsort((-chosen, -row[chosen]))]
    return np.take_along_axis(similarity, columns, 1), columns


@cache
def gpu_resources() -> Any:
    """FAISS's memory and handles on the GPU, allocated once per process."""
    import faiss

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
