"""Entropic transport of one pair in L1 cache, compiled by numba.

Layout: the kernel K of a pair is (rows, lanes) with rows padded to a multiple of 4 and lanes to 16, zeros in
the padding. One pass over K does both half-iterations: four rows give their sums, their scalings follow,
and they are added to the column sums while still in registers.
"""

import numpy as np
from numba import njit

from vpr.transport.numba_math import EXACT, OPTIONS, float_from_bits

LANES = 16  # float32 numbers in a 512-bit register; rows are padded to it
SAFE_SPAN = np.float32(40)  # exp(-span) and the scalings that undo it stay inside float32
TOO_WIDE = -1  # iterations of a pair beyond that
TINY = np.float32(1e-30)
LOG2E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer
SMALLEST = np.float32(-87.0)  # exp of it is the smallest normal float32
CHECK_EVERY = 4
FIRST_OMEGA, LARGEST_OMEGA = np.float32(1.4), np.float32(1.95)
KEEP = np.float32(0.3)  # over-relaxation never overshoots below this share of the plain step


@njit(**EXACT)
def exp32(x):
    """exp(x) of a float32 x <= 0 to 2 units in the last place; below -87 it stays at exp(-87).

    exp(x) = 2^n exp(r) with n = round(x / ln 2), and a polynomial of degree 6 for exp(r).
    """
    x = max(x, SMALLEST)
    n = (x * LOG2E + ROUND) - ROUND
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(0.5)
    p = p * r + np.float32(1.0)
    p = p * r + np.float32(1.0)
    return p * float_from_bits((np.int32(n) + np.int32(127)) << np.int32(23))


@njit(**OPTIONS)
def span(similarity, columns):
    """Smallest and largest entry of the first ``columns`` columns."""
    low, high = similarity[0, 0], similarity[0, 0]
    for i in range(similarity.shape[0]):
        for j in range(columns):
            low, high = min(low, similarity[i, j]), max(high, similarity[i, j])
    return low, high


@njit(**OPTIONS)
def gibbs(similarity, columns, top, epsilon, kernel):
    """K = exp((similarity - top) / epsilon) of the first ``columns`` columns; the padding is left alone."""
    scale = np.float32(1.0) / epsilon
    for i in range(similarity.shape[0]):
        for j in range(columns):
            kernel[i, j] = exp32((similarity[i, j] - top) * scale)


@njit(**OPTIONS)
def relaxed(old, new, omega):
    """Over-relaxed step from ``old`` towards ``new``, kept positive."""
    return max(old + omega * (new - old), KEEP * new)


@njit(**OPTIONS)
def four_rows(kernel, i, v):
    """Sums over the columns of K[i:i+4] v."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for j in range(len(v)):
        a += kernel[i, j] * v[j]
        b += kernel[i + 1, j] * v[j]
        c += kernel[i + 2, j] * v[j]
        d += kernel[i + 3, j] * v[j]
    return a, b, c, d


@njit(**OPTIONS)
def add_rows(kernel, i, a, b, c, d, columns):
    """columns += (a, b, c, d) K[i:i+4]."""
    for j in range(len(columns)):
        columns[j] += a * kernel[i, j] + b * kernel[i + 1, j] + c * kernel[i + 2, j] + d * kernel[i + 3, j]


@njit(**OPTIONS)
def both_sides(kernel, mu, u, v, columns, omega):
    """u relaxed towards mu / (K v), columns = K^T u; returns the L1 row violation of the u that came in."""
    columns[:] = np.float32(0)
    violation = np.float32(0)
    for i in range(0, len(u), 4):
        a, b, c, d = four_rows(kernel, i, v)
        violation += (abs(u[i] * a - mu[i]) + abs(u[i + 1] * b - mu[i + 1])) + (
            abs(u[i + 2] * c - mu[i + 2]) + abs(u[i + 3] * d - mu[i + 3])
        )
        u[i] = relaxed(u[i], mu[i] / max(a, TINY), omega)
        u[i + 1] = relaxed(u[i + 1], mu[i + 1] / max(b, TINY), omega)
        u[i + 2] = relaxed(u[i + 2], mu[i + 2] / max(c, TINY), omega)
        u[i + 3] = relaxed(u[i + 3], mu[i + 3] / max(d, TINY), omega)
        add_rows(kernel, i, u[i], u[i + 1], u[i + 2], u[i + 3], columns)
    return violation


@njit(**OPTIONS)
def next_omega(omega, error, previous):
    """Over-relaxation from the contraction of the last four iterations; see torch_backend.next_omega."""
    one = np.float32(1)
    rate = np.sqrt(np.sqrt(error / max(previous, TINY)))
    rate = min(max(rate, np.float32(1e-6)), np.float32(0.999))
    if rate < omega - one:
        return max(one + rate, omega - np.float32(0.1))
    theta = (rate + omega - one) ** 2 / (rate * omega * omega)
    return min(np.float32(2) / (one + np.sqrt(one - min(theta, np.float32(0.9999)))), LARGEST_OMEGA)


@njit(**OPTIONS)
def balanced(kernel, mu, nu, u, v, columns, tolerance, max_iterations):
    """Sinkhorn scalings u, v of a padded pair; returns the iterations. Zero tolerance: plain iterations."""
    u[:] = np.float32(1)
    v[:] = np.float32(1)
    omega, previous = np.float32(1), np.float32(-1)
    for iteration in range(1, max_iterations + 1):
        violation = both_sides(kernel, mu, u, v, columns, omega)
        last = iteration == max_iterations
        step = omega
        if tolerance > 0 and iteration > 1 and iteration % CHECK_EVERY == 1:
            last = last or violation <= tolerance
            if previous >= 0:
                omega = next_omega(omega, violation, previous)
            previous = violation
        if last:
            step = np.float32(1)
        for j in range(len(v)):
            v[j] = relaxed(v[j], nu[j] / max(columns[j], TINY), step)
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
        scaling[i] = min(one, relaxed(scaling[i], target, omega))


@njit(**OPTIONS)
def partial(kernel, mu, nu, u, v, rows, columns, mass, tolerance, max_iterations):
    """Scalings u, v <= 1 and the level with T = level diag(u) K diag(v); returns (iterations, level)."""
    u[:] = np.float32(1)
    v[:] = np.float32(1)
    level, omega, previous = np.float32(1), np.float32(1), np.float32(-1)
    for iteration in range(1, max_iterations + 1):
        for i in range(0, len(u), 4):
            rows[i], rows[i + 1], rows[i + 2], rows[i + 3] = four_rows(kernel, i, v)
        row_level = water_level(rows, mu, mass)
        change = np.float32(0)
        for i in range(len(u)):
            change += abs(level * u[i] * rows[i] - min(row_level * rows[i], mu[i]))
        looking = tolerance > 0 and iteration > 1 and iteration % CHECK_EVERY == 1
        if looking:
            if previous >= 0:
                omega = next_omega(omega, change, previous)
            previous = change
        last = iteration == max_iterations or (looking and change <= tolerance)
        capped(u, rows, mu, row_level, omega)
        columns[:] = np.float32(0)
        for i in range(0, len(u), 4):
            add_rows(kernel, i, u[i], u[i + 1], u[i + 2], u[i + 3], columns)
        level = water_level(columns, nu, mass)
        capped(v, columns, nu, level, np.float32(1) if last else omega)
        if last:
            break
        if iteration == 1 and tolerance > 0:
            omega = FIRST_OMEGA
    return iteration, level


@njit(**OPTIONS)
def finish(similarity, kernel, mu, nu, u, v, columns, level, mass):
    """Score and L1 distance from the constraints of T = level diag(u) K diag(v), with columns = K^T u.

    ``nu`` (Q,) tells how many columns count; ``mu``, ``u``, ``v`` and ``columns`` may be padded.
    """
    score, excess, total = np.float32(0), np.float32(0), np.float32(0)
    balanced_mass = mass == np.float32(1)
    for i in range(similarity.shape[0]):
        given, gained = np.float32(0), np.float32(0)
        for j in range(len(nu)):
            moved = kernel[i, j] * v[j]
            given += moved
            gained += moved * similarity[i, j]
        score += level * u[i] * gained
        given *= level * u[i]
        total += given
        excess += abs(given - mu[i]) if balanced_mass else max(given - mu[i], np.float32(0))
    for j in range(len(nu)):
        taken = level * columns[j] * v[j] - nu[j]
        excess += abs(taken) if balanced_mass else max(taken, np.float32(0))
    return score, excess if balanced_mass else excess + abs(total - mass)


@njit(**OPTIONS)
def padded(count, multiple):
    """Smallest multiple that is at least ``count``."""
    return (count + multiple - 1) // multiple * multiple


@njit(**OPTIONS)
def write_plan(kernel, u, v, level, plan):
    """plan (P, Q) = level diag(u) K diag(v)."""
    for i in range(plan.shape[0]):
        for j in range(plan.shape[1]):
            plan[i, j] = level * u[i] * kernel[i, j] * v[j]


@njit(**OPTIONS)
def solve_pairs(similarity, mu, nu, settings, score, iterations, error, plan):
    """Solve n pairs one after the other into the output arrays; ``plan`` may have no rows.

    ``similarity`` is (n, P, Q or more), ``mu`` (n, P), ``nu`` (n, Q); columns beyond Q are not read.
    A pair whose similarities span too many epsilons for float32 is left, with iterations TOO_WIDE.
    ``settings`` is (epsilon, mass, tolerance, max_iterations).
    """
    epsilon, mass, tolerance, max_iterations = settings
    (pairs, queries), candidates = mu.shape, nu.shape[1]
    height, width = padded(queries, 4), padded(candidates, LANES)
    kernel = np.zeros((height, width), np.float32)
    weights_p, weights_q = np.zeros(height, np.float32), np.zeros(width, np.float32)
    u, rows = np.zeros(height, np.float32), np.zeros(height, np.float32)
    v, columns = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for n in range(pairs):
        low, high = span(similarity[n], candidates)
        if not (high - low) <= SAFE_SPAN * epsilon:
            iterations[n] = TOO_WIDE
            continue
        gibbs(similarity[n], candidates, high, epsilon, kernel)
        weights_p[:queries] = mu[n]
        weights_q[:candidates] = nu[n]
        level = np.float32(1)
        if mass == np.float32(1):
            taken = balanced(kernel, weights_p, weights_q, u, v, columns, tolerance, max_iterations)
        else:
            taken, level = partial(
                kernel, weights_p, weights_q, u, v, rows, columns, mass, tolerance, max_iterations
            )
        iterations[n] = taken
        score[n], error[n] = finish(similarity[n], kernel, mu[n], nu[n], u, v, columns, level, mass)
        if len(plan):
            write_plan(kernel, u, v, level, plan[n])
