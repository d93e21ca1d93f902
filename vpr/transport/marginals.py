"""Marginals: how much each patch of either image counts."""

from typing import Literal, get_args

import numpy as np

from vpr.transport.problem import Array, TransportError, check_marginals

# the kernels know each kind by its place here
FromGlobals = Literal["uniform", "relevancy", "inverse", "complement", "softmax"]
Marginals = Literal[FromGlobals, "rollout"]
CODES = {kind: code for code, kind in enumerate(get_args(FromGlobals))}
GIVEN = -1  # in place of a code: the marginals are given
INVERSE_TEMPERATURE = 0.1


def raw_weights(kind: str, correlation: Array) -> Array:
    """Weights before normalisation, from each patch's cosine with the other image's global descriptor."""
    relevancy = correlation.clip(0, None)
    if kind == "uniform":
        return relevancy * 0 + 1
    if kind == "relevancy":
        return relevancy
    if kind == "complement":
        return (1 - relevancy).clip(0, None)
    exponent = correlation if kind == "softmax" else -relevancy / INVERSE_TEMPERATURE
    return np.exp(exponent) if isinstance(exponent, np.ndarray) else exponent.exp()


def normalise(weights: Array) -> Array:
    """Rows divided by their sums. A row of zeros becomes uniform, which is the limit of equal weights."""
    total = weights.sum(-1)[..., None]
    empty = total <= 0
    return (weights + empty) / (total + empty * weights.shape[-1])


def correlate(patches: Array, descriptors: Array) -> Array:
    """Products (..., P) of patches (..., P, C) with descriptors (..., C), broadcast, in float32 at least."""
    if isinstance(patches, np.ndarray):
        patches, descriptors = (array.astype(np.float32, copy=False) for array in (patches, descriptors))
        return np.matmul(patches, descriptors[..., None])[..., 0]
    kind = patches.dtype if patches.dtype.itemsize >= 4 else descriptors.new_zeros(()).float().dtype
    return (patches.to(kind) @ descriptors.to(kind)[..., None])[..., 0]


def marginal_weights(
    kind: Marginals,
    query_patches: Array,
    database_patches: Array,
    query_global: Array | None,
    database_global: Array | None,
    rollout: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Marginals (mu, nu) of N pairs of images.

    With a_i = ReLU(<patch_i, global descriptor of the other image>), the weight of patch i is

    - ``uniform``: 1
    - ``relevancy``: a_i
    - ``inverse``: exp(-a_i / 0.1)
    - ``complement``: 1 - a_i
    - ``softmax``: exp <patch_i, global descriptor of the other image>
    - ``rollout``: as given, one weight for each patch of each image

    and each image's weights are divided by their sum.

    Args:
        kind: which marginals.
        query_patches: (P, C) or (N, P, C) unit vectors, numpy or torch.
        database_patches: (N, Q, C) unit vectors.
        query_global: (C,) or (N, C) unit vectors; not needed by uniform and rollout.
        database_global: (N, C) unit vectors; not needed by uniform and rollout.
        rollout: (query weights (P,) or (N, P), database weights (N, Q)), non-negative.

    Returns:
        mu (N, P) and nu (N, Q), non-negative, each row of sum 1. A row that would be all zeros is uniform.

    Raises:
        TransportError: the kind is unknown, the weights of rollout are missing, or the marginals are not as above.

    Example:
        >>> import numpy as np
        >>> query, database = np.eye(2, dtype="f4"), np.eye(2, dtype="f4")[None]
        >>> mu, nu = marginal_weights("complement", query, database, query[0], query[1:])
        >>> mu.tolist(), nu.tolist()
        ([[1.0, 0.0]], [[0.0, 1.0]])
    """
    check_kind(kind)
    if kind == "rollout":
        if rollout is None:
            raise TransportError("rollout marginals need the weights of both images; pass rollout=(query, database)")
        mu, nu = normalise(rollout[0]), normalise(rollout[1])
    elif kind == "uniform":
        mu, nu = query_patches[..., 0] * 0 + 1.0, database_patches[..., 0] * 0 + 1.0
        mu, nu = mu / mu.shape[-1], nu / nu.shape[-1]
    else:
        mu = normalise(raw_weights(kind, correlate(query_patches, database_global)))
        nu = normalise(raw_weights(kind, correlate(database_patches, query_global)))
    pairs = database_patches.shape[0]
    mu = mu if mu.ndim == 2 else spread(mu, pairs)
    check_marginals("query marginals", mu, (pairs, query_patches.shape[-2]))
    check_marginals("database marginals", nu, (pairs, database_patches.shape[-2]))
    return mu, nu


def check_kind(kind: str) -> None:
    """Refuse marginals of an unknown name."""
    if kind not in get_args(Marginals):
        raise TransportError(f"marginals are '{kind}'; choose one of {', '.join(get_args(Marginals))}")


def spread(weights: Array, pairs: int) -> Array:
    """Weights (N, P): those of shape (P,) repeated over N pairs without a copy, those of shape (N, P) as they are."""
    if weights.ndim == 2:
        return weights
    if isinstance(weights, np.ndarray):
        return np.broadcast_to(weights, (pairs, len(weights)))
    return weights.expand(pairs, len(weights))
