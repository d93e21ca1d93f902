"""The fused CUDA kernel: one program takes one pair from patch descriptors to its score.

It reads the descriptors once and multiplies them in their own precision, with sums in float32. The kernel
K = exp((S - max S) / epsilon) stays in registers through all iterations. S itself is not stored, because it is
max S + epsilon log K. The mathematics is that of ``torch_backend``.

P, Q and C are the patches and channels of a pair; BP, BQ and BC are the sizes of blocks that hold them.
"""

import triton
import triton.language as tl

from vpr.transport import marginals, problem

# Triton reads global names only when they are constexpr.
CAUTION = tl.constexpr(problem.CAUTION)
CHECK_EVERY = tl.constexpr(problem.CHECK_EVERY)
COMPILED_SPAN = tl.constexpr(problem.COMPILED_SPAN)
FASTEST_RATE = tl.constexpr(problem.FASTEST_RATE)
FIRST_OMEGA = tl.constexpr(problem.FIRST_OMEGA)
KEEP = tl.constexpr(problem.KEEP)
LARGEST_OMEGA = tl.constexpr(problem.LARGEST_OMEGA)
LARGEST_THETA = tl.constexpr(problem.LARGEST_THETA)
LEVEL_STEP = tl.constexpr(problem.LEVEL_STEP)
OMEGA_STEP = tl.constexpr(problem.OMEGA_STEP)
PATIENCE = tl.constexpr(problem.PATIENCE)
SLOWEST_RATE = tl.constexpr(problem.SLOWEST_RATE)
TINY = tl.constexpr(problem.TINY)
TOO_WIDE = tl.constexpr(problem.TOO_WIDE)
GIVEN = tl.constexpr(marginals.GIVEN)
UNIFORM = tl.constexpr(marginals.UNIFORM)
RELEVANCY = tl.constexpr(marginals.RELEVANCY)
INVERSE = tl.constexpr(marginals.INVERSE)
COMPLEMENT = tl.constexpr(marginals.COMPLEMENT)
SOFTMAX = tl.constexpr(marginals.SOFTMAX)
INVERSE_RATE = tl.constexpr(marginals.INVERSE_RATE)


@triton.jit
def raw_weights(cosine, valid, KIND: tl.constexpr):
    """Weights before they are normalised; see marginals.raw_weights. KIND is one of marginals.CODES."""
    relevancy = tl.maximum(cosine, 0.0)
    weight = relevancy * 0.0 + 1.0
    if KIND == RELEVANCY:
        weight = relevancy
    elif KIND == INVERSE:
        weight = tl.exp(relevancy * INVERSE_RATE)
    elif KIND == COMPLEMENT:
        weight = tl.maximum(1.0 - relevancy, 0.0)
    elif KIND == SOFTMAX:
        weight = tl.exp(cosine - 1.0)
    return tl.where(valid, weight, 0.0)


@triton.jit
def normalise(weight, valid, count):
    """Weights divided by their sum; uniform if the sum is zero."""
    total = tl.sum(weight, 0)
    uniform = tl.where(valid, 1.0, 0.0) / count
    return tl.where(total > 0.0, weight / tl.maximum(total, TINY), uniform)


@triton.jit
def next_omega(omega, error, previous, cap):
    """Over-relaxation from the contraction of the last CHECK_EVERY iterations; see torch_backend.next_omega."""
    rate = tl.sqrt(tl.sqrt(error / tl.maximum(previous, TINY)))  # the root for CHECK_EVERY = 4
    rate = tl.minimum(tl.maximum(rate, FASTEST_RATE), SLOWEST_RATE)
    theta = (rate + omega - 1.0) * (rate + omega - 1.0) / (rate * omega * omega)
    best = 2.0 / (1.0 + tl.sqrt(1.0 - tl.minimum(theta, LARGEST_THETA)))
    best = tl.where(rate >= omega - 1.0, best, tl.maximum(1.0 + rate, omega - OMEGA_STEP))
    return tl.minimum(tl.maximum(best, 1.0), cap)


@triton.jit
def next_cap(cap, error, mark):
    """Largest over-relaxation allowed; see torch_backend.next_cap."""
    return tl.where(error >= mark, 1.0 + (cap - 1.0) * CAUTION, cap)


@triton.jit
def water_level(sums, weights, mass):
    """Level at which sum_i min(level * sums_i, weights_i) = mass; see torch_backend.water_level."""
    level = mass * 0.0
    rising = mass > 0.0
    while rising:
        full = level * sums >= weights
        given = tl.sum(tl.where(full, weights, 0.0), 0)
        free = tl.sum(tl.where(full, 0.0, sums), 0)
        higher = (mass - given) / tl.maximum(free, TINY)
        rising = higher > level * (1.0 + LEVEL_STEP)
        level = tl.where(rising, higher, level)
    return level


@triton.jit
def step(sums, weights, mass, PARTIAL: tl.constexpr):
    """Exact step of one side: its scaling and the level of the plan."""
    level = mass * 0.0 + 1.0
    if PARTIAL:
        level = water_level(sums, weights, mass)
        return tl.minimum(weights / tl.maximum(level * sums, TINY), 1.0), level
    else:
        return weights / tl.maximum(sums, TINY), level


@triton.jit
def relax(old, new, omega, PARTIAL: tl.constexpr):
    """Over-relaxed step from ``old`` towards ``new``, kept positive, and at most 1 for partial transport."""
    moved = tl.maximum(old + omega * (new - old), new * KEEP)
    if PARTIAL:
        moved = tl.minimum(moved, 1.0)
    return moved


@triton.jit
def side_error(sums, weights, PARTIAL: tl.constexpr):
    """L1 violation of one side's constraints by its sums of the plan."""
    over = sums - weights
    if PARTIAL:
        return tl.sum(tl.maximum(over, 0.0), 0)
    else:
        return tl.sum(tl.abs(over), 0)


@triton.jit
def products(
    query, database, query_global, database_global, rows, columns, P, Q, C,
    KIND: tl.constexpr, BP: tl.constexpr, BQ: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Similarities (BP, BQ) of a pair, and the cosines of its patches with the other image's global descriptor."""
    similarity = tl.zeros((BP, BQ), tl.float32)
    query_cosine, database_cosine = tl.zeros((BP,), tl.float32), tl.zeros((BQ,), tl.float32)
    for start in range(0, C, BC):
        channel = start + tl.arange(0, BC)
        inside = channel < C
        a = tl.load(query + rows[:, None] * C + channel[None, :], (rows < P)[:, None] & inside[None, :], other=0.0)
        b = tl.load(
            database + columns[:, None] * C + channel[None, :], (columns < Q)[:, None] & inside[None, :], other=0.0
        )
        similarity = tl.dot(a, tl.trans(b), similarity, input_precision="ieee")
        if KIND != GIVEN and KIND != UNIFORM:
            g = tl.load(query_global + channel, inside, other=0.0).to(tl.float32)
            h = tl.load(database_global + channel, inside, other=0.0).to(tl.float32)
            query_cosine += tl.sum(a.to(tl.float32) * h[None, :], 1)
            database_cosine += tl.sum(b.to(tl.float32) * g[None, :], 1)
    return similarity, query_cosine, database_cosine


@triton.jit
def iterate(kernel, mu, nu, mass, tolerance, max_iterations, PARTIAL: tl.constexpr):
    """The Sinkhorn iteration: scalings u and v, the level, and the number of iterations of a pair in registers."""
    u, v = mu * 0.0 + 1.0, nu * 0.0 + 1.0
    level, omega, previous = mass * 0.0 + 1.0, mass * 0.0 + 1.0, mass * 0.0 - 1.0
    cap, mark = mass * 0.0 + LARGEST_OMEGA, mass * 0.0 + float("inf")
    iteration, running = max_iterations * 0, max_iterations > 0
    while running:
        iteration += 1
        sums = tl.sum(kernel * v[None, :], 1)
        target, row_level = step(sums, mu, mass, PARTIAL)
        error = tl.sum(tl.abs(level * u * sums - row_level * target * sums), 0)
        checking = (tolerance > 0.0) & (iteration > 1) & (iteration % CHECK_EVERY == 1)
        marking = checking & (iteration % PATIENCE == 1)
        cap, mark = tl.where(marking, next_cap(cap, error, mark), cap), tl.where(marking, error, mark)
        omega = tl.where(checking & (previous >= 0.0), next_omega(omega, error, previous, cap), omega)
        previous = tl.where(checking, error, previous)
        running = (iteration < max_iterations) & ~(checking & (error <= tolerance))
        u = relax(u, target, omega, PARTIAL)
        target, level = step(tl.sum(kernel * u[:, None], 0), nu, mass, PARTIAL)
        v = relax(v, target, tl.where(running, omega, 1.0), PARTIAL)
        omega = tl.where((iteration == 1) & (tolerance > 0.0), FIRST_OMEGA, omega)
    return u, v, level, iteration


@triton.jit(do_not_specialize=["max_iterations"])
def pair_kernel(
    query, database, query_global, database_global, query_index, database_index,
    given_similarity, given_mu, given_nu, score, iterations, marginal_error, plan,
    P, Q, C, epsilon, mass, tolerance, max_iterations,
    KIND: tl.constexpr, FROM_PATCHES: tl.constexpr, PARTIAL: tl.constexpr, PLAN: tl.constexpr,
    BP: tl.constexpr, BQ: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One program for each pair. KIND GIVEN reads the marginals from ``given_mu`` (N, P) and ``given_nu`` (N, Q)."""
    n = tl.program_id(0).to(tl.int64)
    rows, columns = tl.arange(0, BP), tl.arange(0, BQ)
    valid = (rows < P)[:, None] & (columns < Q)[None, :]
    place = n * P * Q + rows[:, None] * Q + columns[None, :]
    query_cosine, database_cosine = rows.to(tl.float32) * 0.0, columns.to(tl.float32) * 0.0
    if FROM_PATCHES:
        i, j = tl.load(query_index + n).to(tl.int64), tl.load(database_index + n).to(tl.int64)
        similarity, query_cosine, database_cosine = products(
            query + i * P * C, database + j * Q * C, query_global + i * C, database_global + j * C,
            rows, columns, P, Q, C, KIND, BP, BQ, BC,
        )  # fmt: skip
    else:
        similarity = tl.load(given_similarity + place, valid, other=0.0)
    if KIND == GIVEN:
        mu = tl.load(given_mu + n * P + rows, rows < P, other=0.0)
        nu = tl.load(given_nu + n * Q + columns, columns < Q, other=0.0)
    else:
        mu = normalise(raw_weights(query_cosine, rows < P, KIND), rows < P, P)
        nu = normalise(raw_weights(database_cosine, columns < Q, KIND), columns < Q, Q)
    top = tl.max(tl.max(tl.where(valid, similarity, -float("inf")), 1), 0)
    low = tl.min(tl.min(tl.where(valid, similarity, float("inf")), 1), 0)
    if top - low > epsilon * COMPILED_SPAN:
        tl.store(iterations + n, TOO_WIDE)
    else:
        kernel = tl.where(valid, tl.exp((similarity - top) / epsilon), 0.0)
        u, v, level, count = iterate(kernel, mu, nu, mass, tolerance, max_iterations, PARTIAL)
        moved = level * u[:, None] * kernel * v[None, :]
        gain = tl.where(valid, moved * (top + epsilon * tl.log(tl.where(valid, kernel, 1.0))), 0.0)
        row_mass, column_mass = tl.sum(moved, 1), tl.sum(moved, 0)
        error = side_error(row_mass, mu, PARTIAL) + side_error(column_mass, nu, PARTIAL)
        if PARTIAL:
            error += tl.abs(tl.sum(row_mass, 0) - mass)
        tl.store(score + n, tl.sum(tl.sum(gain, 1), 0))
        tl.store(iterations + n, count)
        tl.store(marginal_error + n, error)
        if PLAN:
            tl.store(plan + place, moved, valid)
