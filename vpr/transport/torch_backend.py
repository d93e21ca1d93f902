"""Entropic transport in torch: any device, any dtype, differentiable.

Works on exp((S - max S) / epsilon) while that is representable, on logarithms when the similarities span
too many epsilons. Matrix-vector products are multiply-and-sum, several times faster than bmm at this size.
"""

import torch

from vpr.transport.problem import Settings, TransportResult

SAFE_SPAN = {torch.float32: 60.0, torch.float64: 500.0}  # span of S / epsilon that exp() may take
CHECK_EVERY = 4  # iterations between two looks at the marginals
FIRST_OMEGA, LARGEST_OMEGA = 1.4, 1.95
PATIENCE = 64  # iterations without progress after which a pair is allowed less over-relaxation
CAUTION = 0.7  # by this factor
KEEP = 0.3  # over-relaxation never overshoots below this share of the plain step


class ScalingDomain:
    """Scalings u, v of the kernel exp((S - max S) / epsilon)."""

    neutral_level = 1.0

    def __init__(self, similarity, epsilon):
        top = similarity.detach().amax((1, 2), keepdim=True)
        self.kernel = torch.exp((similarity - top) / epsilon)

    def start(self, weights):
        return torch.ones_like(weights)

    def rows(self, v):
        return (self.kernel * v[:, None, :]).sum(2)

    def columns(self, u):
        return (self.kernel * u[:, :, None]).sum(1)

    def scale(self, sums, weights, mass):
        """Exact step: the scaling (N, P) of one side and the level (N, 1) of the plan; see reference.py."""
        if mass == 1.0:
            return weights / sums, 1.0
        level = water_level(sums, weights, mass)
        return torch.clamp(weights / (level * sums), max=1.0), level

    def relax(self, old, new, omega, mass):
        moved = torch.maximum(old + omega * (new - old), KEEP * new)
        return moved if mass == 1.0 else moved.clamp(max=1.0)

    def masses(self, sums, scaling, level):
        return sums * scaling * level

    def plan(self, u, v, level):
        level = level if isinstance(level, float) else level[:, :, None]
        return level * u[:, :, None] * self.kernel * v[:, None, :]


class LogDomain:
    """The same steps on log u and log v, for similarities that span too many epsilons."""

    neutral_level = 0.0

    def __init__(self, similarity, epsilon):
        top = similarity.detach().amax((1, 2), keepdim=True)
        self.kernel = (similarity - top) / epsilon

    def start(self, weights):
        return torch.zeros_like(weights)

    def rows(self, g):
        return torch.logsumexp(self.kernel + g[:, None, :], 2)

    def columns(self, f):
        return torch.logsumexp(self.kernel + f[:, :, None], 1)

    def scale(self, log_sums, weights, mass):
        # The gradient of log at a zero weight is infinite, so such a weight is put in after the log.
        log_weights = torch.where(weights > 0, weights, 1.0).log().masked_fill(weights == 0, LOWEST)
        if mass == 1.0:
            return log_weights - log_sums, 0.0
        top = log_sums.detach().amax(1, keepdim=True)
        level = water_level((log_sums - top).exp(), weights, mass).log() - top
        return torch.clamp(log_weights - log_sums - level, max=0.0), level

    def relax(self, old, new, omega, mass):
        moved = old + omega * (new - old)
        return moved if mass == 1.0 else moved.clamp(max=0.0)

    def masses(self, log_sums, scaling, level):
        return (log_sums + scaling + level).exp()

    def plan(self, f, g, level):
        level = level if isinstance(level, float) else level[:, :, None]
        return (level + f[:, :, None] + self.kernel + g[:, None, :]).exp()


LOWEST = -1e30  # logarithm of a zero weight: finite, so that differences of two stay numbers


def water_level(sums, weights, mass):
    """Level (N, 1) at which sum_i min(level * sums_i, weights_i) = mass, for mass < sum of weights.

    The set of patches that give all their weight only grows, so the loop ends; the level is then
    differentiable in both arguments with that set held fixed.
    """
    full = torch.zeros_like(weights, dtype=torch.bool)
    while True:
        remaining = mass - torch.where(full, weights, 0.0).sum(1, keepdim=True)
        level = remaining / torch.where(full, 0.0, sums).sum(1, keepdim=True)
        grown = full | (level.detach() * sums.detach() > weights)
        if bool((grown == full).all()):
            return level
        full = grown


def next_cap(cap, error, mark):
    """Largest over-relaxation (N, 1) allowed: less after every PATIENCE iterations that brought nothing.

    Over-relaxation may cycle at small epsilon; plain Sinkhorn, where the cap tends to, does not.
    """
    return torch.where((error >= mark)[:, None], 1 + CAUTION * (cap - 1), cap)


def next_omega(omega, error, previous, cap):
    """Over-relaxation (N, 1) from the contraction over the last iterations.

    A step with ``omega`` and contraction ``rate`` belongs to a plain Sinkhorn rate theta with
    ``(rate + omega - 1)^2 = rate omega^2 theta``, whose best relaxation is 2 / (1 + sqrt(1 - theta)) [1].

    References
    ----------
    .. [1] Lehmann, von Renesse, Sambale, Uschmajew, "A note on overrelaxation in the Sinkhorn
       algorithm", Optimization Letters 16, 2022.
    """
    rate = (error / previous.clamp(min=1e-30)).pow(1 / CHECK_EVERY).clamp(1e-6, 0.999)[:, None]
    theta = ((rate + omega - 1) ** 2 / (rate * omega**2)).clamp(max=0.9999)
    best = 2 / (1 + torch.sqrt(1 - theta))
    return torch.where(rate >= omega - 1, best, torch.maximum(1 + rate, omega - 0.1)).clamp(min=1.0).minimum(cap)


def unrolled(domain, mu, nu, settings):
    """Exactly ``max_iterations`` plain iterations, all of them in the autograd graph."""
    v = domain.start(nu)
    for _ in range(settings.max_iterations):
        u, _ = domain.scale(domain.rows(v), mu, settings.mass)
        v, level = domain.scale(domain.columns(u), nu, settings.mass)
    return domain.plan(u, v, level), torch.full((len(mu),), settings.max_iterations, device=mu.device)


def converged(domain, mu, nu, settings):
    """Over-relaxed iterations until every pair meets the tolerance; each pair's count is its own."""
    u, v, level = domain.start(mu), domain.start(nu), domain.neutral_level
    omega, cap = torch.ones_like(mu[:, :1]), torch.full_like(mu[:, :1], LARGEST_OMEGA)
    iterations = torch.full((len(mu),), settings.max_iterations, device=mu.device)
    previous, mark = None, torch.full_like(mu[:, 0], torch.inf)
    for iteration in range(1, settings.max_iterations + 1):
        sums = domain.rows(v)
        target, row_level = domain.scale(sums, mu, settings.mass)
        error = (domain.masses(sums, u, level) - domain.masses(sums, target, row_level)).detach().abs().sum(1)
        looking = iteration > 1 and iteration % CHECK_EVERY == 1
        if looking and iteration % PATIENCE == 1:
            cap, mark = next_cap(cap, error, mark), error
        if looking and previous is not None:
            omega = next_omega(omega, error, previous, cap)
        u = domain.relax(u, target, omega, settings.mass)
        target, level = domain.scale(domain.columns(u), nu, settings.mass)
        if looking:
            previous = error
            iterations = torch.where((error <= settings.tolerance) & (iteration < iterations), iteration, iterations)
            if bool((iterations <= iteration).all()):
                return domain.plan(u, target, level), iterations
        v = domain.relax(v, target, omega, settings.mass)
        if iteration == 1:
            omega = torch.full_like(omega, FIRST_OMEGA)
    return domain.plan(u, target, level), iterations


def constraint_error(plan, mu, nu, mass):
    """L1 distance (N,) of the plans from their constraints, as TransportResult defines it."""
    rows, columns = plan.sum(2) - mu, plan.sum(1) - nu
    if mass == 1.0:
        return rows.abs().sum(1) + columns.abs().sum(1)
    return rows.clamp(min=0).sum(1) + columns.clamp(min=0).sum(1) + (plan.sum((1, 2)) - mass).abs()


def solve(similarity, mu, nu, settings: Settings) -> TransportResult:
    """Solve (N, P, Q) problems on the device of the similarity; arguments as in ``vpr.transport.solve``."""
    kind = similarity.dtype if similarity.dtype in SAFE_SPAN else torch.float32
    similarity, mu, nu = similarity.to(kind), mu.to(kind), nu.to(kind)
    if len(similarity) == 0:
        empty = similarity.sum((1, 2))
        return TransportResult(empty, empty.long(), empty, similarity if settings.plan else None, "torch")
    span = (similarity.detach().amax((1, 2)) - similarity.detach().amin((1, 2))).max() / settings.epsilon
    domain = (ScalingDomain if float(span) <= SAFE_SPAN[kind] else LogDomain)(similarity, settings.epsilon)
    plan, iterations = (converged if settings.tolerance else unrolled)(domain, mu, nu, settings)
    return TransportResult(
        score=(similarity * plan).sum((1, 2)),
        iterations=iterations,
        marginal_error=constraint_error(plan.detach(), mu, nu, settings.mass),
        plan=plan if settings.plan else None,
        backend="torch",
    )
