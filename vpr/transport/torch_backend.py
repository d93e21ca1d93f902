"""Entropic transport in torch: any device, any dtype, differentiable.

It works on the kernel exp((S - max S) / epsilon). If the similarities span too many epsilons for that, it works in the
log domain. A matrix-vector product is a multiplication and a sum, which at this size is several times faster than bmm.

Shapes throughout: marginals ``mu`` (N, P) and ``nu`` (N, Q); scalings u (N, P) and v (N, Q); ``sums`` and
``weights`` of either side (N, P) or (N, Q). The plan is diag(u) K diag(v) times a ``level`` (N, 1), which is 1 for
balanced transport.
"""

import torch
from torch import Tensor

from vpr.transport.problem import (
    CAUTION,
    CHECK_EVERY,
    FASTEST_RATE,
    FIRST_OMEGA,
    KEEP,
    LARGEST_OMEGA,
    LARGEST_THETA,
    OMEGA_STEP,
    PATIENCE,
    SLOWEST_RATE,
    TINY,
    Solver,
    Transport,
    TransportResult,
)

# Span of S / epsilon that exp() may take. In float32 it is larger than COMPILED_SPAN, the span of the compiled
# backends, because they keep divisors above TINY and this one does not.
TORCH_SPAN = {torch.float32: 60.0, torch.float64: 500.0}
LOWEST = -1e30  # logarithm of a zero weight: finite, so that differences of two stay numbers


class ScalingDomain:
    """The steps on scalings u, v of the kernel (N, P, Q) exp((S - max S) / epsilon)."""

    neutral_level = 1.0

    def __init__(self, similarity: Tensor, epsilon: float):
        top = similarity.detach().amax((1, 2), keepdim=True)
        self.kernel = torch.exp((similarity - top) / epsilon)

    def start(self, weights: Tensor) -> Tensor:
        """The first scaling of a side, of the shape of its weights."""
        return torch.ones_like(weights)

    def rows(self, v: Tensor) -> Tensor:
        """Row sums (N, P) of the kernel under v."""
        return (self.kernel * v[:, None, :]).sum(2)

    def columns(self, u: Tensor) -> Tensor:
        """Column sums (N, Q) of the kernel under u."""
        return (self.kernel * u[:, :, None]).sum(1)

    def scale(self, sums: Tensor, weights: Tensor, mass: float) -> tuple[Tensor, Tensor | float]:
        """Exact step: the scaling of one side and the level (N, 1) of the plan; see reference.log_scaling."""
        if mass == 1.0:
            return weights / sums, 1.0
        level = water_level(sums, weights, mass)
        return torch.clamp(weights / (level * sums), max=1.0), level

    def relax(self, old: Tensor, new: Tensor, omega: Tensor, mass: float) -> Tensor:
        """Over-relaxed step from one scaling towards another, kept positive, and at most 1 for partial transport."""
        moved = torch.maximum(old + omega * (new - old), KEEP * new)
        return moved if mass == 1.0 else moved.clamp(max=1.0)

    def masses(self, sums: Tensor, scaling: Tensor, level: Tensor | float) -> Tensor:
        """Mass that each patch of one side gives."""
        return sums * scaling * level

    def plan(self, u: Tensor, v: Tensor, level: Tensor | float) -> Tensor:
        """Transport plans (N, P, Q)."""
        level = level if isinstance(level, float) else level[:, :, None]
        return level * u[:, :, None] * self.kernel * v[:, None, :]


class LogDomain:
    """The steps of `ScalingDomain` on log u and log v, for similarities that span too many epsilons."""

    neutral_level = 0.0

    def __init__(self, similarity: Tensor, epsilon: float):
        top = similarity.detach().amax((1, 2), keepdim=True)
        self.kernel = (similarity - top) / epsilon

    def start(self, weights: Tensor) -> Tensor:
        return torch.zeros_like(weights)

    def rows(self, g: Tensor) -> Tensor:
        return torch.logsumexp(self.kernel + g[:, None, :], 2)

    def columns(self, f: Tensor) -> Tensor:
        return torch.logsumexp(self.kernel + f[:, :, None], 1)

    def scale(self, log_sums: Tensor, weights: Tensor, mass: float) -> tuple[Tensor, Tensor | float]:
        # The gradient of log at a zero weight is infinite, so such a weight is put in after the log.
        log_weights = torch.where(weights > 0, weights, 1.0).log().masked_fill(weights == 0, LOWEST)
        if mass == 1.0:
            return log_weights - log_sums, 0.0
        top = log_sums.detach().amax(1, keepdim=True)
        level = water_level((log_sums - top).exp(), weights, mass).log() - top
        return torch.clamp(log_weights - log_sums - level, max=0.0), level

    def relax(self, old: Tensor, new: Tensor, omega: Tensor, mass: float) -> Tensor:
        moved = old + omega * (new - old)
        return moved if mass == 1.0 else moved.clamp(max=0.0)

    def masses(self, log_sums: Tensor, scaling: Tensor, level: Tensor | float) -> Tensor:
        return (log_sums + scaling + level).exp()

    def plan(self, f: Tensor, g: Tensor, level: Tensor | float) -> Tensor:
        level = level if isinstance(level, float) else level[:, :, None]
        return (level + f[:, :, None] + self.kernel + g[:, None, :]).exp()


Domain = ScalingDomain | LogDomain


def water_level(sums: Tensor, weights: Tensor, mass: float) -> Tensor:
    """Level (N, 1) at which sum_i min(level * sums_i, weights_i) = mass, for mass < sum of weights.

    The set of patches that give all their weight only grows, so the loop ends. For a fixed set the level is
    differentiable in both arguments.
    """
    full = torch.zeros_like(weights, dtype=torch.bool)
    while True:
        remaining = mass - torch.where(full, weights, 0.0).sum(1, keepdim=True)
        level = remaining / torch.where(full, 0.0, sums).sum(1, keepdim=True)
        grown = full | (level.detach() * sums.detach() > weights)
        if bool((grown == full).all()):
            return level
        full = grown


def next_cap(cap: Tensor, error: Tensor, mark: Tensor) -> Tensor:
    """Largest over-relaxation (N, 1) allowed: less after every PATIENCE iterations without progress.

    At small epsilon, over-relaxation may cycle for ever. Plain Sinkhorn does not, and the cap tends to 1, which is
    plain Sinkhorn.

    Args:
        cap: (N, 1) the present cap.
        error: (N,) present marginal violation.
        mark: (N,) marginal violation PATIENCE iterations ago.
    """
    return torch.where((error >= mark)[:, None], 1 + CAUTION * (cap - 1), cap)


def next_omega(omega: Tensor, error: Tensor, previous: Tensor, cap: Tensor) -> Tensor:
    """Over-relaxation (N, 1) from the contraction over the last CHECK_EVERY iterations.

    A step with ``omega`` and contraction ``rate`` belongs to a plain Sinkhorn rate theta with
    ``(rate + omega - 1)^2 = rate omega^2 theta``, whose best relaxation is 2 / (1 + sqrt(1 - theta))
    (Lehmann et al.). A rate below omega - 1 shows that omega was too large, and omega falls.

    Args:
        omega: (N, 1) over-relaxation of these iterations.
        error: (N,) present marginal violation.
        previous: (N,) marginal violation CHECK_EVERY iterations ago.
        cap: (N, 1) largest over-relaxation allowed.

    References:
        Lehmann, von Renesse, Sambale, Uschmajew, "A note on overrelaxation in the Sinkhorn
        algorithm", Optimization Letters 16, 2022.
    """
    rate = (error / previous.clamp(min=TINY)).pow(1 / CHECK_EVERY).clamp(FASTEST_RATE, SLOWEST_RATE)[:, None]
    theta = ((rate + omega - 1) ** 2 / (rate * omega**2)).clamp(max=LARGEST_THETA)
    best = 2 / (1 + torch.sqrt(1 - theta))
    less = torch.maximum(1 + rate, omega - OMEGA_STEP)
    return torch.where(rate >= omega - 1, best, less).clamp(min=1.0).minimum(cap)


def sinkhorn_fixed(
    domain: Domain, mu: Tensor, nu: Tensor, transport: Transport, solver: Solver
) -> tuple[Tensor, Tensor]:
    """Plans (N, P, Q) and counts (N,) after exactly ``max_iterations`` plain iterations, all in the autograd graph."""
    v = domain.start(nu)
    for _ in range(solver.max_iterations):
        u, _ = domain.scale(domain.rows(v), mu, transport.mass)
        v, level = domain.scale(domain.columns(u), nu, transport.mass)
    return domain.plan(u, v, level), torch.full((len(mu),), solver.max_iterations, device=mu.device)


def sinkhorn_to_tolerance(
    domain: Domain, mu: Tensor, nu: Tensor, transport: Transport, solver: Solver
) -> tuple[Tensor, Tensor]:
    """Plans (N, P, Q) and counts (N,) of over-relaxed iterations until each pair meets the tolerance."""
    u, v = domain.start(mu), domain.start(nu)
    level: Tensor | float = domain.neutral_level
    omega, cap = torch.ones_like(mu[:, :1]), torch.full_like(mu[:, :1], LARGEST_OMEGA)
    iterations = torch.full((len(mu),), solver.max_iterations, device=mu.device)
    previous, mark = None, torch.full_like(mu[:, 0], torch.inf)
    for iteration in range(1, solver.max_iterations + 1):
        sums = domain.rows(v)
        target, row_level = domain.scale(sums, mu, transport.mass)
        error = (domain.masses(sums, u, level) - domain.masses(sums, target, row_level)).detach().abs().sum(1)
        checking = iteration > 1 and iteration % CHECK_EVERY == 1
        if checking and iteration % PATIENCE == 1:
            cap, mark = next_cap(cap, error, mark), error
        if checking and previous is not None:
            omega = next_omega(omega, error, previous, cap)
        u = domain.relax(u, target, omega, transport.mass)
        target, level = domain.scale(domain.columns(u), nu, transport.mass)
        if checking:
            previous = error
            iterations = torch.where((error <= solver.tolerance) & (iteration < iterations), iteration, iterations)
            if bool((iterations <= iteration).all()):
                return domain.plan(u, target, level), iterations
        v = domain.relax(v, target, omega, transport.mass)
        if iteration == 1:
            omega = torch.full_like(omega, FIRST_OMEGA)
    return domain.plan(u, target, level), iterations


def constraint_error(plan: Tensor, mu: Tensor, nu: Tensor, mass: float) -> Tensor:
    """L1 distance (N,) of the plans from their constraints, as TransportResult defines it."""
    rows, columns = plan.sum(2) - mu, plan.sum(1) - nu
    if mass == 1.0:
        return rows.abs().sum(1) + columns.abs().sum(1)
    return rows.clamp(min=0).sum(1) + columns.clamp(min=0).sum(1) + (plan.sum((1, 2)) - mass).abs()


def solve(similarity: Tensor, mu: Tensor, nu: Tensor, transport: Transport, solver: Solver) -> TransportResult[Tensor]:
    """Solve (N, P, Q) problems on the device of the similarity; arguments as in ``vpr.transport.solve``."""
    kind = similarity.dtype if similarity.dtype in TORCH_SPAN else torch.float32
    similarity, mu, nu = similarity.to(kind), mu.to(kind), nu.to(kind)
    if len(similarity) == 0:
        empty = similarity.sum((1, 2))
        return TransportResult(empty, empty.long(), empty, similarity if solver.plan else None, "torch")
    span = (similarity.detach().amax((1, 2)) - similarity.detach().amin((1, 2))).max() / transport.epsilon
    domain = (ScalingDomain if float(span) <= TORCH_SPAN[kind] else LogDomain)(similarity, transport.epsilon)
    iterate = sinkhorn_to_tolerance if solver.tolerance else sinkhorn_fixed
    plan, iterations = iterate(domain, mu, nu, transport, solver)
    return TransportResult(
        score=(similarity * plan).sum((1, 2)),
        iterations=iterations,
        marginal_error=constraint_error(plan.detach(), mu, nu, transport.mass),
        plan=plan if solver.plan else None,
        backend="torch",
    )
