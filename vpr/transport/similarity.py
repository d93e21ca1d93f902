"""Structural similarity of a query with its candidates: from patches through marginals and transport to scores.

The fused backends (numba, triton) go from patches to scores in one pass. For the others, cosines and marginals are
computed first.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Generic, TypeAlias

import numpy as np

from vpr.transport.arrays import (
    AnyArray,
    Array,
    is_on_cuda,
    is_torch,
    needs_gradient,
    repeat_rows,
    to_kind_of,
    to_tensor,
    widen,
)
from vpr.transport.dispatch import choose_backend, convert_for, solve_by
from vpr.transport.errors import TransportError
from vpr.transport.marginals import FROM_WEIGHTS, Marginals, check_marginals, marginal_weights
from vpr.transport.problem import (
    DEFAULT,
    Images,
    Solver,
    SolverOptions,
    Transport,
    TransportResult,
    check_result,
    choose_transport,
    convert_result,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

FUSED = {"numba": "vpr.transport.cpu.fused", "triton": "vpr.transport.cuda.backend"}  # one pass from patches to scores
Indices: TypeAlias = "AnyArray | Sequence[int]"


class SimilarityOptions(SolverOptions, Generic[Array], total=False):
    """The options of `structural_similarity`: the solver's, and weights.

    Attributes:
        weights: (query (P,) or (N, P), database (N, Q)) to use as marginals, or None; learnt marginals are made from
            them and from the global descriptors. For `structural_similarity_pairs` one row for each image of the two
            sets, (B, P) and (M, Q).
    """

    weights: tuple[Array, Array] | None


def structural_similarity(
    query_patches: Array,
    database_patches: Array,
    query_global: Array | None = None,
    database_global: Array | None = None,
    marginals: Marginals | None = None,
    epsilon: float | None = None,
    mass: float | None = None,
    transport: Transport | None = None,
    **options: Unpack[SimilarityOptions[Array]],
) -> TransportResult[Array]:
    r"""Structural similarity of one query with N database images.

    .. math::
        S_{ij} = \langle f^q_i, f^d_j \rangle, \quad
        T = \arg\min_T \langle 1 - S, T \rangle - \epsilon H(T), \quad
        s = \sum_{ij} S_{ij} T_{ij}

    over the transport plans T between the marginals of the two images.

    Args:
        query_patches: (P, C) unit vectors, numpy or torch, float16 to float64.
        database_patches: (N, Q, C) unit vectors, float16 as a cache holds them or wider.
        query_global: (C,) unit vector; uniform marginals and ``weights`` do not need it.
        database_global: (N, C) unit vectors; uniform marginals and ``weights`` do not need them.
        marginals: how much each patch counts, "complement" by default; see ``vpr.transport.marginal_weights``.
        epsilon: entropic regularisation, in units of cosine, at least 0.001; 0.05 by default.
        mass: transported mass, in (0, 1], 1 by default; less than 1 leaves the worst matches out.
        transport: marginals, epsilon and mass as one value, instead of these three.
        **options: ``weights``, (query (P,) or (N, P), database (N, Q)) to use as marginals, each divided by its
            sum; rollout and learnt need them. And ``backend``, ``plan``, ``threads``, ``tolerance`` and
            ``max_iterations``; see ``vpr.transport.problem.SolverOptions``.

    Returns:
        TransportResult: score (N,), iterations (N,), marginal_error (N,), plan (N, P, Q) or None, backend. The arrays
        are numpy or torch, as the patches are.

    Raises:
        TransportError: (a ValueError) shapes do not fit, global descriptors are missing, a value is out of range or
            not finite, or ``transport`` and another argument contradict each other.

    Example:
        >>> import numpy as np
        >>> patches = np.eye(3, dtype="float32")
        >>> result = structural_similarity(patches, patches[None], marginals="uniform")
        >>> float(result.score[0].round(3))
        1.0

    References:
        Zhang, Liwicki, Cipolla, "Beyond the CLS Token: Image Reranking using Pre-trained Vision
        Transformers", BMVC 2022.
    """
    problem = choose_transport(transport, marginals, epsilon, mass)
    weights, wanted_backend = options.pop("weights", None), options.pop("backend", "auto")
    solver = Solver.from_options(**options)
    check_patches(query_patches, database_patches)
    if weights is None or problem.marginals == "learnt":
        check_globals(problem.marginals, database_patches, query_global, database_global, weights is not None)
    if weights is not None:
        pairs = len(database_patches)
        repeated = repeat_rows(weights[0], pairs), repeat_rows(weights[1], pairs)
        weights = normalise_weights(repeated, (pairs, len(query_patches)), database_patches.shape[:2])
    gradient = needs_gradient(query_patches, database_patches, query_global, database_global, *(weights or ()))
    backend = choose_backend(wanted_backend, on_cuda=is_on_cuda(database_patches), gradient=gradient)
    if query_global is None or database_global is None:
        query_global, database_global = query_patches[0] * 0, database_patches[:, 0] * 0
    images = Images(query_patches, database_patches, query_global, database_global)
    score = score_fused if backend in FUSED else score_in_steps
    return score(backend, images, weights, problem, solver)


def structural_similarity_pairs(
    query_patches: Array,
    database_patches: Array,
    query_global: Array,
    database_global: Array,
    pairs: tuple[Indices, Indices],
    transport: Transport = DEFAULT,
    **options: Unpack[SimilarityOptions[Array]],
) -> TransportResult[Array]:
    """Structural similarities of N pairs of images out of two sets in memory, in one call; on CUDA in one launch.

    Args:
        query_patches: (B, P, C) unit vectors, numpy or torch.
        database_patches: (M, Q, C) unit vectors.
        query_global: (B, C) unit vectors; not read for uniform marginals and ``weights``.
        database_global: (M, C) unit vectors; likewise.
        pairs: index of the query (N,) and of the database image (N,) of each pair. The call is fastest if the pairs of
            a query are neighbours.
        transport: the problem.
        **options: ``weights``, (query (B, P), database (M, Q)) to use as marginals, a row for each image, each
            divided by its sum; rollout and learnt need them. And ``backend``, ``threads``, ``tolerance`` and
            ``max_iterations``; see ``vpr.transport.problem.SolverOptions``. There are no plans of pairs.

    Returns:
        TransportResult of the N pairs, without plans.

    Raises:
        TransportError: as in ``structural_similarity``, or the pairs are not indices of the images.
    """
    weights, wanted_backend = options.pop("weights", None), options.pop("backend", "auto")
    solver = replace(Solver.from_options(**options), plan=False)
    images = Images(query_patches, database_patches, query_global, database_global)
    indices, weights = check_pairs(images, pairs, weights, transport)
    backend = choose_backend(wanted_backend, on_cuda=is_on_cuda(database_patches), gradient=False)
    score = score_pairs_fused if backend in FUSED else score_pairs_by_query
    return score(backend, images, indices, weights, transport, solver)


def check_pairs(
    images: Images[Array],
    pairs: tuple[Indices, Indices],
    weights: tuple[Array, Array] | None,
    transport: Transport,
) -> tuple[tuple[AnyArray, AnyArray], tuple[Array, Array] | None]:
    """The indices of N pairs of images out of two sets, and patch weights divided by their sums.

    Raises TransportError for images, pairs and weights that do not fit one another.
    """
    queries, database, query_global, database_global = images
    if len(queries) and len(database):
        check_patches(queries[0], database)
        if weights is None or transport.marginals == "learnt":
            check_globals(transport.marginals, database, query_global[0], database_global, weights is not None)
        if weights is not None:
            weights = normalise_weights(weights, queries.shape[:2], database.shape[:2])
    own, other = check_indices(pairs[0], len(queries)), check_indices(pairs[1], len(database))
    if len(own) != len(other):
        raise TransportError(f"pairs have {len(own)} queries and {len(other)} images; give (N,) twice")
    return (own, other), weights


def check_patches(query_patches: Array, database_patches: Array) -> None:
    """Refuse patches that are not (P, C) and (N, Q, C) with at least one patch and one channel each."""
    query, database = tuple(query_patches.shape), tuple(database_patches.shape)
    fits = len(query) == 2 and len(database) == 3 and query[1] == database[2]
    if not fits or 0 in query or 0 in database[1:]:
        raise TransportError(f"patches have shapes {query} and {database}; give (P, C) and (N, Q, C)")


def check_globals(
    marginals: Marginals,
    database_patches: Array,
    query_global: Array | None,
    database_global: Array | None,
    weights_given: bool = False,
) -> None:
    """Refuse global descriptors that are not (C,) and (N, C), and missing ones and weights that the marginals need."""
    if marginals == "uniform" and query_global is None and database_global is None:
        return
    if marginals in FROM_WEIGHTS and not weights_given:
        raise TransportError(f"{marginals} marginals need the weights of both images; pass weights=(query, database)")
    if query_global is None or database_global is None:
        raise TransportError(f"marginals '{marginals}' need query_global and database_global")
    shapes = tuple(query_global.shape), tuple(database_global.shape)
    pairs, _, channels = database_patches.shape
    if shapes != ((channels,), (pairs, channels)):
        raise TransportError(f"global descriptors have shapes {shapes}; expected {((channels,), (pairs, channels))}")


def normalise_weights(
    weights: tuple[Array, Array], query_shape: tuple[int, ...], database_shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """Marginals of these shapes from weights of patches, each row divided by its sum.

    Raises:
        TransportError: the weights do not fit the patches, are negative, or are all zero.
    """
    query, database = weights
    with np.errstate(invalid="ignore", divide="ignore"):  # the checks name weights of sum zero
        mu, nu = query / query.sum(-1)[..., None], database / database.sum(-1)[..., None]
    check_marginals("query weights", mu, tuple(query_shape))
    check_marginals("database weights", nu, tuple(database_shape))
    return mu, nu


def check_indices(indices: Indices, count: int) -> AnyArray:
    """Indices (N,) of some of ``count`` images, numpy (int64) or torch; anything else is refused."""
    array: AnyArray = indices if is_torch(indices) else np.asarray(indices, np.int64)
    if array.ndim != 1 or (len(array) and not 0 <= int(array.min()) <= int(array.max()) < count):
        raise TransportError(f"pairs are not indices (N,) of {count} images")
    return array


@cache
def fused_module(backend: str) -> ModuleType:
    """The module of a fused backend."""
    return importlib.import_module(FUSED[backend])


def score_fused(
    backend: str,
    images: Images[Array],
    weights: tuple[Array, Array] | None,
    transport: Transport,
    solver: Solver,
) -> TransportResult[Array]:
    """Scores of a query with N candidates by a fused backend: from patches to scores in one pass."""
    converted = Images(*(convert_for(backend, array) for array in images))
    given = weights and tuple(convert_for(backend, side) for side in weights)
    result = fused_module(backend).score_candidates(converted, given, transport, solver)
    if backend == "triton":  # numba has checked its result
        check_result(result, solver)
    return convert_result(result, lambda array: to_kind_of(images.database_patches, array))


def score_in_steps(
    backend: str,
    images: Images[Array],
    weights: tuple[Array, Array] | None,
    transport: Transport,
    solver: Solver,
) -> TransportResult[Array]:
    """Scores of a query with N candidates by another backend: cosines and marginals first, then transport."""
    query, database = widen(images.query_patches), widen(images.database_patches)
    if weights is None or transport.marginals == "learnt":
        descriptors = widen(images.query_global), widen(images.database_global)
        weights = marginal_weights(transport.marginals, query, database, *descriptors, weights)
    pairs, patches, channels = database.shape
    product = database.reshape(pairs * patches, channels) @ query.T
    similarity = product.reshape(pairs, patches, len(query)).swapaxes(1, 2)
    result = solve_by(backend, similarity, *weights, transport, solver)
    check_result(result, solver)
    return result


def score_pairs_fused(
    backend: str,
    images: Images[Array],
    pairs: tuple[AnyArray, AnyArray],
    weights: tuple[Array, Array] | None,
    transport: Transport,
    solver: Solver,
) -> TransportResult[Array]:
    """Scores of N pairs by a fused backend; arguments as in `structural_similarity_pairs`, checked."""
    converted = Images(*(convert_for(backend, array) for array in images))
    places = tuple(convert_for(backend, side) for side in pairs)
    given = weights and tuple(convert_for(backend, side) for side in weights)
    if backend == "triton":
        places = tuple(side.to(converted.database_patches.device) for side in places)
        given = given and (given[0][places[0]], given[1][places[1]])  # (N, P) and (N, Q)
    result = fused_module(backend).score_pairs(converted, places, given, transport, solver)
    if backend == "triton":
        check_result(result, solver)
    return convert_result(result, lambda array: to_kind_of(images.database_patches, array))


def score_pairs_by_query(
    backend: str,
    images: Images[Array],
    pairs: tuple[AnyArray, AnyArray],
    weights: tuple[Array, Array] | None,
    transport: Transport,
    solver: Solver,
) -> TransportResult[Array]:
    """Scores of N pairs query by query, by a backend that takes one query; arguments as in `score_pairs_fused`."""
    import torch

    tensors = Images(*(to_tensor(array) for array in images))
    device = tensors.database_patches.device
    queries, candidates = (to_tensor(side).to(device) for side in pairs)
    sides = None if weights is None else (to_tensor(weights[0]), to_tensor(weights[1]))
    score, error = (torch.zeros(len(queries), device=device) for _ in range(2))
    iterations = torch.zeros(len(queries), dtype=torch.int64, device=device)
    for query in sorted(set(queries.tolist())):
        places = (queries == query).nonzero()[:, 0]
        rows = candidates[places]
        solved = structural_similarity(
            tensors.query_patches[query],
            tensors.database_patches[rows],
            tensors.query_global[query],
            tensors.database_global[rows],
            transport=transport,
            weights=None if sides is None else (sides[0][query], sides[1][rows]),
            backend=backend,
            tolerance=solver.tolerance,
            max_iterations=solver.max_iterations,
        )
        score[places] = solved.score.to(score.dtype)
        iterations[places] = solved.iterations.to(iterations.dtype)
        error[places] = solved.marginal_error.to(error.dtype)
    result = TransportResult(score, iterations, error, None, backend)
    return convert_result(result, lambda array: to_kind_of(images.database_patches, array))
