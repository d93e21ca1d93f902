"""POT's own solvers, one pair at a time: slow, written by others, and what the tests compare with."""

import numpy as np

from vpr.transport.problem import Settings, TransportResult
from vpr.transport.reference import constraint_error


def solve_pair(similarity: np.ndarray, mu: np.ndarray, nu: np.ndarray, settings: Settings) -> tuple[np.ndarray, int]:
    """Plan (P, Q) of one pair by POT, and its iterations. Patches of zero weight are left out: POT divides by them."""
    import ot

    rows, columns = np.flatnonzero(mu > 0), np.flatnonzero(nu > 0)
    cost = 1 - similarity[np.ix_(rows, columns)]
    a, b = mu[rows] / mu.sum(), nu[columns] / nu.sum()
    options = {"stopThr": settings.tolerance / 10, "numItermax": settings.max_iterations, "log": True}
    if settings.mass == 1.0:
        inner, log = ot.sinkhorn(a, b, cost, settings.epsilon, method="sinkhorn_log", warn=False, **options)
    else:
        inner, log = ot.partial.entropic_partial_wasserstein_logscale(
            a, b, cost, settings.epsilon, m=settings.mass, **options
        )
    plan = np.zeros_like(similarity)
    plan[np.ix_(rows, columns)] = inner
    return plan, max(1, log.get("niter", len(log["err"])))


def solve(similarity: np.ndarray, mu: np.ndarray, nu: np.ndarray, settings: Settings) -> TransportResult:
    """Solve (N, P, Q) problems in float64; arguments as in ``vpr.transport.solve``."""
    similarity, mu, nu = (np.asarray(array, dtype=np.float64) for array in (similarity, mu, nu))
    solved = [solve_pair(*pair, settings) for pair in zip(similarity, mu, nu)]
    plan = np.stack([plan for plan, _ in solved]) if solved else np.zeros_like(similarity)
    errors = [constraint_error(*triple, settings.mass) for triple in zip(plan, mu, nu)]
    return TransportResult(
        score=(similarity * plan).sum((1, 2)),
        iterations=np.array([iterations for _, iterations in solved], dtype=np.int64),
        marginal_error=np.array(errors, dtype=np.float64),
        plan=plan if settings.plan else None,
        backend="pot",
    )
