"""Upper bound of the structural similarity, from the maxima of rows and columns."""

import numpy as np

from vpr.transport.problem import Array


def upper_bound(similarity: Array, query_marginals: Array, database_marginals: Array, mass: float = 1.0) -> Array:
    r"""Bound (N,) that the score of no transport plan exceeds.

    .. math::
        \sum_{ij} S_{ij} T_{ij} \le \min\Big(\sum_i \mu_i \max_j S_{ij}, \; \sum_j \nu_j \max_i S_{ij}\Big)

    for balanced transport. For mass m < 1 each sum is the best that mass m can do within the weights:
    it takes the largest maxima first, each at most up to its weight, until m is used up. Derived in
    docs/reference/transport.md.

    Args:
        similarity: (N, P, Q), numpy or torch.
        query_marginals: (N, P) or (P,).
        database_marginals: (N, Q) or (Q,).
        mass: transported mass, in (0, 1].

    Example:
        >>> upper_bound(np.array([[[0.9, 0.1], [0.8, 0.2]]]), np.full(2, 0.5), np.full(2, 0.5)).round(4).tolist()
        [0.55]
    """
    rows, columns = amax(similarity, 2), amax(similarity, 1)
    by_row = most_within(rows, query_marginals + rows * 0, mass)
    by_column = most_within(columns, database_marginals + columns * 0, mass)
    return np.minimum(by_row, by_column) if isinstance(by_row, np.ndarray) else by_row.minimum(by_column)


def amax(array: Array, axis: int) -> Array:
    """Maximum along an axis, numpy or torch."""
    return array.max(axis) if isinstance(array, np.ndarray) else array.amax(axis)


def most_within(values: Array, weights: Array, mass: float) -> Array:
    """Largest sum_i t_i values_i (N,) over 0 <= t <= weights with sum t = mass; ``values`` and ``weights`` (N, P)."""
    if mass == 1.0:
        return (weights * values).sum(-1)
    if isinstance(values, np.ndarray):
        order = np.argsort(-values, axis=-1)
        values, weights = np.take_along_axis(values, order, -1), np.take_along_axis(weights, order, -1)
    else:
        order = values.argsort(-1, descending=True)
        values, weights = values.gather(-1, order), weights.gather(-1, order)
    before = weights.cumsum(-1) - weights
    return (clip_between(mass - before, weights) * values).sum(-1)


def clip_between(remaining: Array, weights: Array) -> Array:
    """Elementwise min(max(remaining, 0), weights), numpy or torch."""
    remaining = remaining.clip(0, None)
    return np.minimum(remaining, weights) if isinstance(remaining, np.ndarray) else remaining.minimum(weights)
