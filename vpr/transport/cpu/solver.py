"""Entropic transport of one pair after the other, compiled by numba: over-relaxed Sinkhorn, balanced and partial.

The mathematics is that of ``torch_backend``. ``mu``, ``u`` and ``rows`` are padded to the kernel's rows, ``nu``, ``v``
and ``columns`` to its columns; see ``kernels``.
"""

import numpy as np
from numba import njit

from vpr.transport.cpu.compiling import OPTIONS
from vpr.transport.cpu.kernels import (
    FEW,
    TINY32,
    fill_kernel,
    gain,
    misfit,
    multiply_columns,
    multiply_rows,
    relax_capped,
    relax_towards,
    span,
    sweep,
    water_level,
    write_plan,
)
from vpr.transport.cpu.layout import SINGLES, copy, next_multiple, round_up, take_zeros
from vpr.transport.cpu.simd import LANES
from vpr.transport.problem import (
    CAUTION,
    CHECK_EVERY,
    COMPILED_SPAN,
    FASTEST_RATE,
    FIRST_OMEGA,
    LARGEST_OMEGA,
    LARGEST_THETA,
    OMEGA_STEP,
    PATIENCE,
    SLOWEST_RATE,
    TOO_WIDE,
)


@njit(**OPTIONS)
def next_omega(omega, error, previous, cap):
    """Over-relaxation from the contraction of the last CHECK_EVERY iterations; see torch_backend.next_omega."""
    one = np.float32(1)
    rate = np.sqrt(np.sqrt(error / max(previous, TINY32)))  # the root for CHECK_EVERY = 4
    rate = min(max(rate, np.float32(FASTEST_RATE)), np.float32(SLOWEST_RATE))
    if rate < omega - one:
        return min(max(one + rate, omega - np.float32(OMEGA_STEP)), cap)
    theta = (rate + omega - one) ** 2 / (rate * omega * omega)
    return min(np.float32(2) / (one + np.sqrt(one - min(theta, np.float32(LARGEST_THETA)))), cap)


@njit(**OPTIONS)
def next_cap(cap, error, mark):
    """Largest over-relaxation allowed; see torch_backend.next_cap."""
    return cap if error < mark else np.float32(1) + np.float32(CAUTION) * (cap - np.float32(1))


@njit(**OPTIONS)
def sinkhorn_balanced(kernel, mu, nu, u, v, columns, tolerance, max_iterations):
    """Fill u and v with the Sinkhorn scalings of a pair; returns the iterations. At tolerance 0 these are plain."""
    u[:] = np.float32(1)
    v[:] = np.float32(1)
    omega, previous = np.float32(1), np.float32(-1)
    cap, mark = np.float32(LARGEST_OMEGA), np.float32(np.inf)
    for iteration in range(1, max_iterations + 1):
        violation = sweep(kernel, mu, v, omega, u, columns)
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
            omega = np.float32(FIRST_OMEGA)
    return iteration


@njit(**OPTIONS)
def sinkhorn_partial(kernel, mu, nu, u, v, rows, columns, mass, tolerance, max_iterations):
    """Fill u, v <= 1 with the Sinkhorn scalings of T = level diag(u) K diag(v); returns (iterations, level)."""
    u[:] = np.float32(1)
    v[:] = np.float32(1)
    tall, wide = len(u) - LANES, len(v)
    level, row_level = np.float32(1), np.float32(0)
    omega, previous = np.float32(1), np.float32(-1)
    cap, mark = np.float32(LARGEST_OMEGA), np.float32(np.inf)
    for iteration in range(1, max_iterations + 1):
        multiply_rows(kernel, v, rows)
        row_level = water_level(rows, mu, tall, mass, row_level)
        last = iteration == max_iterations
        if tolerance > 0 and iteration > 1 and iteration % CHECK_EVERY == 1:
            change = misfit(u, rows, mu, tall, level, row_level)
            if iteration % PATIENCE == 1:
                cap, mark = next_cap(cap, change, mark), change
            if previous >= 0:
                omega = next_omega(omega, change, previous, cap)
            previous = change
            last = last or change <= tolerance
        relax_capped(u, rows, mu, tall, row_level, omega)
        multiply_columns(kernel, u, columns)
        level = water_level(columns, nu, wide, mass, level if iteration > 1 else row_level)
        relax_capped(v, columns, nu, wide, level, np.float32(1) if last else omega)
        if last:
            break
        if iteration == 1 and tolerance > 0:
            omega = np.float32(FIRST_OMEGA)
    return iteration, level


@njit(**OPTIONS)
def constraint_error(mu, nu, u, v, rows, columns, level, mass):
    """L1 distance from the constraints of T = level diag(u) K diag(v), with rows = K v and columns = K^T u."""
    balanced_mass = mass == np.float32(1)
    outside, moved = np.float32(0), np.float32(0)
    for i in range(len(mu)):
        row_mass = level * rows[i] * u[i]
        moved += row_mass
        outside += abs(row_mass - mu[i]) if balanced_mass else max(row_mass - mu[i], np.float32(0))
    for j in range(len(nu)):
        excess = level * columns[j] * v[j] - nu[j]
        outside += abs(excess) if balanced_mass else max(excess, np.float32(0))
    return outside if balanced_mass else outside + abs(moved - mass)


def pair_memory_size(queries, candidates):
    """How many float32 numbers of memory ``solve_pairs`` needs for pairs of (P, Q) patches."""
    tall, wide = next_multiple(queries, LANES) + LANES, next_multiple(candidates, LANES) + LANES
    return tall * wide + SINGLES * tall + 4 * tall + 4 * wide


@njit(**OPTIONS)
def solve_pairs(similarity, mu, nu, scalars, outputs, memory):
    """Solve n pairs one after the other into ``outputs``.

    ``outputs`` are score (n,), iterations (n,), marginal error (n,), and plan (n, P, Q), or a plan without rows.
    ``similarity`` is (wholes (n P, ``whole_columns(Q)``), singles (S, n P and a vector more)), finite in the padding
    too; ``mu`` is (n, P), ``nu`` (n, Q). ``scalars`` are (epsilon, mass, tolerance, max_iterations). ``memory`` holds
    at least ``pair_memory_size(P, Q)`` numbers. If the similarities of a pair span too many epsilons for float32, the
    pair is not solved, and its iterations are TOO_WIDE.
    """
    (wholes, singles), (score, iterations, error, plan) = similarity, outputs
    epsilon, mass, tolerance, max_iterations = scalars
    (pairs, queries), candidates = mu.shape, nu.shape[1]
    height, whole, alone = round_up(queries, FEW), wholes.shape[1], len(singles)
    tall, width = round_up(queries, LANES), whole + (LANES if alone else 0)
    blocks, memory = take_zeros(memory, height * whole)
    flat, memory = take_zeros(memory, alone * tall)
    kernel = blocks, flat.reshape(alone, tall)
    # a whole vector more, because the last block of rows may read beyond the rows
    weights_p, memory = take_zeros(memory, height + LANES)
    u, memory = take_zeros(memory, height + LANES)
    rows, memory = take_zeros(memory, height + LANES)
    weights_q, memory = take_zeros(memory, width)
    v, memory = take_zeros(memory, width)
    columns, memory = take_zeros(memory, width)
    real_columns, memory = take_zeros(memory, width)
    real_rows, memory = take_zeros(memory, tall)
    real_columns[:candidates], real_rows[:queries] = np.float32(1), np.float32(1)
    masks = real_columns, real_rows
    for n in range(pairs):
        pair = wholes[n * queries : (n + 1) * queries], singles[:, n * queries : n * queries + tall]
        low, high = span(pair, masks)
        if not (high - low) <= np.float32(COMPILED_SPAN) * epsilon:
            iterations[n] = TOO_WIDE
            continue
        fill_kernel(pair, masks, high, epsilon, kernel)
        copy(mu[n], weights_p)
        copy(nu[n], weights_q)
        level = np.float32(1)
        if mass == np.float32(1):
            count = sinkhorn_balanced(kernel, weights_p, weights_q, u, v, columns, tolerance, max_iterations)
        else:
            count, level = sinkhorn_partial(
                kernel, weights_p, weights_q, u, v, rows, columns, mass, tolerance, max_iterations
            )
        multiply_rows(kernel, v, rows)
        iterations[n] = count
        score[n] = level * gain(pair, masks, kernel, u, v)
        error[n] = constraint_error(mu[n], nu[n], u, v, rows, columns, level, mass)
        if len(plan):
            write_plan(kernel, u, v, level, plan[n])
