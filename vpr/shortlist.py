"""Shortlists by FAISS: for each query the database images with the most similar global descriptors."""

import faiss
import numpy as np


def search(queries: np.ndarray, database: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact inner-product search.

    queries (Q, C), database (N, C) float32 unit vectors; depth is cut to N. Returns similarities (Q, k) float32,
    falling, and database rows (Q, k) int64.
    """
    index = faiss.IndexFlatIP(database.shape[1])
    if getattr(faiss, "get_num_gpus", lambda: 0)():
        index = faiss.index_cpu_to_all_gpus(index)
    index.add(np.ascontiguousarray(database, np.float32))
    return index.search(np.ascontiguousarray(queries, np.float32), min(int(depth), len(database)))
