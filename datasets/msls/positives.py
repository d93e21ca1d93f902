"""Ground truth: the database sequences within a radius of each query sequence."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from vpr.datasets.near import points_within
from vpr.datasets.ragged import Ragged


def sequences_within(
    query: np.ndarray,
    query_utm: np.ndarray,
    database: np.ndarray,
    database_utm: np.ndarray,
    radius_m: float,
) -> Ragged:
    """For each query sequence (Sq, Lq), the database sequences (Sd, Ld) within ``radius_m`` metres.

    Two sequences are within the radius if any frame of one is at most ``radius_m`` from any frame of the other
    (Euclidean, on the UTM plane). Frames of sequences that were filtered out are not used. ``*_utm``: (R, 2) float64
    metres. Returns sorted, unique database indices.
    """
    query_rows, query_members = _membership(query)
    database_rows, database_members = _membership(database)
    near = points_within(query_utm[query_rows], database_utm[database_rows], radius_m)
    if query.shape[1] > 1:
        near = query_members @ near
    if database.shape[1] > 1:
        near = near @ database_members.T.tocsr()
    near.sort_indices()
    return Ragged(near.indptr.astype(np.int64), near.indices.astype(np.int32))


def _membership(sequences: np.ndarray) -> tuple[np.ndarray, csr_array]:
    """The rows of all sequences, sorted (U,), and whether each sequence has each row, (S, U) boolean."""
    rows, columns = np.unique(sequences, return_inverse=True)
    count, length = sequences.shape
    offsets = np.arange(count + 1) * length
    ones = np.ones(sequences.size, bool)
    return rows, csr_array((ones, columns.reshape(-1), offsets), shape=(count, len(rows)))
