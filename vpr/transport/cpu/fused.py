"""From patch descriptors to scores on the CPU: products in chunks that stay in cache, then transport."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from vpr.transport.cpu.backend import compiled_settings, empty_result, finish_wide
from vpr.transport.cpu.compiling import ENTRY, OPTIONS, SOURCES, compiling_alone
from vpr.transport.cpu.convert import chunk_weights, half_to_single
from vpr.transport.cpu.fixed import fix_panels, multiply_fixed, suits
from vpr.transport.cpu.layout import SINGLES, consecutive, copy, padded, take
from vpr.transport.cpu.products import LEAST_ROWS, correlate, multiply, pack
from vpr.transport.cpu.simd import LANES, draw_number
from vpr.transport.cpu.solver import pair_memory, solve_pairs
from vpr.transport.cpu.threads import arena, in_threads, thread_count
from vpr.transport.marginals import CODES, GIVEN
from vpr.transport.problem import TOO_WIDE, Settings, TransportResult, check_result

CHUNK_FLOATS = 1 << 17  # float32 numbers of descriptors and similarities in a chunk: half a MiB, about half of L2
CHUNKS_A_THREAD = 8  # at least, where there are several threads: candidates take unequal time


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written. Numba compiles anew for arrays that can be, so all inputs are made to be of one
    kind, that of memory maps."""
    view = array.view()
    view.flags.writeable = False
    return view


NO_HALF, NO_SINGLE = read_only(np.empty((0, 0), np.uint16)), read_only(np.empty((0, 0), np.float32))


@njit(**OPTIONS)
def single_rows(half, single, images, patches, channels, memory):
    """The rows of some images as flat float32, at least LEAST_ROWS of them, and the memory left.

    Descriptors are in ``half`` (R, C), the bits of float16, or in ``single`` (R, C) float32; the other array has no
    rows. An image has ``patches`` rows. ``channels`` is C, or more for zeros behind each row.
    """
    count, depth = len(images) * patches, max(half.shape[1], single.shape[1])
    first, fits = images[0] * patches, depth == channels and count >= LEAST_ROWS
    if fits and len(single) and consecutive(images):
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
def product_arrays(packed, rows, memory):
    """Room for the products of so many rows with a packed query, and the memory left.

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
    """One of the queries as made by ``pack`` and, in fixed point, by ``fix_panels``, and the memory left."""
    half, single, globals_ = queries
    channels = padded(globals_.shape[1], LANES)
    rows, memory = single_rows(half, single, np.array([query]), patches, channels, memory)
    packed, memory = pack(rows.reshape(-1, channels), patches, globals_[query], memory)
    fixed_query, memory = fix_panels(packed, fixed, memory)
    return packed, fixed_query, memory


@njit(**OPTIONS)
def score_chunk(query, database, part, ahead, marginals, how, settings, outputs, memory):
    """Score some candidates of a query.

    ``query`` is from ``pack_query``, ``part`` a slice of the pairs, ``ahead`` the address of the descriptors that come
    next; the other arguments are as in ``score_tasks``, ``marginals`` and ``outputs`` those of the part.
    """
    (packed, fixed_query), (half, single, images, globals_) = query, database
    (mu, nu), (_, fixed, code), channels = marginals, how, packed[1].shape[1]
    pairs, patches = nu.shape
    product, correlation, memory = product_arrays(packed, max(pairs * patches, LEAST_ROWS), memory)
    numbers, rest = single_rows(half, single, images[part], patches, channels, memory)
    if fixed:
        multiply_fixed(numbers, packed, fixed_query, product, correlation, ahead, rest)
    else:
        multiply(numbers, packed, product, correlation)
    if code != GIVEN:
        correlate(packed, globals_, images[part], mu, memory)
        chunk_weights(mu, code, mu)
        chunk_weights(correlation[: pairs * patches].reshape(pairs, patches), code, nu)
    solve_pairs(product, nu, mu, settings, outputs, memory)


def entry(sources: str) -> Any:
    """The compiled function that ``score`` calls; ``sources`` is the digest of the files that it is made of."""

    @njit(**ENTRY)
    def score_tasks(tasks, counters, how, queries, database, marginals, settings, outputs, memory):
        """Score candidates: draw one task after another until no thread has left any.

        Args:
            tasks: (T, 3) query, first pair, last pair + 1.
            counters: (2,) tasks drawn so far, and pairs to look at again.
            how: candidates in a chunk, whether in fixed point, code of the marginals.
            queries: half (B * P, C), single (B * P, C), globals (B, C); see ``single_rows``.
            database: half (M * Q, C), single (M * Q, C), images of the pairs (N,), globals (M, C).
            marginals: (N, P) and (N, Q), filled from the products with the global descriptors unless the code is GIVEN.
            settings: epsilon, mass, tolerance, max_iterations.
            outputs: as in ``solve_pairs``, of N pairs.
            memory: as many float32 numbers as ``memory_needed`` says.
        """
        sources  # noqa: B018  makes the digest part of the cache's key
        (half, single, images, _), (mu, nu), (score, iterations, error, plan) = database, marginals, outputs
        patches, current = nu.shape[1], tasks[0, 0]
        packed, fixed_query, left = pack_query(queries, current, mu.shape[1], how[1], memory)
        following = draw_number(counters)
        while following < len(tasks):
            (query, first, last), following = tasks[following], draw_number(counters)
            if query != current:
                packed, fixed_query, left = pack_query(queries, query, mu.shape[1], how[1], memory)
                current = query
            for start in range(first, last, how[0]):
                stop = min(start + how[0], last)
                after = stop if stop < last else tasks[min(following, len(tasks) - 1), 1]
                row = images[after] * patches
                ahead = half[row:].ctypes.data if len(half) else single[row:].ctypes.data
                part = slice(start, stop)
                results = score[part], iterations[part], error[part], plan[part]
                sides = mu[part], nu[part]
                score_chunk((packed, fixed_query), database, part, ahead, sides, how, settings, results, left)
                for n in range(start, stop):
                    if iterations[n] == TOO_WIDE or iterations[n] >= settings[3] or not np.isfinite(score[n]):
                        draw_number(counters[1:])

    return score_tasks


score_tasks = entry(SOURCES)


@cache
def memory_needed(size: int, queries: int, patches: int, channels: int) -> int:
    """How many float32 numbers ``score_tasks`` needs for chunks of ``size`` candidates and images of (P, Q, C)."""
    depth, width, rows = (padded(n, LANES) for n in (channels, queries, max(size * patches, LEAST_ROWS)))
    query = (width * 5 // 2 + SINGLES + 2) * depth + width
    product = (rows + LANES) * (width + SINGLES + 1)
    work = max(rows * (2 * depth + 1), pair_memory(patches, queries), depth + width)
    return query + product + work + 16 * LANES


def flat_descriptors(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches (N, Q, C) as (bits of float16 (N * Q, C), float32 (N * Q, C)); one of the two is empty."""
    rows = np.ascontiguousarray(patches).reshape(-1, patches.shape[-1])
    if rows.dtype == np.float16:
        return read_only(rows.view(np.uint16)), NO_SINGLE
    return NO_HALF, read_only(rows.astype(np.float32, copy=False))


def single_globals(descriptors: np.ndarray) -> np.ndarray:
    """Global descriptors as contiguous float32."""
    return read_only(np.ascontiguousarray(descriptors, dtype=np.float32))


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


def score(
    queries: tuple[np.ndarray, np.ndarray],
    database: tuple[np.ndarray, np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray],
    kind: str | None,
    weights: tuple[np.ndarray, np.ndarray] | None,
    settings: Settings,
) -> TransportResult:
    """Scores of N pairs of queries and database images, checked; its plan is (N, Q, P), database patches first.

    Args:
        queries: patches (B, P, C) float32 or float16, globals (B, C).
        database: patches (M, Q, C) float32 or float16, globals (M, C).
        pairs: indices of the queries (N,), sorted, and of the database images (N,).
        kind: marginals, or None when ``weights`` are given.
        weights: marginals (query (N, P), database (N, Q)), or None.
        settings: of the solver.
    """
    (_, rows, channels), (_, patches, _) = queries[0].shape, database[0].shape
    (own, images), count = pairs, len(pairs[0])
    result = empty_result((count, patches, rows), settings.plan)
    if count == 0:
        return result
    if weights is None:
        marginals = np.empty((count, rows), np.float32), np.empty((count, patches), np.float32)
    else:
        marginals = tuple(np.require(side, np.float32, ["C", "W"]) for side in weights)  # the kernels take no other
    fixed = weights is None and suits(kind, min(patches, rows), channels)
    threads = thread_count(settings, count * patches * rows)
    share = -(-count // (CHUNKS_A_THREAD * threads)) if threads > 1 else count
    tasks, counters = make_tasks(own, share), np.zeros(2, np.int64)
    how = (
        max(1, min(share, CHUNK_FLOATS // (patches * (channels + rows)))),
        fixed,
        GIVEN if kind is None else CODES[kind],
    )
    sides = (*flat_descriptors(queries[0]), single_globals(queries[1])), (
        *flat_descriptors(database[0]), images, single_globals(database[1]),
    )  # fmt: skip

    def work(thread: int) -> None:
        memory = arena.take(memory_needed(how[0], rows, patches, channels))
        score_tasks(tasks, counters, how, *sides, marginals, compiled_settings(settings), tuple(result[:4]), memory)

    with compiling_alone(score_tasks):
        in_threads(work, min(threads, len(tasks)))
    if counters[1]:

        def problem(wide: np.ndarray) -> tuple[np.ndarray, ...]:
            one, other = (
                side[0][index[wide]].astype(np.float32) for side, index in ((queries, own), (database, images))
            )
            return other @ one.swapaxes(1, 2), marginals[1][wide], marginals[0][wide]

        finish_wide(result, settings, problem)
        check_result(result, settings)
    return result


def structural(
    query_patches: np.ndarray,
    database_patches: np.ndarray,
    query_global: np.ndarray,
    database_global: np.ndarray,
    kind: str | None,
    weights: tuple[np.ndarray, np.ndarray] | None,
    settings: Settings,
) -> TransportResult:
    """Scores of one query (P, C) against N database images (N, Q, C).

    ``kind`` is None when ``weights`` (query (N, P), database (N, Q)) are given.
    """
    queries, database = (query_patches[None], query_global[None]), (database_patches, database_global)
    count = len(database_patches)
    result = score(queries, database, (np.zeros(count, np.int64), np.arange(count)), kind, weights, settings)
    return result._replace(plan=result.plan.transpose(0, 2, 1) if settings.plan else None)


def structural_pairs(
    sources: Sequence[np.ndarray],
    pairs: Sequence[np.ndarray],
    kind: str,
    weights: tuple[np.ndarray, np.ndarray] | None,
    settings: Settings,
) -> TransportResult:
    """Scores of N pairs of images out of two sets, in any order.

    ``sources``, ``pairs`` and ``weights``, query (B, P) and database (M, Q), are as in
    ``similarity.structural_similarity_pairs``.
    """
    query_patches, database_patches, query_global, database_global = sources
    queries, images = pairs
    order = np.argsort(queries, kind="stable")
    rising, sides = (
        (queries[order], images[order]),
        ((query_patches, query_global), (database_patches, database_global)),
    )
    of_pairs = None if weights is None else (weights[0][rising[0]], weights[1][rising[1]])
    result = score(*sides, rising, kind if weights is None else None, of_pairs, settings)
    back = np.argsort(order)
    return result._replace(plan=None).mapped(lambda field: field[back])
