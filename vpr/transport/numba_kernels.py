"""Entropic transport of one pair in L1 cache, compiled by numba.

The kernel K of a pair has its rows padded to a multiple of 8 and its columns to 16, zeros in the padding, so
that every inner loop is whole vectors. All functions are in this file: see ``numba_math`` for the reason.
"""

import numpy as np
from numba import njit

from vpr.transport.numba_math import EXACT, OPTIONS, float_from_bits

LANES = 16  # float32 numbers in a 512-bit register; columns are padded to it
ROWS = 8  # rows that a pass takes together; rows are padded to it
SAFE_SPAN = np.float32(40)  # exp(-span) and the scalings that undo it stay inside float32
TOO_WIDE = -1  # iterations of a pair beyond that
TINY = np.float32(1e-30)
LOG2E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer
SMALLEST = np.float32(-87.0)  # exp of it is the smallest normal float32
CHECK_EVERY = 4
FIRST_OMEGA, LARGEST_OMEGA = np.float32(1.4), np.float32(1.95)
PATIENCE = 64  # iterations without progress after which a pair is allowed less over-relaxation
CAUTION = np.float32(0.7)  # by this factor
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


@njit(**{**OPTIONS, "fastmath": {"nnan", "nsz"}})
def span(similarity, columns):
    """Smallest and largest entry of the first ``columns`` columns; without NaN in mind, so as to be vectors."""
    low, high = similarity[0, 0], similarity[0, 0]
    for i in range(similarity.shape[0]):
        for j in range(columns):
            entry = similarity[i, j]
            low = entry if entry < low else low
            high = entry if entry > high else high
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
def row_sums(kernel, v, sums):
    """sums = K v, eight rows at a time so that v is read once for all of them."""
    for i in range(0, len(sums), ROWS):
        a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        e, f, g, h = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for j in range(len(v)):
            a += kernel[i, j] * v[j]
            b += kernel[i + 1, j] * v[j]
            c += kernel[i + 2, j] * v[j]
            d += kernel[i + 3, j] * v[j]
            e += kernel[i + 4, j] * v[j]
            f += kernel[i + 5, j] * v[j]
            g += kernel[i + 6, j] * v[j]
            h += kernel[i + 7, j] * v[j]
        sums[i], sums[i + 1], sums[i + 2], sums[i + 3] = a, b, c, d
        sums[i + 4], sums[i + 5], sums[i + 6], sums[i + 7] = e, f, g, h


@njit(**OPTIONS)
def column_sums(kernel, u, sums):
    """sums = K^T u, eight rows at a time so that the sums are read and written once for all of them."""
    sums[:] = np.float32(0)
    for i in range(0, len(u), ROWS):
        a, b, c, d = u[i], u[i + 1], u[i + 2], u[i + 3]
        e, f, g, h = u[i + 4], u[i + 5], u[i + 6], u[i + 7]
        for j in range(len(sums)):
            sums[j] += (
                (a * kernel[i, j] + b * kernel[i + 1, j]) + (c * kernel[i + 2, j] + d * kernel[i + 3, j])
            ) + ((e * kernel[i + 4, j] + f * kernel[i + 5, j]) + (g * kernel[i + 6, j] + h * kernel[i + 7, j]))


@njit(**OPTIONS)
def relax_towards(scaling, sums, weights, omega):
    """scaling relaxed towards weights / sums; returns the L1 violation that it came in with."""
    violation = np.float32(0)
    for i in range(len(scaling)):
        violation += abs(scaling[i] * sums[i] - weights[i])
        scaling[i] = relaxed(scaling[i], weights[i] / max(sums[i], TINY), omega)
    return violation


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
def balanced(kernel, mu, nu, u, v, rows, columns, tolerance, max_iterations):
    """Sinkhorn scalings u, v of a padded pair; returns the iterations. Zero tolerance: plain iterations."""
    u[:] = np.float32(1)
    v[:] = np.float32(1)
    omega, previous = np.float32(1), np.float32(-1)
    cap, mark = LARGEST_OMEGA, np.float32(np.inf)
    for iteration in range(1, max_iterations + 1):
        row_sums(kernel, v, rows)
        violation = relax_towards(u, rows, mu, omega)
        column_sums(kernel, u, columns)
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
        scaling[i] = min(one, relaxed(scaling[i], target, omega))


@njit(**OPTIONS)
def partial(kernel, mu, nu, u, v, rows, columns, mass, tolerance, max_iterations):
    """Scalings u, v <= 1 and the level with T = level diag(u) K diag(v); returns (iterations, level)."""
    u[:] = np.float32(1)
    v[:] = np.float32(1)
    level, omega, previous = np.float32(1), np.float32(1), np.float32(-1)
    cap, mark = LARGEST_OMEGA, np.float32(np.inf)
    for iteration in range(1, max_iterations + 1):
        row_sums(kernel, v, rows)
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
        column_sums(kernel, u, columns)
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
    height, width = padded(queries, ROWS), padded(candidates, LANES)
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
            taken = balanced(kernel, weights_p, weights_q, u, v, rows, columns, tolerance, max_iterations)
        else:
            taken, level = partial(
                kernel, weights_p, weights_q, u, v, rows, columns, mass, tolerance, max_iterations
            )
        iterations[n] = taken
        score[n], error[n] = finish(similarity[n], kernel, mu[n], nu[n], u, v, columns, level, mass)
        if len(plan):
            write_plan(kernel, u, v, level, plan[n])
