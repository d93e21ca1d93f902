"""The geometry of matches: whether the patches of two images match as one scene does.

`vpr.transport.geometry_reference` says what is computed, and docs/reference/geometry.md why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vpr.transport.arrays import Array, to_numpy
from vpr.transport.dispatch import is_available
from vpr.transport.geometry_reference import PatchGeometry, grid_side
from vpr.transport.geometry_reference import plan_geometry as read_plans
from vpr.transport.problem import DEFAULT, Images, Solver, Transport
from vpr.transport.similarity import check_pairs, structural_similarity, structural_similarity_pairs

if TYPE_CHECKING:
    from vpr.transport.similarity import Indices


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
    images = Images(query_patches, database_patches, query_global, database_global)
    indices, weights = _check(images, pairs, weights, transport)
    solver = Solver(plan=True, threads=threads)
    if len(indices[0]) == 0:
        return read_plans(np.zeros((0, query_patches.shape[1], database_patches.shape[1]), np.float32))
    if is_available("numba"):
        from vpr.transport.cpu import geometry

        return geometry.pair_geometry(images, indices, weights, transport, solver)
    return _geometry_by_pair(images, indices, weights, transport)


def score_with_geometry(
    images: Images[np.ndarray],
    pairs: tuple[Indices, Indices],
    choose: Callable[[slice, np.ndarray], np.ndarray],
    transport: Transport,
    *,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The structural similarities of N pairs, and the geometry's scores of those that are chosen, -inf for others.

    Both are (N,) float32. The transport problem of a pair is solved once for both, unless the pairs of one query have
    more plans than fit into 32 MiB.

    The arguments are those of `structural_similarity_pairs`, numpy, with the pairs in the order of their queries.
    choose: takes a slice of the pairs, which has all pairs of its queries, and their similarities (n,). It returns the
    places (m,) in the slice of the pairs whose geometry is wanted.

    Raises:
        TransportError: as in `structural_similarity_pairs`, or patches are no square grid.
    """
    indices, given = _check(images, pairs, weights, transport)
    if is_available("numba") and len(indices[0]):
        from vpr.transport.cpu import geometry

        solver = Solver(plan=True, threads=threads)
        found = geometry.score_with_geometry(images, indices, given, transport, solver, choose)
        if found is not None:
            return found
    scores = structural_similarity_pairs(*images, indices, transport, weights=weights, threads=threads).score
    chosen = choose(slice(0, len(scores)), scores)
    geometries = np.full(len(scores), -np.inf, np.float32)
    some = indices[0][chosen], indices[1][chosen]
    geometries[chosen] = pair_geometry(*images, some, transport, weights=weights, threads=threads).score
    return scores, geometries


def _check(
    images: Images[np.ndarray],
    pairs: tuple[Indices, Indices],
    weights: tuple[np.ndarray, np.ndarray] | None,
    transport: Transport,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray] | None]:
    """As `check_pairs`, for images whose patches have to be square grids."""
    for patches in images[:2]:
        grid_side(patches.shape[1])
    (own, other), weights = check_pairs(images, pairs, weights, transport)
    return (to_numpy(own), to_numpy(other)), weights


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
            plan=True,
        )
        assert result.plan is not None
        parts.append(read_plans(result.plan))
    return PatchGeometry(*(np.concatenate(fields) for fields in zip(*parts)))
