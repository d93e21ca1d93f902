"""Ground truth by distance: the database photos within a radius of each query."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from vpr.datasets.near import points_within
from vpr.datasets.places.coordinates import CommonPlane
from vpr.datasets.ragged import Ragged


def photos_within(plane: CommonPlane, radius_m: float) -> Ragged:
    """For each query the sorted numbers of the database photos at most ``radius_m`` metres away.

    Two photos of one zone are compared on its plane, as VPR-methods-evaluation does; others on the ground.
    """
    if plane.query_ground is None or plane.database_ground is None:
        near = points_within(plane.queries, plane.database, radius_m)
    else:
        near = _across_zones(plane, plane.query_ground, plane.database_ground, radius_m)
    near.sort_indices()
    return Ragged(near.indptr.astype(np.int64), near.indices.astype(np.int32))


def _across_zones(plane: CommonPlane, queries: np.ndarray, database: np.ndarray, radius_m: float) -> csr_array:
    """(Q, N) boolean, for photos of several zones, or with degrees."""
    assert plane.query_system is not None and plane.database_system is not None
    assert plane.query_metres is not None and plane.database_metres is not None
    pairs = points_within(queries, database, radius_m).tocoo()
    rows, columns = pairs.coords
    apart = (plane.query_system[rows] != plane.database_system[columns]) | (plane.query_system[rows] < 0)
    firsts, seconds = [rows[apart]], [columns[apart]]
    for number in np.unique(plane.query_system[plane.query_system >= 0]).tolist():
        of_queries, of_database = (
            np.flatnonzero(side == number) for side in (plane.query_system, plane.database_system)
        )
        if len(of_database):
            same = points_within(plane.query_metres[of_queries], plane.database_metres[of_database], radius_m).tocoo()
            firsts.append(of_queries[same.coords[0]])
            seconds.append(of_database[same.coords[1]])
    rows, columns = np.concatenate(firsts), np.concatenate(seconds)
    return csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(queries), len(database)))
