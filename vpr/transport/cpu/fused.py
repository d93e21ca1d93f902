"""From patch descriptors to scores on the CPU: products in chunks that stay in cache, then transport."""

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from vpr.transport.cpu.backend import empty_result, kernel_scalars, solve_wide_pairs
from vpr.transport.cpu.compiling import ENTRY, OPTIONS, SOURCES, compile_once
from vpr.transport.cpu.convert import fill_marginals, half_to_single
from vpr.transport.cpu.fixed import multiply_fixed, round_panels, use_fixed_point
from vpr.transport.cpu.layout import SINGLES, copy, is_consecutive, next_multiple, round_up, take
from vpr.transport.cpu.products import LEAST_ROWS, correlate, multiply, pack
from vpr.transport.cpu.simd import LANES, fetch_and_add
from vpr.transport.cpu.solver import pair_memory_size, solve_pairs
from vpr.transport.cpu.threads import arena, run_in_threads, thread_count
from vpr.transport.marginals import GIVEN, LEARNT, kernel_code
from vpr.transport.problem import TOO_WIDE, Images, Solver, Transport, TransportResult, check_result, convert_result

CHUNK_FLOATS = 1 << 17  # float32 numbers of descriptors and similarities in a chunk: half a MiB, about half of L2
CHUNKS_A_THREAD = 8  # least number of chunks for each of several threads, because candidates take unequal time


def read_only_view(array: np.ndarray) -> np.ndarray:
    """A read-only view. Numba compiles once more for arrays that can be written, so all inputs are made read-only, as
    memory maps are."""
    view = array.view()
    view.flags.writeable = False
    return view


NO_HALF, NO_SINGLE = read_only_view(np.empty((0, 0), np.uint16)), read_only_view(np.empty((0, 0), np.float32))


@njit(**OPTIONS)
def convert_rows(half, single, images, patches, channels, memory):
    """The rows of some images as flat float32, at least LEAST_ROWS of them, and the memory left.

    Descriptors are in ``half`` (R, C), the bits of float16, or in ``single`` (R, C) float32; the other array has no
    rows. An image has ``patches`` rows. ``channels`` is C, or more for zeros behind each row.
    """
    count, depth = len(images) * patches, max(half.shape[1], single.shape[1])
    first, fits = images[0] * patches, depth == channels and count >= LEAST_ROWS
    if fits and len(single) and is_consecutive(images):
        return single[first : first + count].reshape(-1), memory
    target, memory = take(memory, max(count, LEAST_ROWS) * channels)
    if not fits:
        target[:] = np.float32(0)
    at_once = patches if depth == channels else 1  # rows without padding between them
    for n in range(len(images)):
        for row in range(0, patches, at_once):
            there, place = images[n] * patches + row, (n * patches + row) * channels
            part = target[place : place + at_once * depth]
            if len(single):
                copy(single[there : there + at_once].reshape(-1), part)
            else:
                half_to_single(half[there : there + at_once].reshape(-1), part)
    return target, memory


@njit(**OPTIONS)
def take_products(packed, rows, memory):
    """Memory for the products of a number of rows with a packed query.

    Returns ((wholes, singles), correlation with the global descriptor, memory left); see ``products.multiply``.
    """
    panels, singles, _ = packed
    whole, alone = len(panels) // singles.shape[1], len(singles) - 1
    wholes, memory = take(memory, rows * whole)
    apart, memory = take(memory, alone * (rows + LANES))
    correlation, memory = take(memory, rows)
    return (wholes.reshape(rows, whole), apart.reshape(alone, rows + LANES)), correlation, memory


@njit(**OPTIONS)
def pack_query(queries, query, patches, fixed, memory):
    """One of the queries, packed by ``pack``; its panels in fixed point, by ``round_panels``; and the memory left."""
    half, single, globals_ = queries
    channels = round_up(globals_.shape[1], LANES)
    rows, memory = convert_rows(half, single, np.array([query]), patches, channels, memory)
    packed, memory = pack(rows.reshape(-1, channels), patches, globals_[query], memory)
    fixed_query, memory = round_panels(packed, fixed, memory)
    return packed, fixed_query, memory


@njit(**OPTIONS)
def score_chunk(query, database, part, ahead, marginals, mode, scalars, outputs, memory):
    """Score some candidates of a query.

    ``query`` is from ``pack_query``, ``part`` a slice of the pairs, ``ahead`` the address of the next descriptors; the
    other arguments are as in ``score_tasks``, with ``marginals`` and ``outputs`` of the part.
    """
    (packed, fixed_query), (half, single, images, globals_) = query, database
    (mu, nu), (_, fixed, code), channels = marginals, mode, packed[1].shape[1]
    pairs, patches = nu.shape
    product, correlation, memory = take_products(packed, max(pairs * patches, LEAST_ROWS), memory)
    numbers, rest = convert_rows(half, single, images[part], patches, channels, memory)
    if fixed:
        multiply_fixed(numbers, packed, fixed_query, product, correlation, ahead, rest)
    else:
        multiply(numbers, packed, product, correlation)
    if code != GIVEN:
        cosines, left = take(memory, pairs * mu.shape[1])
        cosines = cosines.reshape(pairs, mu.shape[1])
        correlate(packed, globals_, images[part], cosines, left)
        fill_marginals(cosines, code, mu)
        fill_marginals(correlation[: pairs * patches].reshape(pairs, patches), code, nu)
    solve_pairs(product, nu, mu, scalars, outputs, memory)


def make_entry(sources: str) -> Any:
    """The compiled function that Python calls; ``sources`` is the digest of the files that it is made of."""

    @njit(**ENTRY)
    def score_tasks(tasks, counters, mode, queries, database, marginals, scalars, outputs, memory):
        """Score candidates: take one task after another until none is left.

        Args:
            tasks: (T, 3) query, first pair, last pair + 1.
            counters: (2,) number of tasks that threads have taken, and of pairs that need a second look.
            mode: candidates in a chunk, whether in fixed point, code of the marginals.
            queries: half (B * P, C), single (B * P, C), globals (B, C); see ``convert_rows``.
            database: half (M * Q, C), single (M * Q, C), images of the pairs (N,), globals (M, C).
            marginals: (N, P) and (N, Q), filled from the products with the global descriptors unless the code is GIVEN;
                for LEARNT they hold the weights of the patches before.
            scalars: epsilon, mass, tolerance, max_iterations.
            outputs: as in ``solve_pairs``, of N pairs.
            memory: float32 numbers, ``memory_size`` of them.
        """
        sources  # noqa: B018  makes the digest part of the cache's key
        (half, single, images, _), (mu, nu), (score, iterations, error, plan) = database, marginals, outputs
        patches, current = nu.shape[1], tasks[0, 0]
        packed, fixed_query, left = pack_query(queries, current, mu.shape[1], mode[1], memory)
        following = fetch_and_add(counters)
        while following < len(tasks):
            (query, first, last), following = tasks[following], fetch_and_add(counters)
            if query != current:
                packed, fixed_query, left = pack_query(queries, query, mu.shape[1], mode[1], memory)
                current = query
            for start in range(first, last, mode[0]):
                stop = min(start + mode[0], last)
                after = stop if stop < last else tasks[min(following, len(tasks) - 1), 1]
                row = images[after] * patches
                ahead = half[row:].ctypes.data if len(half) else single[row:].ctypes.data
                part = slice(start, stop)
                results = score[part], iterations[part], error[part], plan[part]
                sides = mu[part], nu[part]
                score_chunk((packed, fixed_query), database, part, ahead, sides, mode, scalars, results, left)
                for n in range(start, stop):
                    if iterations[n] == TOO_WIDE or iterations[n] >= scalars[3] or not np.isfinite(score[n]):
                        fetch_and_add(counters[1:])

    return score_tasks


score_tasks = make_entry(SOURCES)


@cache
def memory_size(size: int, queries: int, patches: int, channels: int) -> int:
    """How many float32 numbers ``score_tasks`` needs for chunks of ``size`` candidates and images of (P, Q, C)."""
    depth, width, rows = (next_multiple(n, LANES) for n in (channels, queries, max(size * patches, LEAST_ROWS)))
    query = (width * 5 // 2 + SINGLES + 2) * depth + width
    product = (rows + LANES) * (width + SINGLES + 1)
    work = max(rows * (2 * depth + 1), pair_memory_size(patches, queries), size * width + depth + width + 2 * LANES)
    return query + product + work + 16 * LANES


def flatten_descriptors(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches (N, Q, C) as (bits of float16 (N * Q, C), float32 (N * Q, C)); one of the two is empty."""
    rows = np.ascontiguousarray(patches).reshape(-1, patches.shape[-1])
    if rows.dtype == np.float16:
        return read_only_view(rows.view(np.uint16)), NO_SINGLE
    return NO_HALF, read_only_view(rows.astype(np.float32, copy=False))


def convert_globals(descriptors: np.ndarray) -> np.ndarray:
    """Global descriptors as contiguous float32."""
    return read_only_view(np.ascontiguousarray(descriptors, dtype=np.float32))


@njit(**ENTRY)
def make_tasks(queries, size):
    """Tasks (T, 3): query, first pair, last pair + 1. A task holds at most ``size`` pairs, all of one query.

    ``queries`` (N,) are the queries of the pairs, sorted.
    """
    tasks, count = np.empty((len(queries), 3), np.int64), 0
    for n in range(len(queries)):
        if n == 0 or queries[n] != queries[n - 1] or n - tasks[count - 1, 1] == size:
            tasks[count, 0], tasks[count, 1], count = queries[n], n, count + 1
        tasks[count - 1, 2] = n + 1
    return tasks[:count]


def score_sorted_pairs(
    images: Images[np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray] | None,
    transport: Transport,
    solver: Solver,
    plan_memory: np.ndarray | None = None,
) -> TransportResult[np.ndarray]:
    """Scores of N pairs of queries and database images, checked; the plan is (N, Q, P), database patches first.

    Args:
        images: query patches (B, P, C) and database patches (M, Q, C), float32 or float16; globals (B, C) and (M, C).
        pairs: indices of the queries (N,), sorted, and of the database images (N,).
        weights: marginals (query (N, P), database (N, Q)) in place of those of ``transport``, or None. For learnt
            marginals the weights that they are made from.
        transport: the problem.
        solver: tolerance, iterations, threads, and whether the plans are wanted.
        plan_memory: where the plans are written, at least N * Q * P float32 numbers; None takes new memory.
    """
    (_, rows, channels), (_, patches, _) = images.query_patches.shape, images.database_patches.shape
    (queries, candidates), count = pairs, len(pairs[0])
    result = empty_result((count, patches, rows), solver.plan, plan_memory)
    if count == 0:
        return result
    code = kernel_code(transport.marginals, weights is not None)
    fixed = use_fixed_point(transport.marginals, min(patches, rows), channels, weights)
    if weights is None:
        marginals = np.empty((count, rows), np.float32), np.empty((count, patches), np.float32)
    else:
        marginals = tuple(np.require(side, np.float32, ["C", "W"]) for side in weights)  # what the kernels take
        if code == LEARNT:  # they write over the weights
            marginals = tuple(side.copy() for side in marginals)
    threads = thread_count(solver.threads, count * patches * rows)
    share = -(-count // (CHUNKS_A_THREAD * threads)) if threads > 1 else count
    tasks, counters = make_tasks(queries, share), np.zeros(2, np.int64)
    chunk = max(1, min(share, CHUNK_FLOATS // (patches * (channels + rows))))
    query_side = *flatten_descriptors(images.query_patches), convert_globals(images.query_global)
    database_side = *flatten_descriptors(images.database_patches), candidates, convert_globals(images.database_global)

    def work(thread: int) -> None:
        memory = arena.take(memory_size(chunk, rows, patches, channels))
        scalars, outputs = kernel_scalars(transport, solver), tuple(result[:4])
        mode = chunk, fixed, code
        score_tasks(tasks, counters, mode, query_side, database_side, marginals, scalars, outputs, memory)

    with compile_once(score_tasks):
        run_in_threads(work, min(threads, len(tasks)))
    if counters[1]:

        def problem(wide: np.ndarray) -> tuple[np.ndarray, ...]:
            query = images.query_patches[queries[wide]].astype(np.float32)
            database = images.database_patches[candidates[wide]].astype(np.float32)
            return database @ query.swapaxes(1, 2), marginals[1][wide], marginals[0][wide]

        solve_wide_pairs(result, transport, solver, problem)
        check_result(result, solver)
    return result


def score_candidates(
    images: Images[np.ndarray],
    weights: tuple[np.ndarray, np.ndarray] | None,
    transport: Transport,
    solver: Solver,
) -> TransportResult[np.ndarray]:
    """Scores of one query (P, C) against N database images (N, Q, C).

    ``weights`` (query (N, P), database (N, Q)) replace the marginals of ``transport``, unless they are None.
    """
    query, database, query_global, database_global = images
    count, one = len(database), Images(query[None], database, query_global[None], database_global)
    result = score_sorted_pairs(one, (np.zeros(count, np.int64), np.arange(count)), weights, transport, solver)
    return result._replace(plan=result.plan.transpose(0, 2, 1) if solver.plan else None)


def score_pairs(
    images: Images[np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray] | None,
    transport: Transport,
    solver: Solver,
) -> TransportResult[np.ndarray]:
    """Scores of N pairs of images out of two sets, in any order.

    The arguments are those of ``similarity.structural_similarity_pairs``, with ``weights`` query (B, P) and database
    (M, Q), a row for each image.
    """
    queries, candidates = pairs
    order = np.argsort(queries, kind="stable")
    rising = queries[order], candidates[order]
    of_pairs = None if weights is None else (weights[0][rising[0]], weights[1][rising[1]])
    result = score_sorted_pairs(images, rising, of_pairs, transport, solver)
    back = np.argsort(order)
    return convert_result(result._replace(plan=None), lambda field: field[back])
