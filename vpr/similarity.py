"""Structural similarity of a query with its candidates: patches, marginals, transport, score."""

import importlib
from functools import cache
from typing import Any, get_args

import numpy as np

from vpr.transport.dispatch import choose, is_torch, run, wants_gradient
from vpr.transport.marginals import Marginals, marginal_weights, spread
from vpr.transport.problem import (
    MAX_ITERATIONS,
    TOLERANCE,
    Settings,
    TransportError,
    TransportResult,
    check_marginals,
    check_result,
)

KINDS = get_args(Marginals)
FUSED = {"numba": "vpr.transport.numba_fused", "triton": "vpr.transport.triton_backend"}


def structural_similarity(
    query_patches,
    database_patches,
    query_global=None,
    database_global=None,
    marginals: Marginals = "complement",
    epsilon: float = 0.05,
    mass: float = 1.0,
    *,
    weights: tuple[Any, Any] | None = None,
    candidates: Any | None = None,
    tolerance: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
    backend: str = "auto",
    plan: bool = False,
    threads: int | None = None,
) -> TransportResult:
    r"""Structural similarity of one query with N database images.

    .. math::
        S_{ij} = \langle f^q_i, f^d_j \rangle, \quad
        T = \arg\min_T \langle 1 - S, T \rangle - \epsilon H(T), \quad
        s = \sum_{ij} S_{ij} T_{ij}

    over the transport plans T between the marginals of the two images.

    Parameters
    ----------
    query_patches : (P, C) unit vectors, numpy or torch, float16 to float64
    database_patches : (N, Q, C) unit vectors, float16 as a cache holds them or wider
    query_global : (C,) unit vector; may be left out for uniform marginals or given weights
    database_global : (N, C) unit vectors; likewise
    marginals : how much each patch counts; see ``vpr.transport.marginal_weights``
    epsilon : entropic regularisation, in units of cosine
    mass : transported mass, in (0, 1]; less than 1 leaves the worst matches out
    weights : (query (P,) or (N, P), database (N, Q)) to use as marginals, each divided by its sum;
        rollout needs them
    candidates : (N,) indices of the database images to score, in this order, when ``database_patches`` (M, Q, C) and
        ``database_global`` (M, C) hold more; None scores them all
    tolerance : L1 marginal violation at which a pair stops; None is the default of ``solve``
    max_iterations : bound on the iterations of a pair
    backend : "auto", or one of ``vpr.transport.BACKENDS``
    plan : whether the result carries the (N, P, Q) plans
    threads : CPU threads of the numba backend; None takes every CPU. A caller with threads of its own
        gives 1 and calls from as many of them as it likes

    Returns
    -------
    TransportResult: score (N,), iterations (N,), marginal_error (N,), plan, backend

    Raises
    ------
    TransportError (a ValueError) on shapes that do not fit, missing globals or values that are not finite

    Examples
    --------
    >>> import numpy as np
    >>> patches = np.eye(3, dtype="float32")
    >>> result = structural_similarity(patches, patches[None], marginals="uniform")
    >>> float(result.score[0].round(3))
    1.0

    References
    ----------
    .. [1] Zhang, Liwicki, Cipolla, "Beyond the CLS Token: Image Reranking using Pre-trained Vision
       Transformers", BMVC 2022.
    """
    tolerance = TOLERANCE if tolerance is None else tolerance
    settings = Settings(epsilon, mass, tolerance, max_iterations, plan, threads).check()
    check_patches(query_patches, database_patches)
    if weights is None:
        check_globals(marginals, query_patches, database_patches, query_global, database_global)
    if candidates is not None:
        candidates = checked_candidates(candidates, len(database_patches))
    arrays = (query_patches, database_patches, query_global, database_global)
    gradient = wants_gradient(*(array for array in arrays if array is not None))
    cuda = is_torch(database_patches) and database_patches.is_cuda
    name = choose(backend, on_cuda=cuda, needs_gradient=gradient)
    if query_global is None:
        query_global, database_global = query_patches[0] * 0, database_patches[:, 0] * 0
    if candidates is not None and (name != "numba" or is_torch(database_patches)):
        database_patches, database_global, candidates = database_patches[candidates], database_global[candidates], None
    if weights is not None:
        pairs = len(database_patches) if candidates is None else len(candidates)
        weights = checked_weights(weights, query_patches, database_patches, pairs)
    arrays = (query_patches, database_patches, query_global, database_global)
    if name not in FUSED:
        return unfused(name, arrays, marginals, weights, settings)
    if candidates is not None:
        kind = marginals if weights is None else None
        return fused_module(name).structural(*arrays, kind, weights, settings, candidates)
    return fused(name, arrays, marginals, weights, settings)


def checked_candidates(candidates, images: int):
    """Indices (N,) of database images, numpy or torch."""
    if not is_torch(candidates):
        candidates = np.asarray(candidates, np.int64)
    if candidates.ndim != 1 or (len(candidates) and not 0 <= int(candidates.min()) <= int(candidates.max()) < images):
        raise TransportError(f"candidates are no indices (N,) of {images} database images")
    return candidates


def check_patches(query_patches, database_patches) -> None:
    """Refuse patches whose shapes do not fit each other."""
    shapes = tuple(query_patches.shape), tuple(database_patches.shape)
    fits = len(shapes[0]) == 2 and len(shapes[1]) == 3 and shapes[0][1] == shapes[1][2]
    if not fits or 0 in shapes[0] or 0 in shapes[1][1:]:
        raise TransportError(f"patches have shapes {shapes[0]} and {shapes[1]}; give (P, C) and (N, Q, C)")


def check_globals(kind, query_patches, database_patches, query_global, database_global) -> None:
    """Refuse marginals that need global descriptors without them, or with ones that do not fit."""
    if kind == "uniform" and query_global is None and database_global is None:
        return
    if kind == "rollout":
        raise TransportError("rollout marginals need the weights of both images; pass weights=(query, database)")
    if kind not in KINDS:
        raise TransportError(f"marginals are '{kind}'; choose one of {', '.join(KINDS)}")
    if query_global is None or database_global is None:
        raise TransportError(f"marginals '{kind}' need query_global and database_global")
    shapes = tuple(query_global.shape), tuple(database_global.shape)
    pairs, _, channels = database_patches.shape
    if shapes != ((channels,), (pairs, channels)):
        raise TransportError(f"global descriptors have shapes {shapes}; expected {((channels,), (pairs, channels))}")


def checked_weights(weights, query_patches, database_patches, pairs: int):
    """Given weights as marginals (N, P) and (N, Q)."""
    patches = database_patches.shape[1]
    mu, nu = (spread(side / side.sum(-1)[..., None], pairs) for side in weights)
    check_marginals("query weights", mu, (pairs, query_patches.shape[0]))
    check_marginals("database weights", nu, (pairs, patches))
    return mu, nu


@cache
def fused_module(name: str):
    """The module of a backend that goes from patches to scores in one pass."""
    return importlib.import_module(FUSED[name])


def fused(name, arrays, marginals, weights, settings: Settings) -> TransportResult:
    """Call a backend that goes from patches to scores in one pass."""
    module = fused_module(name)
    marginals = marginals if weights is None else None
    if name == "numba" and not is_torch(arrays[1]):
        return module.structural(*arrays, marginals, weights, settings)
    if name == "numba":
        arrays = [array.numpy(force=True) for array in arrays]
        weights = weights and tuple(side.numpy(force=True) if is_torch(side) else side for side in weights)
        return to_torch(module.structural(*arrays, marginals, weights, settings))
    given_torch = is_torch(arrays[1])
    if not given_torch:
        torch = importlib.import_module("torch")
        arrays = [torch.as_tensor(array) for array in arrays]
        weights = weights and tuple(torch.tensor(side) for side in weights)
    result = module.structural(*arrays, marginals, weights, settings)
    check_result(result, settings)
    if given_torch:
        return result
    return TransportResult(*(None if field is None else field.numpy() for field in result[:4]), result.backend)


def to_torch(result: TransportResult) -> TransportResult:
    """The result with its numpy arrays as torch tensors."""
    torch = importlib.import_module("torch")
    return TransportResult(*(None if field is None else torch.as_tensor(field) for field in result[:4]), result.backend)


def unfused(name, arrays, marginals, weights, settings: Settings) -> TransportResult:
    """Similarities first, transport after, for the backends without a fused path."""
    query_patches, database_patches, query_global, database_global = map(widen, arrays)
    mu, nu = weights or marginal_weights(marginals, query_patches, database_patches, query_global, database_global)
    pairs, patches, channels = database_patches.shape
    product = database_patches.reshape(pairs * patches, channels) @ query_patches.T
    similarity = product.reshape(pairs, patches, len(query_patches)).swapaxes(1, 2)
    result = run(name, similarity, mu, nu, settings)
    check_result(result, settings)
    return result


def widen(array):
    """Half precision as float32, anything wider as it is."""
    if array.dtype.itemsize >= 4:
        return array
    return array.float() if is_torch(array) else array.astype(np.float32)


def structural_similarity_pairs(
    query_patches,
    database_patches,
    query_global,
    database_global,
    pairs: tuple[Any, Any],
    marginals: Marginals = "complement",
    epsilon: float = 0.05,
    mass: float = 1.0,
    *,
    backend: str = "auto",
    threads: int | None = None,
) -> TransportResult:
    """Structural similarities of many pairs out of two resident sets of images, in one call: one launch on CUDA.

    Parameters
    ----------
    query_patches : (B, P, C) unit vectors, numpy or torch
    database_patches : (M, Q, C) unit vectors
    query_global : (B, C) unit vectors
    database_global : (M, C) unit vectors
    pairs : indices of the query (N,) and of the database image (N,) of each pair; pairs of one query are
        fastest side by side
    marginals, epsilon, mass, backend, threads : as in ``structural_similarity``

    Returns
    -------
    TransportResult of the N pairs, without plans

    Raises
    ------
    TransportError as in ``structural_similarity``
    """
    settings = Settings(epsilon, mass, threads=threads).check()
    if len(query_patches) and len(database_patches):
        check_patches(query_patches[0], database_patches)
        check_globals(marginals, query_patches[0], database_patches, query_global[0], database_global)
    sides = zip(pairs, (len(query_patches), len(database_patches)))
    queries, images = (checked_candidates(side, images) for side, images in sides)
    if len(queries) != len(images):
        raise TransportError(f"pairs have {len(queries)} queries and {len(images)} images; give (N,) twice")
    given_torch = is_torch(database_patches)
    name = choose(backend, on_cuda=given_torch and database_patches.is_cuda, needs_gradient=False)
    sources = (query_patches, database_patches, query_global, database_global)
    if name == "numba":
        arrays = [array.numpy(force=True) if is_torch(array) else array for array in (*sources, queries, images)]
        result = fused_module(name).structural_pairs(arrays[:4], arrays[4:], marginals, settings)
        return to_torch(result) if given_torch else result
    torch = importlib.import_module("torch")
    sources = [torch.as_tensor(source) for source in sources]
    queries, images = (torch.as_tensor(side, device=sources[1].device) for side in (queries, images))
    if name == "triton":
        result = fused_module(name).structural_pairs(sources, (queries, images), marginals, None, settings)
        check_result(result, settings)
    else:
        result = by_query(sources, queries, images, (marginals, epsilon, mass), name)
    if given_torch:
        return result
    return TransportResult(*(field.numpy(force=True) for field in result[:3]), None, name)


def by_query(sources, queries, images, problem, name: str) -> TransportResult:
    """Pairs solved query by query, for the backends that take one query at a time; torch tensors."""
    torch = importlib.import_module("torch")
    query_patches, database_patches, query_global, database_global = sources
    kinds = torch.float32, torch.int64, torch.float32
    fields = [torch.zeros(len(queries), device=queries.device, dtype=kind) for kind in kinds]
    for query in queries.unique().tolist():
        where = (queries == query).nonzero()[:, 0]
        rows = images[where]
        arrays = query_patches[query], database_patches[rows], query_global[query], database_global[rows]
        solved = structural_similarity(*arrays, *problem, backend=name)
        for field, part in zip(fields, solved):
            field[where] = part.to(field.dtype)
    return TransportResult(*fields, None, name)
