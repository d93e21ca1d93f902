"""Marginals: how much each patch of the two images counts."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from vpr.transport.arrays import Array, detach, exp, multiply_vectors, remove_negative, repeat_rows
from vpr.transport.errors import TransportError

FromGlobals: TypeAlias = Literal["uniform", "relevancy", "inverse", "complement", "softmax"]  # by global descriptors
FromWeights: TypeAlias = Literal["rollout", "learnt"]  # they need a weight for each patch
Calibrated: TypeAlias = Literal[FromGlobals, "learnt"]  # those that a calibration may choose
Marginals: TypeAlias = Literal[FromGlobals, FromWeights]
NAMES, FROM_WEIGHTS = get_args(Marginals), get_args(FromWeights)

INVERSE_TEMPERATURE = 0.1  # of the kind "inverse"
SUM_TOLERANCE = 1e-3  # how far from 1 the sum of marginals may be, half precision included

# The codes of the marginals in the kernels.
GIVEN = -1  # the marginals are passed to the kernel
UNIFORM, RELEVANCY, INVERSE, COMPLEMENT, SOFTMAX = range(5)  # the kernel computes them
LEARNT = 5  # likewise, from weights that are passed to it
CODES: dict[Marginals, int] = {
    "uniform": UNIFORM,
    "relevancy": RELEVANCY,
    "inverse": INVERSE,
    "complement": COMPLEMENT,
    "softmax": SOFTMAX,
    "learnt": LEARNT,
}
INVERSE_RATE = -1 / INVERSE_TEMPERATURE  # the exponent of "inverse", for each unit of relevancy


def kernel_code(kind: Marginals, weights_given: bool) -> int:
    """The code of the marginals in a kernel. Weights that are given are the marginals, unless the kind is learnt."""
    return GIVEN if weights_given and kind != "learnt" else CODES[kind]


def raw_weights(kind: Marginals, cosines: Array) -> Array:
    """Weights before they are normalised, from each patch's cosine with the other image's global descriptor."""
    relevancy = remove_negative(cosines)
    if kind == "uniform":
        return relevancy * 0 + 1
    if kind == "relevancy":
        return relevancy
    if kind in ("complement", "learnt"):
        return remove_negative(1 - relevancy)
    return exp(cosines if kind == "softmax" else -relevancy / INVERSE_TEMPERATURE)


def normalise(weights: Array) -> Array:
    """Rows divided by their sums. A row of zeros becomes uniform, which is the limit of equal weights."""
    total = weights.sum(-1)[..., None]
    empty = total <= 0
    result: Array = (weights + empty) / (total + empty * weights.shape[-1])
    return result


def marginal_weights(
    kind: Marginals,
    query_patches: Array,
    database_patches: Array,
    query_global: Array | None,
    database_global: Array | None,
    weights: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Marginals (mu, nu) of N pairs of images.

    With a_i = ReLU(<patch_i, global descriptor of the other image>), the weight of patch i is

    - ``uniform``: 1
    - ``relevancy``: a_i
    - ``inverse``: exp(-a_i / 0.1)
    - ``complement``: 1 - a_i
    - ``softmax``: exp <patch_i, global descriptor of the other image>
    - ``rollout``: w_i, as given
    - ``learnt``: w_i (1 - a_i), with w_i as given

    and each image's weights are divided by their sum.

    Args:
        kind: which marginals.
        query_patches: (P, C) or (N, P, C) unit vectors, numpy or torch.
        database_patches: (N, Q, C) unit vectors.
        query_global: (C,) or (N, C) unit vectors; uniform and rollout do not need them.
        database_global: (N, C) unit vectors; uniform and rollout do not need them.
        weights: w of the queries (P,) or (N, P), and of the database images (N, Q), non-negative; for rollout and
            learnt.

    Returns:
        mu (N, P) and nu (N, Q), non-negative, each row of sum 1. A row of zeros becomes uniform.

    Raises:
        TransportError: the kind is unknown, weights or global descriptors that it needs are missing, or the result is
            not as above.

    Example:
        >>> import numpy as np
        >>> query, database = np.eye(2, dtype="f4"), np.eye(2, dtype="f4")[None]
        >>> mu, nu = marginal_weights("complement", query, database, query[0], query[1:])
        >>> mu.tolist(), nu.tolist()
        ([[1.0, 0.0]], [[0.0, 1.0]])
    """
    check_name(kind)
    if kind in FROM_WEIGHTS and weights is None:
        raise TransportError(f"{kind} marginals need the weights of both images; pass weights=(query, database)")
    if kind == "rollout" and weights is not None:
        mu, nu = normalise(weights[0]), normalise(weights[1])
    elif kind == "uniform":
        ones = query_patches[..., 0] * 0 + 1.0, database_patches[..., 0] * 0 + 1.0
        mu, nu = ones[0] / ones[0].shape[-1], ones[1] / ones[1].shape[-1]
    else:
        if query_global is None or database_global is None:
            raise TransportError(f"marginals '{kind}' need query_global and database_global")
        raw_mu = raw_weights(kind, multiply_vectors(query_patches, database_global))
        raw_nu = raw_weights(kind, multiply_vectors(database_patches, query_global))
        if kind == "learnt" and weights is not None:
            raw_mu, raw_nu = raw_mu * weights[0], raw_nu * weights[1]
        mu, nu = normalise(raw_mu), normalise(raw_nu)
    pairs = database_patches.shape[0]
    mu = repeat_rows(mu, pairs)
    check_marginals("query marginals", mu, (pairs, query_patches.shape[-2]))
    check_marginals("database marginals", nu, (pairs, database_patches.shape[-2]))
    return mu, nu


def check_name(kind: str) -> None:
    """Refuse marginals of an unknown name."""
    if kind not in NAMES:
        raise TransportError(f"marginals are '{kind}'; choose one of {', '.join(NAMES)}")


def check_marginals(name: str, weights: Array, shape: tuple[int, ...]) -> None:
    """Refuse weights that are not probability vectors (N, P) of the expected shape."""
    if tuple(weights.shape) != tuple(shape):
        raise TransportError(f"{name} have shape {tuple(weights.shape)}; expected {tuple(shape)}")
    if weights.shape[0] == 0:
        return
    if not bool((weights >= 0).all()):
        raise TransportError(f"{name} hold negative or NaN weights")
    total = detach(weights).sum(-1)
    worst = max(float(total.max()) - 1, 1 - float(total.min()))
    if not worst <= SUM_TOLERANCE:
        raise TransportError(f"{name} sum to 1 only within {worst:.3g}; divide each row by its sum")
