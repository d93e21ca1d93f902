"""Upper bound of the structural similarity, from the maxima of rows and columns."""

from vpr.transport.arrays import Array, maximum_along, minimum, remove_negative, sort_descending


def upper_bound(similarity: Array, query_marginals: Array, database_marginals: Array, mass: float = 1.0) -> Array:
    r"""Bound (N,) that the score of no transport plan exceeds.

    .. math::
        \sum_{ij} S_{ij} T_{ij} \le \min\Big(\sum_i \mu_i \max_j S_{ij}, \; \sum_j \nu_j \max_i S_{ij}\Big)

    for balanced transport. For mass m < 1 each sum is the most that mass m can gain within the weights:
    it takes the largest maxima first, each at most up to its weight, until m is used up. Derived in
    docs/reference/transport.md.

    Args:
        similarity: (N, P, Q), numpy or torch.
        query_marginals: (N, P) or (P,).
        database_marginals: (N, Q) or (Q,).
        mass: transported mass, in (0, 1].

    Example:
        >>> import numpy as np
        >>> upper_bound(np.array([[[0.9, 0.1], [0.8, 0.2]]]), np.full(2, 0.5), np.full(2, 0.5)).round(4).tolist()
        [0.55]
    """
    rows, columns = maximum_along(similarity, 2), maximum_along(similarity, 1)
    by_row = largest_gain(rows, query_marginals + rows * 0, mass)
    by_column = largest_gain(columns, database_marginals + columns * 0, mass)
    return minimum(by_row, by_column)


def largest_gain(values: Array, weights: Array, mass: float) -> Array:
    """Largest sum_i t_i values_i (N,) over 0 <= t <= weights with sum t = mass; ``values`` and ``weights`` (N, P)."""
    moved = weights
    if mass < 1.0:
        values, weights = sort_descending(values, weights)
        before = weights.cumsum(-1) - weights
        moved = minimum(remove_negative(mass - before), weights)
    gain: Array = (moved * values).sum(-1)
    return gain
