"""The solvers of POT, one pair at a time: slow, by other authors, and so an oracle for ours."""

import numpy as np
import ot

from vpr.transport.problem import Solver, Transport, TransportResult
from vpr.transport.reference import constraint_error


def solve_pair(
    similarity: np.ndarray, mu: np.ndarray, nu: np.ndarray, transport: Transport, solver: Solver
) -> tuple[np.ndarray, int]:
    """Plan (P, Q) of one pair, and its iterations. POT divides by weights, so patches of weight zero are left out."""
    rows, columns = np.flatnonzero(mu > 0), np.flatnonzero(nu > 0)
    cost = 1 - similarity[np.ix_(rows, columns)]
    a, b = mu[rows] / mu.sum(), nu[columns] / nu.sum()
    options = {"stopThr": solver.tolerance / 10, "numItermax": solver.max_iterations, "log": True}
    if transport.mass == 1.0:
        inner, log = ot.sinkhorn(a, b, cost, transport.epsilon, method="sinkhorn_log", warn=False, **options)
    else:
        solve_partial = ot.partial.entropic_partial_wasserstein_logscale
        inner, log = solve_partial(a, b, cost, transport.epsilon, m=transport.mass, **options)
    plan = np.zeros_like(similarity)
    plan[np.ix_(rows, columns)] = inner
    return plan, max(1, log.get("niter", len(log["err"])))


def solve_by_pot(
    similarity: np.ndarray, mu: np.ndarray, nu: np.ndarray, transport: Transport, solver: Solver | None = None
) -> TransportResult[np.ndarray]:
    """Solve (N, P, Q) problems in float64, with plans; marginals (N, P) and (N, Q) of sum 1."""
    solver = solver or Solver()
    solved = [solve_pair(*pair, transport, solver) for pair in zip(similarity, mu, nu)]
    plan = np.stack([plan for plan, _ in solved])
    errors = [constraint_error(*triple, transport.mass) for triple in zip(plan, mu, nu)]
    iterations = [iterations for _, iterations in solved]
    return TransportResult((similarity * plan).sum((1, 2)), np.array(iterations), np.array(errors), plan, "pot")
