"""From patch descriptors to scores, by whichever backend: what is refused at the edge, and the two ways through."""

from __future__ import annotations

import importlib
from functools import cache

import numpy as np

from vpr.transport.dispatch import is_torch, solve_by
from vpr.transport.marginals import check_kind, marginal_weights, spread
from vpr.transport.problem import Settings, TransportError, TransportResult, check_marginals, check_result

FUSED = {"numba": "vpr.transport.cpu.fused", "triton": "vpr.transport.cuda.backend"}  # one pass from patches to scores


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
    check_kind(kind)
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


def checked_indices(indices, images: int):
    """Indices (N,) of images, numpy or torch."""
    if not is_torch(indices):
        indices = np.asarray(indices, np.int64)
    if indices.ndim != 1 or (len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < images):
        raise TransportError(f"pairs are no indices (N,) of {images} images")
    return indices


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
    result = solve_by(name, similarity, mu, nu, settings)
    check_result(result, settings)
    return result


def widen(array):
    """Half precision as float32, anything wider as it is."""
    if array.dtype.itemsize >= 4:
        return array
    return array.float() if is_torch(array) else array.astype(np.float32)
