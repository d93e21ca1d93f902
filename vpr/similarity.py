"""Structural similarity of a query with its candidates: patches, marginals, transport, score."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vpr.transport.dispatch import choose, is_torch, to_numpy, wants_gradient
from vpr.transport.from_patches import (
    FUSED,
    check_globals,
    check_patches,
    checked_indices,
    checked_rows,
    checked_weights,
    fused,
    fused_module,
    to_torch,
    unfused,
)
from vpr.transport.marginals import Marginals
from vpr.transport.problem import (
    EPSILON,
    Array,
    Settings,
    SolverOptions,
    TransportError,
    TransportResult,
    check_result,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SimilarityOptions(SolverOptions, total=False):
    """The options of `structural_similarity`: the solver's, and weights.

    Attributes:
        weights: (query (P,) or (N, P), database (N, Q)) to use as marginals, or None; of
            `structural_similarity_pairs`, one row for each image of the two sets, (B, P) and (M, Q).
    """

    weights: tuple[Array, Array] | None


def structural_similarity(
    query_patches: Array,
    database_patches: Array,
    query_global: Array | None = None,
    database_global: Array | None = None,
    marginals: Marginals = "complement",
    epsilon: float = EPSILON,
    mass: float = 1.0,
    **options: Unpack[SimilarityOptions],
) -> TransportResult:
    r"""Structural similarity of one query with N database images.

    .. math::
        S_{ij} = \langle f^q_i, f^d_j \rangle, \quad
        T = \arg\min_T \langle 1 - S, T \rangle - \epsilon H(T), \quad
        s = \sum_{ij} S_{ij} T_{ij}

    over the transport plans T between the marginals of the two images.

    Args:
        query_patches: (P, C) unit vectors, numpy or torch, float16 to float64.
        database_patches: (N, Q, C) unit vectors, float16 as a cache holds them or wider.
        query_global: (C,) unit vector; may be left out for uniform marginals or given weights.
        database_global: (N, C) unit vectors; may be left out for uniform marginals or given weights.
        marginals: how much each patch counts; see ``vpr.transport.marginal_weights``.
        epsilon: entropic regularisation, in units of cosine.
        mass: transported mass, in (0, 1]; less than 1 leaves the worst matches out.
        **options: ``weights``, (query (P,) or (N, P), database (N, Q)) to use as marginals, each divided by its
            sum; rollout needs them. And ``backend``, ``plan``, ``threads``, ``tolerance``, ``max_iterations``;
            see ``vpr.transport.problem.SolverOptions``.

    Returns:
        TransportResult: score (N,), iterations (N,), marginal_error (N,), plan (N, P, Q) or None, backend.

    Raises:
        TransportError: (a ValueError) shapes do not fit, globals are missing, or values are not finite.

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
    weights, backend = options.pop("weights", None), options.pop("backend", "auto")
    settings = Settings.of(epsilon, mass, **options)
    check_patches(query_patches, database_patches)
    if weights is None:
        check_globals(marginals, database_patches, query_global, database_global)
    given = (query_patches, database_patches, query_global, database_global)
    gradient = wants_gradient(*(array for array in given if array is not None))
    cuda = is_torch(database_patches) and database_patches.is_cuda
    name = choose(backend, on_cuda=cuda, needs_gradient=gradient)
    if query_global is None:
        query_global, database_global = query_patches[0] * 0, database_patches[:, 0] * 0
    if weights is not None:
        weights = checked_weights(weights, query_patches, database_patches, len(database_patches))
    arrays = (query_patches, database_patches, query_global, database_global)
    by_name = fused if name in FUSED else unfused
    return by_name(name, arrays, marginals, weights, settings)


def structural_similarity_pairs(
    query_patches: Array,
    database_patches: Array,
    query_global: Array,
    database_global: Array,
    pairs: tuple[Array, Array],
    marginals: Marginals = "complement",
    epsilon: float = EPSILON,
    mass: float = 1.0,
    **options: Unpack[SimilarityOptions],
) -> TransportResult:
    """Structural similarities of N pairs of images out of two sets in memory, in one call; on CUDA that is one launch.

    Args:
        query_patches: (B, P, C) unit vectors, numpy or torch.
        database_patches: (M, Q, C) unit vectors.
        query_global: (B, C) unit vectors; not read for uniform marginals and given weights.
        database_global: (M, C) unit vectors; likewise.
        pairs: indices of the query (N,) and of the database image (N,) of each pair; it is fastest when the pairs
            of a query lie side by side.
        marginals: as in ``structural_similarity``.
        epsilon: as in ``structural_similarity``.
        mass: as in ``structural_similarity``.
        **options: ``weights``, (query (B, P), database (M, Q)) to use as marginals, a row for each image, each
            divided by its sum; rollout needs them. And ``backend`` and ``threads``; see
            ``vpr.transport.problem.SolverOptions``.

    Returns:
        TransportResult of the N pairs, without plans.

    Raises:
        TransportError: as in ``structural_similarity``, or the pairs are no indices of the images.
    """
    weights, backend = options.pop("weights", None), options.pop("backend", "auto")
    settings = Settings.of(epsilon, mass, **options)
    if len(query_patches) and len(database_patches):
        check_patches(query_patches[0], database_patches)
        if weights is None:
            check_globals(marginals, database_patches, query_global[0], database_global)
        else:
            weights = checked_rows(weights, query_patches, database_patches)
    sides = zip(pairs, (len(query_patches), len(database_patches)))
    queries, images = (checked_indices(side, images) for side, images in sides)
    if len(queries) != len(images):
        raise TransportError(f"pairs have {len(queries)} queries and {len(images)} images; give (N,) twice")
    given_torch = is_torch(database_patches)
    name = choose(backend, on_cuda=given_torch and database_patches.is_cuda, needs_gradient=False)
    sources: Sequence[Array] = (query_patches, database_patches, query_global, database_global)
    if name == "numba":
        arrays = [to_numpy(array) for array in (*sources, queries, images)]
        weights = weights and (to_numpy(weights[0]), to_numpy(weights[1]))
        result = fused_module(name).structural_pairs(arrays[:4], arrays[4:], marginals, weights, settings)
        return to_torch(result) if given_torch else result
    result = pairs_by_torch(name, sources, weights, (queries, images), marginals, settings)
    return result if given_torch else result._replace(plan=None).mapped(to_numpy)


def pairs_by_torch(
    name: str,
    sources: Sequence[Array],
    weights: tuple[Array, Array] | None,
    pairs: tuple[Array, Array],
    marginals: Marginals,
    settings: Settings,
) -> TransportResult:
    """Pairs solved by a backend that takes torch tensors; arguments as in `structural_similarity_pairs`, checked."""
    torch = importlib.import_module("torch")
    sources = [torch.as_tensor(source) for source in sources]
    queries, images = (torch.as_tensor(side, device=sources[1].device) for side in pairs)
    weights = weights and tuple(torch.as_tensor(side, device=sources[1].device) for side in weights)
    if name != "triton":
        return by_query(sources, weights, (queries, images), (marginals, settings.epsilon, settings.mass), name)
    of_pairs = weights and (weights[0][queries], weights[1][images])
    result = fused_module(name).structural_pairs(sources, (queries, images), marginals, of_pairs, settings)
    check_result(result, settings)
    return result


def by_query(
    sources: Sequence[Array],
    weights: tuple[Array, Array] | None,
    pairs: tuple[Array, Array],
    problem: tuple[Marginals, float, float],
    name: str,
) -> TransportResult:
    """Pairs solved query by query, for the backends that take one query at a time.

    Args:
        sources: query patches (B, P, C), database patches (M, Q, C), query globals (B, C), database globals (M, C);
            torch tensors.
        weights: given marginals, query (B, P) and database (M, Q), torch tensors; or None.
        pairs: (N,) index of each pair's query and (N,) of its database image, torch tensors.
        problem: marginals, epsilon and mass.
        name: of the backend.
    """
    torch = importlib.import_module("torch")
    query_patches, database_patches, query_global, database_global = sources
    queries, images = pairs
    kinds = torch.float32, torch.int64, torch.float32
    score, iterations, error = (torch.zeros(len(queries), device=queries.device, dtype=kind) for kind in kinds)
    for query in queries.unique().tolist():
        where = (queries == query).nonzero()[:, 0]
        rows = images[where]
        arrays = query_patches[query], database_patches[rows], query_global[query], database_global[rows]
        given = weights and (weights[0][query], weights[1][rows])
        solved = structural_similarity(*arrays, *problem, weights=given, backend=name)
        for field, part in zip((score, iterations, error), solved):
            field[where] = part.to(field.dtype)
    return TransportResult(score, iterations, error, None, name)
