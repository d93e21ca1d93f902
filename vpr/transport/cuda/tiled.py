"""The fused CUDA kernel for grids that are too large for registers: K is in scratch memory that stays in L2.

A program has one scratch and takes one pair after another. An iteration reads K once, one block of rows after the
other. The sums of a block give the scalings of its rows, and the scaled rows are added to the column sums at once.

P, Q and C are the patches and channels of a pair; BR, BQ and BC are the sizes of blocks of rows, columns and channels.
"""

import triton
import triton.language as tl

from vpr.transport.cuda.kernels import (
    CHECK_EVERY,
    COMPILED_SPAN,
    FIRST_OMEGA,
    GIVEN,
    LARGEST_OMEGA,
    PATIENCE,
    TINY,
    TOO_WIDE,
    next_cap,
    next_omega,
    normalise,
    products,
    raw_weights,
    relax,
)


@triton.jit
def fill_scratch(
    scratch, weights, query, database, query_global, database_global, columns, P, Q, C,
    KIND: tl.constexpr, BR: tl.constexpr, BQ: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Write similarities (P, BQ) into the scratch and the query's raw weights (P,) into ``weights``.

    Returns the largest and the smallest similarity, the sum of the weights, and the database patches' cosines with the
    query's global descriptor.
    """
    top, low, total = -float("inf"), float("inf"), 0.0
    database_cosine = columns.to(tl.float32) * 0.0
    for start in range(0, P, BR):
        rows = start + tl.arange(0, BR)
        similarity, query_cosine, database_cosine = products(
            query, database, query_global, database_global, rows, columns, P, Q, C, KIND, BR, BQ, BC
        )
        valid = (rows < P)[:, None] & (columns < Q)[None, :]
        top = tl.maximum(top, tl.max(tl.max(tl.where(valid, similarity, -float("inf")), 1), 0))
        low = tl.minimum(low, tl.min(tl.min(tl.where(valid, similarity, float("inf")), 1), 0))
        tl.store(scratch + rows[:, None] * BQ + columns[None, :], similarity, (rows < P)[:, None])
        if KIND != GIVEN:
            weight = raw_weights(query_cosine, rows < P, KIND)
            total += tl.sum(weight, 0)
            tl.store(weights + rows, weight, rows < P)
    return top, low, total, database_cosine


@triton.jit
def fill_kernel(scratch, u, columns, top, epsilon, P, Q, BR: tl.constexpr, BQ: tl.constexpr):
    """Turn the similarities in the scratch into K = exp((S - top) / epsilon), and fill u with ones."""
    for start in range(0, P, BR):
        rows = start + tl.arange(0, BR)
        valid = (rows < P)[:, None] & (columns < Q)[None, :]
        place = scratch + rows[:, None] * BQ + columns[None, :]
        similarity = tl.load(place, valid, other=0.0)
        tl.store(place, tl.where(valid, tl.exp((similarity - top) / epsilon), 0.0), (rows < P)[:, None])
        tl.store(u + rows, rows.to(tl.float32) * 0.0 + 1.0, rows < P)


@triton.jit
def sweep(scratch, mu_at, u_at, v, columns, omega, P, BR: tl.constexpr, BQ: tl.constexpr):
    """Relax u towards mu / (K v); return K^T u and the L1 violation of the row constraints by the former u."""
    sums, violation = v * 0.0, 0.0
    for start in range(0, P, BR):
        rows = start + tl.arange(0, BR)
        kernel = tl.load(scratch + rows[:, None] * BQ + columns[None, :], (rows < P)[:, None], other=0.0)
        mu = tl.load(mu_at + rows, rows < P, other=0.0)
        u = tl.load(u_at + rows, rows < P, other=0.0)
        row = tl.sum(kernel * v[None, :], 1)
        violation += tl.sum(tl.abs(u * row - mu), 0)
        u = relax(u, mu / tl.maximum(row, TINY), omega, False)
        tl.store(u_at + rows, u, rows < P)
        sums += tl.sum(kernel * u[:, None], 0)
    return sums, violation


@triton.jit
def normalise_sides(
    mu_at, total, cosine, given_mu, given_nu, columns, P, Q,
    KIND: tl.constexpr, BR: tl.constexpr,
):  # fmt: skip
    """Write mu into the program's vector, from raw weights of sum ``total`` or from ``given_mu``; return nu."""
    for start in range(0, P, BR):
        rows = start + tl.arange(0, BR)
        if KIND == GIVEN:
            mu = tl.load(given_mu + rows, rows < P, other=0.0)
        else:
            weight = tl.load(mu_at + rows, rows < P, other=0.0)
            mu = tl.where(total > 0.0, weight / tl.maximum(total, TINY), 1.0 / P)
        tl.store(mu_at + rows, mu, rows < P)
    if KIND == GIVEN:
        return tl.load(given_nu + columns, columns < Q, other=0.0)
    else:
        return normalise(raw_weights(cosine, columns < Q, KIND), columns < Q, Q)


@triton.jit
def iterate_tiled(scratch, mu_at, u_at, nu, columns, tolerance, max_iterations, P, BR: tl.constexpr, BQ: tl.constexpr):
    """Scaling v, K^T u and the iterations of a pair whose kernel is in the scratch; u stays in the program's vector."""
    v, sums = nu * 0.0 + 1.0, nu
    omega, previous = tolerance * 0.0 + 1.0, tolerance * 0.0 - 1.0
    cap, mark = tolerance * 0.0 + LARGEST_OMEGA, tolerance * 0.0 + float("inf")
    iteration, running = max_iterations * 0, max_iterations > 0
    while running:
        iteration += 1
        sums, error = sweep(scratch, mu_at, u_at, v, columns, omega, P, BR, BQ)
        tl.debug_barrier()
        checking = (tolerance > 0.0) & (iteration > 1) & (iteration % CHECK_EVERY == 1)
        running = (iteration < max_iterations) & ~(checking & (error <= tolerance))
        v = relax(v, nu / tl.maximum(sums, TINY), tl.where(running, omega, 1.0), False)
        marking = checking & (iteration % PATIENCE == 1)
        cap, mark = tl.where(marking, next_cap(cap, error, mark), cap), tl.where(marking, error, mark)
        omega = tl.where(checking & (previous >= 0.0), next_omega(omega, error, previous, cap), omega)
        previous = tl.where(checking, error, previous)
        omega = tl.where((iteration == 1) & (tolerance > 0.0), FIRST_OMEGA, omega)
    return v, sums, iteration


@triton.jit
def score_plan(scratch, mu_at, u_at, v, columns, top, epsilon, P, Q, BR: tl.constexpr, BQ: tl.constexpr):
    """Score of the plan and the L1 violation of its row sums."""
    gain, error = 0.0, 0.0
    for start in range(0, P, BR):
        rows = start + tl.arange(0, BR)
        valid = (rows < P)[:, None] & (columns < Q)[None, :]
        kernel = tl.load(scratch + rows[:, None] * BQ + columns[None, :], valid, other=0.0)
        moved = tl.load(u_at + rows, rows < P, other=0.0)[:, None] * kernel * v[None, :]
        similarity = top + epsilon * tl.log(tl.where(valid, kernel, 1.0))
        gain += tl.sum(tl.sum(tl.where(valid, moved * similarity, 0.0), 1), 0)
        error += tl.sum(tl.abs(tl.sum(moved, 1) - tl.load(mu_at + rows, rows < P, other=0.0)), 0)
    return gain, error


@triton.jit(do_not_specialize=["max_iterations"])
def tiled_kernel(
    query, database, query_global, database_global, query_index, database_index,
    given_mu, given_nu, score, iterations, marginal_error, scratch, vectors,
    N, P, Q, C, epsilon, tolerance, max_iterations,
    KIND: tl.constexpr, BR: tl.constexpr, BQ: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Balanced transport of pairs program_id, program_id + programs, ... from patches to scores."""
    program, programs = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    scratch += program * P * BQ
    mu_at, u_at = vectors + program * 2 * P, vectors + program * 2 * P + P
    columns = tl.arange(0, BQ)
    for n in range(program, N, programs):
        i, j = tl.load(query_index + n).to(tl.int64), tl.load(database_index + n).to(tl.int64)
        top, low, total, cosine = fill_scratch(
            scratch, mu_at, query + i * P * C, database + j * Q * C, query_global + i * C,
            database_global + j * C, columns, P, Q, C, KIND, BR, BQ, BC,
        )  # fmt: skip
        tl.debug_barrier()
        nu = normalise_sides(mu_at, total, cosine, given_mu + n * P, given_nu + n * Q, columns, P, Q, KIND, BR)
        fill_kernel(scratch, u_at, columns, top, epsilon, P, Q, BR, BQ)
        tl.debug_barrier()
        if top - low > epsilon * COMPILED_SPAN:
            tl.store(iterations + n, TOO_WIDE)
        else:
            v, sums, count = iterate_tiled(scratch, mu_at, u_at, nu, columns, tolerance, max_iterations, P, BR, BQ)
            gain, error = score_plan(scratch, mu_at, u_at, v, columns, top, epsilon, P, Q, BR, BQ)
            tl.store(score + n, gain)
            tl.store(iterations + n, count)
            tl.store(marginal_error + n, error + tl.sum(tl.abs(sums * v - nu), 0))
        tl.debug_barrier()
