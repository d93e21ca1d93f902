"""The reference implementation: entropic transport in float64, in the log domain, one pair at a time.

It is written to be read. The other backends compute the same numbers faster; tests compare them with these.
"""

import numpy as np

from vpr.transport.problem import Solver, Transport, TransportResult

SLOWNESS = 0.01  # share of the tolerance: plain Sinkhorn that moves by less may still be a whole tolerance away


def log_sum_exp(values: np.ndarray, axis: int) -> np.ndarray:
    """Logarithm of the sum of exp(values) along an axis; -inf if all entries are -inf."""
    top = values.max(axis)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        result: np.ndarray = top + np.log(np.exp(values - np.expand_dims(top, axis)).sum(axis))
    return result


def log_scaling(log_sums: np.ndarray, weights: np.ndarray, mass: float) -> tuple[np.ndarray, float]:
    """The exact dual step of one side: its log scaling (P,), and the log level that gives the plan its mass.

    Balanced (mass 1): ``log(weights) - log_sums``, level 0. Partial: a patch gives at most its weight, and the
    others share one level. The step is ``min(0, log(weights) - log_sums - level)`` with the level at which
    ``sum min(exp(level) sums, weights) = mass``.

    Args:
        log_sums: (P,) logarithms of the kernel's row sums under the other side's scaling.
        weights: (P,) marginals of this side.
        mass: transported mass, in (0, 1].
    """
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    if mass == 1.0:
        return log_weights - log_sums, 0.0
    breakpoints = log_weights - log_sums  # the level at which each patch reaches its weight
    order = np.argsort(breakpoints)
    given = np.concatenate([[0.0], np.cumsum(weights[order])])  # the mass of the k patches that reached their weight
    for k in range(len(order)):
        remaining = mass - given[k]
        if remaining <= 0:
            break
        level = np.log(remaining) - log_sum_exp(log_sums[order[k:]], 0)
        if level <= breakpoints[order[k]]:
            break
    return np.minimum(0.0, breakpoints - level), float(level)


def solve_pair(
    similarity: np.ndarray, mu: np.ndarray, nu: np.ndarray, transport: Transport, solver: Solver
) -> tuple[np.ndarray, int]:
    """Transport plan (P, Q) of one pair by the Sinkhorn iteration, and the number of iterations."""
    log_kernel = (similarity - 1.0) / transport.epsilon
    g = np.zeros(len(nu))
    plan = np.zeros_like(similarity)
    for iteration in range(1, solver.max_iterations + 1):  # noqa: B007  returned below
        f, _ = log_scaling(log_sum_exp(log_kernel + g[None, :], 1), mu, transport.mass)
        g, level = log_scaling(log_sum_exp(log_kernel + f[:, None], 0), nu, transport.mass)
        before, plan = plan, np.exp(level + f[:, None] + log_kernel + g[None, :])
        if solver.tolerance and np.abs(plan - before).sum() <= SLOWNESS * solver.tolerance:
            break
    return plan, iteration


def constraint_error(plan: np.ndarray, mu: np.ndarray, nu: np.ndarray, mass: float) -> float:
    """L1 distance of a plan from its constraints, as TransportResult defines it."""
    rows, columns = plan.sum(1) - mu, plan.sum(0) - nu
    if mass == 1.0:
        return float(np.abs(rows).sum() + np.abs(columns).sum())
    excess = np.maximum(rows, 0).sum() + np.maximum(columns, 0).sum()
    return float(excess + abs(plan.sum() - mass))


def solve(
    similarity: np.ndarray, mu: np.ndarray, nu: np.ndarray, transport: Transport, solver: Solver
) -> TransportResult[np.ndarray]:
    """Solve (N, P, Q) problems by plain Sinkhorn in float64; arguments as in ``vpr.transport.solve``.

    Balanced: min_T <1 - S, T> - epsilon H(T) over T 1 = mu, T^T 1 = nu. Partial: T 1 <= mu,
    T^T 1 <= nu, sum T = mass (Benamou et al.). Stops when the plan moves by at most a hundredth of
    ``tolerance`` in L1.

    References:
        Benamou, Carlier, Cuturi, Nenna, Peyre, "Iterative Bregman projections for regularized
        transportation problems", SIAM J. Sci. Comput. 37(2), 2015.
    """
    similarity, mu, nu = (np.asarray(array, dtype=np.float64) for array in (similarity, mu, nu))
    solved = [solve_pair(*pair, transport, solver) for pair in zip(similarity, mu, nu)]
    plan = np.stack([plan for plan, _ in solved]) if solved else np.zeros_like(similarity)
    errors = [constraint_error(*triple, transport.mass) for triple in zip(plan, mu, nu)]
    return TransportResult(
        score=(similarity * plan).sum((1, 2)),
        iterations=np.array([iteration for _, iteration in solved], dtype=np.int64),
        marginal_error=np.array(errors, dtype=np.float64),
        plan=plan if solver.plan else None,
        backend="reference",
    )
