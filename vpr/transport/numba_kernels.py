"""Entropic transport of one pair in L1 cache, compiled by numba.

The kernel K of a pair is padded with zeros to rows of whole vectors of 16 numbers, and to whole blocks of rows: as many
of MANY as there are, the rest of FEW. It is a flat array, block after block, in a block the first vector of every row, then
the second. Scalings and marginals are padded likewise.
"""

import numpy as np
from llvmlite.binding import get_host_cpu_features
from numba import njit

from vpr.transport.numba_blocks import add_rows, row_sums
from vpr.transport.numba_convert import padded, take_zeros
from vpr.transport.numba_math import OPTIONS
from vpr.transport.numba_simd import (
    LANES,
    highest,
    larger,
    load,
    load_four,
    lowest,
    scale_by_two,
    smaller,
    splat,
    store,
    store_four,
    total,
    where_positive,
)

MANY = 16 if get_host_cpu_features().get("avx512f") else 4  # rows whose sums fit into the registers
FEW = 4  # the rows of a kernel are a multiple of it
SAFE_SPAN = np.float32(40)  # exp(-span) and the scalings that undo it stay inside float32
TOO_WIDE = -1  # iterations of a pair beyond that
TINY = np.float32(1e-30)
LOG2E = np.float32(1.4426950408889634)
ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer
SMALLEST = np.float32(-125.0)  # powers of two below it leave the normal float32 numbers
POWER = tuple(map(np.float32, (0.6931470036506653, 0.24022242426872253, 0.05550733581185341, 0.009671512991189957,
                               0.0013264731969684362)))  # 2^f = 1 + sum_k POWER[k] f^(k+1), fitted for |f| <= 1/2  # fmt: skip
CHECK_EVERY = 4
FIRST_OMEGA, LARGEST_OMEGA = np.float32(1.4), np.float32(1.95)
PATIENCE = 64  # iterations without progress after which a pair is allowed less over-relaxation
CAUTION = np.float32(0.7)  # by this factor
KEEP = np.float32(0.3)  # over-relaxation never overshoots below this share of the plain step

sums_of_many, sums_of_few = row_sums(MANY, MANY), row_sums(FEW, FEW)
add_many, add_few = add_rows(MANY, MANY), add_rows(FEW, FEW)


@njit(**OPTIONS)
def power(x):
    """2^x of 16 float32 x <= 0, relative error at most 2e-7; below -125 it stays at 2^-125."""
    x = larger(x, splat(SMALLEST))
    rounded = x + splat(ROUND)
    f = x - (rounded - splat(ROUND))
    p = splat(POWER[4]) * f + splat(POWER[3])
    p = p * f + splat(POWER[2])
    p = p * f + splat(POWER[1])
    p = p * f + splat(POWER[0])
    return scale_by_two(p * f + splat(np.float32(1)), rounded)


@njit(**OPTIONS)
def span(similarity, start, rows, width, real):
    """Smallest and largest entry of a pair, padding aside: ``real`` is 1 in the lanes of a row that count."""
    first = splat(similarity[start])
    low, high = first, first
    for c in range(0, width, LANES):
        mask, least, most = load(real, c), first, first
        for place in range(start + c, start + c + rows * width, width):
            entry = where_positive(mask, load(similarity, place), first)
            least, most = smaller(entry, least), larger(entry, most)
        low, high = smaller(least, low), larger(most, high)
    return lowest(low), highest(high)


@njit(**OPTIONS)
def row_place(i, rows, width):
    """Where row i of a kernel of so many rows begins, and how far apart its vectors are."""
    first, height = i // MANY * MANY, MANY
    if first + MANY > rows:
        first, height = i // FEW * FEW, FEW
    return first * width + (i - first) * LANES, height * LANES


@njit(**OPTIONS)
def gibbs(similarity, start, rows, width, real, top, epsilon, kernel):
    """K = exp((similarity - top) / epsilon) of ``rows`` rows, zero where ``real`` is."""
    scale = splat(LOG2E / epsilon)
    shift = splat(np.float32(-top) * (LOG2E / epsilon))
    for i in range(rows):
        place, apart = row_place(i, padded(rows, FEW), width)
        for c in range(0, width, LANES):
            entry = power(load(similarity, start + i * width + c) * scale + shift)
            store(kernel, place + c // LANES * apart, entry * load(real, c))


@njit(**OPTIONS)
def relaxed(old, new, omega):
    """Over-relaxed step from ``old`` towards ``new``, kept positive."""
    return larger(old + omega * (new - old), splat(KEEP) * new)


@njit(**OPTIONS)
def distance(a, b):
    """abs(a - b)"""
    return larger(a - b, b - a)


@njit(**OPTIONS)
def multiply_rows(kernel, width, v, sums):
    """sums = K v"""
    count, rows = width // LANES, len(sums) - LANES
    i = 0
    while i + MANY <= rows:
        part = sums_of_many(kernel, i * width, LANES, v, 0, count)
        if MANY == LANES:
            store(sums, i, part)
        else:
            store_four(sums, i, part)
        i += MANY
    while i < rows:
        store_four(sums, i, sums_of_few(kernel, i * width, LANES, v, 0, count))
        i += FEW


@njit(**OPTIONS)
def multiply_columns(kernel, width, u, sums):
    """sums = K^T u"""
    sums[:] = np.float32(0)
    count, rows = width // LANES, len(u) - LANES
    i = 0
    while i + MANY <= rows:
        add_many(kernel, i * width, LANES, u, i, sums, count)
        i += MANY
    while i < rows:
        add_few(kernel, i * width, LANES, u, i, sums, count)
        i += FEW


@njit(**OPTIONS)
def sweep(kernel, width, mu, v, omega, u, columns):
    """u relaxed towards mu / (K v) and columns = K^T u in one pass; returns the L1 violation that u came in with."""
    count, rows, omega = width // LANES, len(u) - LANES, splat(omega)
    tiny, violation = splat(TINY), splat(np.float32(0))
    columns[:] = np.float32(0)
    i = 0
    if MANY == LANES and MANY <= rows:
        following = sums_of_many(kernel, 0, LANES, v, 0, count)
        while i + MANY <= rows:  # the next block's sums are under way while this one waits for its division
            sums = following
            if i + 2 * MANY <= rows:
                following = sums_of_many(kernel, (i + MANY) * width, LANES, v, 0, count)
            old, weights = load(u, i), load(mu, i)
            violation = violation + distance(old * sums, weights)
            store(u, i, relaxed(old, weights / larger(sums, tiny), omega))
            add_many(kernel, i * width, LANES, u, i, columns, count)
            i += MANY
    while i < rows:
        sums = sums_of_few(kernel, i * width, LANES, v, 0, count)
        old, weights = load_four(u, i), load_four(mu, i)
        violation = violation + distance(old * sums, weights)
        store_four(u, i, relaxed(old, weights / larger(sums, tiny), omega))
        add_few(kernel, i * width, LANES, u, i, columns, count)
        i += FEW
    return total(violation)


@njit(**OPTIONS)
def relax_towards(scaling, sums, weights, omega):
    """scaling relaxed towards weights / sums."""
    omega, tiny = splat(omega), splat(TINY)
    for c in range(0, len(sums), LANES):
        new = load(weights, c) / larger(load(sums, c), tiny)
        store(scaling, c, relaxed(load(scaling, c), new, omega))


@njit(**OPTIONS)
def next_omega(omega, error, previous, cap):
    """Over-relaxation from the contraction of the last four iterations; see torch_backend.next_omega."""
    one = np.float32(1)
    rate = np.sqrt(np.sqrt(error / max(previous, TINY)))
    rate = min(max(rate, np.float32(1e-6)), np.float32(0.999))
    if rate < omega - one:
        return min(max(one + rate, omega - np.float32(0.1)), cap)
    theta = (rate + omega - one) ** 2 / (rate * omega * omega)
    return min(np.float32(2) / (one + np.sqrt(one - min(theta, np.float32(0.9999)))), cap)


@njit(**OPTIONS)
def next_cap(cap, error, mark):
    """Largest over-relaxation allowed; see torch_backend.next_cap."""
    return cap if error < mark else np.float32(1) + CAUTION * (cap - np.float32(1))


@njit(**OPTIONS)
def balanced(kernel, mu, nu, u, v, columns, tolerance, max_iterations):
    """Sinkhorn scalings u, v of a padded pair; returns the iterations. Zero tolerance: plain iterations."""
    u[:] = np.float32(1)
    v[:] = np.float32(1)
    omega, previous = np.float32(1), np.float32(-1)
    cap, mark = LARGEST_OMEGA, np.float32(np.inf)
    for iteration in range(1, max_iterations + 1):
        violation = sweep(kernel, len(v), mu, v, omega, u, columns)
        last = iteration == max_iterations
        step = omega
        if tolerance > 0 and iteration > 1 and iteration % CHECK_EVERY == 1:
            last = last or violation <= tolerance
            if iteration % PATIENCE == 1:
                cap, mark = next_cap(cap, violation, mark), violation
            if previous >= 0:
                omega = next_omega(omega, violation, previous, cap)
            previous = violation
        if last:
            step = np.float32(1)
        relax_towards(v, columns, nu, step)
        if last:
            break
        if iteration == 1 and tolerance > 0:
            omega = FIRST_OMEGA
    return iteration


@njit(**OPTIONS)
def water_level(sums, weights, mass):
    """Level at which sum_i min(level * sums_i, weights_i) = mass; see torch_backend.water_level."""
    level = np.float32(0)
    while True:
        given, free = np.float32(0), np.float32(0)
        for i in range(len(sums)):
            full = level * sums[i] >= weights[i]
            given += weights[i] if full else np.float32(0)
            free += np.float32(0) if full else sums[i]
        higher = (mass - given) / max(free, TINY)
        if not higher > level * np.float32(1 + 1e-6):
            return level
        level = higher


@njit(**OPTIONS)
def capped(scaling, sums, weights, level, omega):
    """scaling relaxed towards min(1, weights / (level sums)), and at most 1."""
    one = np.float32(1)
    for i in range(len(scaling)):
        target = min(one, weights[i] / max(level * sums[i], TINY))
        step = scaling[i] + omega * (target - scaling[i])
        scaling[i] = min(one, max(step, KEEP * target))


@njit(**OPTIONS)
def partial(kernel, mu, nu, u, v, rows, columns, mass, tolerance, max_iterations):
    """Scalings u, v <= 1 and the level with T = level diag(u) K diag(v); returns (iterations, level)."""
    u[:] = np.float32(1)
    v[:] = np.float32(1)
    level, omega, previous = np.float32(1), np.float32(1), np.float32(-1)
    cap, mark = LARGEST_OMEGA, np.float32(np.inf)
    for iteration in range(1, max_iterations + 1):
        multiply_rows(kernel, len(v), v, rows)
        row_level = water_level(rows, mu, mass)
        change = np.float32(0)
        for i in range(len(u)):
            change += abs(level * u[i] * rows[i] - min(row_level * rows[i], mu[i]))
        looking = tolerance > 0 and iteration > 1 and iteration % CHECK_EVERY == 1
        if looking:
            if iteration % PATIENCE == 1:
                cap, mark = next_cap(cap, change, mark), change
            if previous >= 0:
                omega = next_omega(omega, change, previous, cap)
            previous = change
        last = iteration == max_iterations or (looking and change <= tolerance)
        capped(u, rows, mu, row_level, omega)
        multiply_columns(kernel, len(v), u, columns)
        level = water_level(columns, nu, mass)
        capped(v, columns, nu, level, np.float32(1) if last else omega)
        if last:
            break
        if iteration == 1 and tolerance > 0:
            omega = FIRST_OMEGA
    return iteration, level


@njit(**OPTIONS)
def gain(similarity, start, rows, kernel, u, v):
    """sum_ij S_ij u_i K_ij v_j"""
    width, score = len(v), splat(np.float32(0))
    for i in range(rows):
        row = splat(np.float32(0))
        place, apart = row_place(i, padded(rows, FEW), width)
        for c in range(0, width, LANES):
            moved = load(kernel, place + c // LANES * apart) * load(v, c)
            row = row + load(similarity, start + i * width + c) * moved
        score = score + row * splat(u[i])
    return total(score)


@njit(**OPTIONS)
def excess(mu, nu, u, v, rows, columns, level, mass):
    """L1 distance from the constraints of T = level diag(u) K diag(v), with rows = K v and columns = K^T u."""
    balanced_mass = mass == np.float32(1)
    outside, moved = np.float32(0), np.float32(0)
    for i in range(len(mu)):
        given = level * rows[i] * u[i]
        moved += given
        outside += abs(given - mu[i]) if balanced_mass else max(given - mu[i], np.float32(0))
    for j in range(len(nu)):
        taken = level * columns[j] * v[j] - nu[j]
        outside += abs(taken) if balanced_mass else max(taken, np.float32(0))
    return outside if balanced_mass else outside + abs(moved - mass)


@njit(**OPTIONS)
def write_plan(kernel, u, v, level, plan):
    """plan (P, Q) = level diag(u) K diag(v)."""
    for i in range(plan.shape[0]):
        place, apart = row_place(i, padded(plan.shape[0], FEW), len(v))
        for j in range(plan.shape[1]):
            plan[i, j] = level * u[i] * kernel[place + j // LANES * apart + j % LANES] * v[j]


@njit(**OPTIONS)
def pair_memory(queries, candidates):
    """Float32 numbers that ``solve_pairs`` needs."""
    height, width = padded(queries, LANES), padded(candidates, LANES)
    return height * width + 3 * (height + LANES) + 4 * width


@njit(**OPTIONS)
def solve_pairs(similarity, mu, nu, settings, outputs, memory):
    """Solve n pairs one after the other into ``outputs``: score (n,), iterations (n,), marginal error (n,), and plan
    (n, P, Q), which may have no rows.

    ``similarity`` is flat: n * P rows of Q numbers, each padded to whole vectors with finite numbers; ``mu`` (n, P), ``nu``
    (n, Q). A pair whose similarities span too many epsilons for float32 is left, with iterations TOO_WIDE.
    ``settings`` is (epsilon, mass, tolerance, max_iterations); ``memory`` has room for ``pair_memory(P, Q)`` numbers.
    """
    score, iterations, error, plan = outputs
    epsilon, mass, tolerance, max_iterations = settings
    (pairs, queries), candidates = mu.shape, nu.shape[1]
    height, width = padded(queries, FEW), padded(candidates, LANES)
    kernel, memory = take_zeros(memory, height * width)
    # beyond the last block of rows there is room for a whole vector
    weights_p, memory = take_zeros(memory, height + LANES)
    u, memory = take_zeros(memory, height + LANES)
    rows, memory = take_zeros(memory, height + LANES)
    weights_q, memory = take_zeros(memory, width)
    v, memory = take_zeros(memory, width)
    columns, memory = take_zeros(memory, width)
    real, memory = take_zeros(memory, width)
    real[:candidates] = np.float32(1)
    for n in range(pairs):
        start = n * queries * width
        low, high = span(similarity, start, queries, width, real)
        if not (high - low) <= SAFE_SPAN * epsilon:
            iterations[n] = TOO_WIDE
            continue
        gibbs(similarity, start, queries, width, real, high, epsilon, kernel)
        weights_p[:queries], weights_q[:candidates] = mu[n], nu[n]
        level = np.float32(1)
        if mass == np.float32(1):
            taken = balanced(kernel, weights_p, weights_q, u, v, columns, tolerance, max_iterations)
        else:
            taken, level = partial(
                kernel, weights_p, weights_q, u, v, rows, columns, mass, tolerance, max_iterations
            )
        multiply_rows(kernel, width, v, rows)
        iterations[n] = taken
        score[n] = level * gain(similarity, start, queries, kernel, u, v)
        error[n] = excess(mu[n], nu[n], u, v, rows, columns, level, mass)
        if len(plan):
            write_plan(kernel, u, v, level, plan[n])
