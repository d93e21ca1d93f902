"""The geometry of matches: whether the patches of two images match as one scene does.

`vpr.transport.geometry_reference` says what is computed, and docs/reference/geometry.md why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vpr.transport.arrays import Array, to_numpy
from vpr.transport.dispatch import is_available
from vpr.transport.geometry_reference import PatchGeometry, grid_side
from vpr.transport.geometry_reference import plan_geometry as read_plans
from vpr.transport.problem import DEFAULT, Images, Solver, Transport
from vpr.transport.similarity import check_indices, normalise_weights, structural_similarity

if TYPE_CHECKING:
    from vpr.transport.similarity import Indices

PLAN_TOLERANCE = 1e-3  # of the plans that are fitted; at 2e-5 the scores differ by 2e-5 in the mean


def plan_geometry(plans: Array) -> PatchGeometry:
    """The geometry of transport plans (N, P, Q) between patches on square grids, as `structural_similarity` returns.

    Raises:
        TransportError: P or Q is no square number.

    Example:
        >>> import numpy as np
        >>> plan_geometry(np.eye(9, dtype="float32")[None] / 9).score.round(3).tolist()
        [1.0]
    """
    array = to_numpy(plans)
    for patches in array.shape[1:]:
        grid_side(patches)
    if not is_available("numba"):
        return read_plans(array)
    from vpr.transport.cpu import geometry

    return geometry.plan_geometry(array.swapaxes(1, 2))


def pair_geometry(
    query_patches: np.ndarray,
    database_patches: np.ndarray,
    query_global: np.ndarray,
    database_global: np.ndarray,
    pairs: tuple[Indices, Indices],
    transport: Transport = DEFAULT,
    *,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
    threads: int | None = None,
) -> PatchGeometry:
    """The geometry of N pairs of images out of two sets in memory, on CPUs, in memory that does not grow with N.

    The arguments are those of `structural_similarity_pairs`, numpy.

    Raises:
        TransportError: as in `structural_similarity_pairs`, or patches are no square grid.
    """
    for patches in (query_patches, database_patches):
        grid_side(patches.shape[1])
    if weights is not None:
        weights = normalise_weights(weights, query_patches.shape[:2], database_patches.shape[:2])
    own, other = check_indices(pairs[0], len(query_patches)), check_indices(pairs[1], len(database_patches))
    indices = to_numpy(own), to_numpy(other)
    images = Images(query_patches, database_patches, query_global, database_global)
    solver = Solver(tolerance=PLAN_TOLERANCE, plan=True, threads=threads)
    if len(indices[0]) == 0:
        return read_plans(np.zeros((0, query_patches.shape[1], database_patches.shape[1]), np.float32))
    if is_available("numba"):
        from vpr.transport.cpu import geometry

        return geometry.pair_geometry(images, indices, weights, transport, solver)
    return _geometry_by_pair(images, indices, weights, transport)


def _geometry_by_pair(
    images: Images[np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray] | None,
    transport: Transport,
) -> PatchGeometry:
    """As `pair_geometry`, by any backend that makes plans."""
    parts = []
    for own, other in zip(*pairs):
        result = structural_similarity(
            images.query_patches[own],
            images.database_patches[[other]],
            images.query_global[own],
            images.database_global[[other]],
            transport=transport,
            weights=None if weights is None else (weights[0][own], weights[1][[other]]),
            tolerance=PLAN_TOLERANCE,
            plan=True,
        )
        assert result.plan is not None
        parts.append(read_plans(result.plan))
    return PatchGeometry(*(np.concatenate(fields) for fields in zip(*parts)))
