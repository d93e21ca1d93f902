"""Points within a radius of each other."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

QUERY_CHUNK = 100_000  # points that are compared at a time, to limit the memory


def points_within(query: np.ndarray, database: np.ndarray, radius_m: float) -> csr_array:
    """(Q, N) boolean: whether each pair of points (Q, D) and (N, D), metres, lies within the radius, inclusive."""
    tree = cKDTree(database)
    firsts, seconds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(query), QUERY_CHUNK):
        chunk = query[start : start + QUERY_CHUNK]
        # The tree rounds squares, so it searches slightly further, and the exact formula decides.
        pairs = cKDTree(chunk).sparse_distance_matrix(tree, radius_m * (1 + 1e-9), output_type="ndarray")
        offset = chunk[pairs["i"]] - database[pairs["j"]]
        inside = (offset * offset).sum(axis=1) <= radius_m * radius_m
        firsts.append(pairs["i"][inside] + start)
        seconds.append(pairs["j"][inside])
    rows, columns = np.concatenate(firsts), np.concatenate(seconds)
    return csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(query), len(database)))
