"""From patch descriptors to scores: the checks of what is given, and the two ways through a backend.

The fused backends (numba, triton) go from patches to scores in one pass. For the others, similarities and marginals are
computed first. Below, ``arrays`` are always query patches (P, C), database patches (N, Q, C), query global (C,) and
database globals (N, C); ``weights`` are given marginals (query (N, P), database (N, Q)), or None.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from types import ModuleType

import numpy as np

from vpr.transport.dispatch import is_torch, solve_by, to_device, to_numpy
from vpr.transport.marginals import Marginals, check_kind, marginal_weights, spread
from vpr.transport.problem import Array, Settings, TransportError, TransportResult, check_marginals, check_result

Weights = tuple[Array, Array]

FUSED = {"numba": "vpr.transport.cpu.fused", "triton": "vpr.transport.cuda.backend"}  # one pass from patches to scores


def check_patches(query_patches: Array, database_patches: Array) -> None:
    """Refuse patches that are not (P, C) and (N, Q, C) with at least one patch and one channel each."""
    shapes = tuple(query_patches.shape), tuple(database_patches.shape)
    fits = len(shapes[0]) == 2 and len(shapes[1]) == 3 and shapes[0][1] == shapes[1][2]
    if not fits or 0 in shapes[0] or 0 in shapes[1][1:]:
        raise TransportError(f"patches have shapes {shapes[0]} and {shapes[1]}; give (P, C) and (N, Q, C)")


def check_globals(
    kind: Marginals, database_patches: Array, query_global: Array | None, database_global: Array | None
) -> None:
    """Refuse global descriptors that are not (C,) and (N, C), and missing ones where the marginals need them."""
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


def checked_weights(weights: Weights, query_patches: Array, database_patches: Array, pairs: int) -> Weights:
    """Marginals (N, P) and (N, Q) from given weights (query (P,) or (N, P), database (N, Q)).

    Raises:
        TransportError: the weights do not fit the patches, or are negative.
    """
    patches = database_patches.shape[1]
    mu, nu = (spread(side / side.sum(-1)[..., None], pairs) for side in weights)
    check_marginals("query weights", mu, (pairs, query_patches.shape[0]))
    check_marginals("database weights", nu, (pairs, patches))
    return mu, nu


def checked_rows(weights: Weights, query_patches: Array, database_patches: Array) -> Weights:
    """Marginals (B, P) and (M, Q) of two sets of images from given weights of those shapes; errors as
    `checked_weights`."""
    names, found = ("query weights", "database weights"), []
    for name, side, patches in zip(names, weights, (query_patches, database_patches)):
        with np.errstate(invalid="ignore", divide="ignore"):  # what is no number is named by the check
            marginals = side / side.sum(-1)[..., None]
        check_marginals(name, marginals, tuple(patches.shape[:2]))
        found.append(marginals)
    return found[0], found[1]


def checked_indices(indices: Array, images: int) -> Array:
    """Indices (N,) into so many images, numpy (int64) or torch; refused if they are none."""
    if not is_torch(indices):
        indices = np.asarray(indices, np.int64)
    if indices.ndim != 1 or (len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < images):
        raise TransportError(f"pairs are no indices (N,) of {images} images")
    return indices


@cache
def fused_module(name: str) -> ModuleType:
    """The module of a fused backend."""
    return importlib.import_module(FUSED[name])


def fused(
    name: str, arrays: Sequence[Array], marginals: Marginals, weights: Weights | None, settings: Settings
) -> TransportResult:
    """Call a fused backend: from patches to scores in one pass."""
    module = fused_module(name)
    kind = marginals if weights is None else None
    if name == "numba" and not is_torch(arrays[1]):
        return module.structural(*arrays, kind, weights, settings)
    if name == "numba":
        arrays = [array.numpy(force=True) for array in arrays]
        weights = weights and (to_numpy(weights[0]), to_numpy(weights[1]))
        return to_torch(module.structural(*arrays, kind, weights, settings))
    given_torch = is_torch(arrays[1])
    if not given_torch:
        arrays = [to_device(array) for array in arrays]
        weights = weights and (to_device(weights[0]), to_device(weights[1]))
    result = module.structural(*arrays, kind, weights, settings)
    check_result(result, settings)
    return result if given_torch else result.mapped(to_numpy)


def to_torch(result: TransportResult) -> TransportResult:
    """The result with its numpy arrays as torch tensors."""
    torch = importlib.import_module("torch")
    return result.mapped(torch.as_tensor)


def unfused(
    name: str, arrays: Sequence[Array], marginals: Marginals, weights: Weights | None, settings: Settings
) -> TransportResult:
    """Call another backend: similarities and marginals first, then transport."""
    query_patches, database_patches, query_global, database_global = map(widen, arrays)
    mu, nu = weights or marginal_weights(marginals, query_patches, database_patches, query_global, database_global)
    pairs, patches, channels = database_patches.shape
    product = database_patches.reshape(pairs * patches, channels) @ query_patches.T
    similarity = product.reshape(pairs, patches, len(query_patches)).swapaxes(1, 2)
    result = solve_by(name, similarity, mu, nu, settings)
    check_result(result, settings)
    return result


def widen(array: Array) -> Array:
    """Half precision as float32, anything wider as it is."""
    if array.dtype.itemsize >= 4:
        return array
    return array.float() if is_torch(array) else array.astype(np.float32)
