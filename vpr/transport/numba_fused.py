"""From patch descriptors to scores on the CPU: products in chunks that stay in cache, then transport."""

from functools import cache

import numpy as np
from numba import njit

from vpr.transport.numba_backend import compiled_settings, empty_result, finish_wide
from vpr.transport.numba_convert import chunk_weights, half_to_single
from vpr.transport.numba_fixed import fix_panels, multiply_fixed, suits
from vpr.transport.numba_layout import SINGLES, padded, take
from vpr.transport.numba_math import ENTRY, OPTIONS, SOURCES
from vpr.transport.numba_products import LEAST_ROWS, correlate, multiply, pack
from vpr.transport.numba_simd import LANES, draw_number
from vpr.transport.numba_solver import TOO_WIDE, pair_memory, solve_pairs
from vpr.transport.numba_threads import arena, in_threads, thread_count
from vpr.transport.problem import Settings, check_result

CHUNK_FLOATS = 1 << 17  # float32 numbers of descriptors and similarities in a chunk: half a MiB, about half of L2
CHUNKS_A_THREAD = 8  # at least, where there are several: candidates take unequal time
CODES = {"uniform": 0, "relevancy": 1, "inverse": 2, "complement": 3, "softmax": 4}
NO_HALF, NO_SINGLE = np.empty((0, 0), np.uint16), np.empty((0, 0), np.float32)
GIVEN = -1  # instead of a code: the marginals are there


@njit(**OPTIONS)
def single_rows(half, single, images, patches, channels, memory):
    """The rows of some images as flat float32, at least LEAST_ROWS of them, and the memory left.

    Descriptors are in ``half`` (R, C), the bits of float16, or in ``single`` (R, C) float32, ``patches`` rows an image; the
    other array has no rows. ``channels`` is C, or more for zeros behind each row.
    """
    count, depth = len(images) * patches, max(half.shape[1], single.shape[1])
    first, fits = images[0] * patches, depth == channels and count >= LEAST_ROWS
    if fits and len(single) and images[-1] - images[0] + 1 == len(images) and (np.diff(images) == 1).all():
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
                part[:] = single[there : there + at_once].reshape(-1)
            else:
                half_to_single(half[there : there + at_once].reshape(-1), part)
    return target, memory


@njit(**OPTIONS)
def product_arrays(packed, rows, memory):
    """Room for the products of so many rows: the two parts, the correlation with the global descriptor, the memory left."""
    panels, singles, _ = packed
    whole, alone = len(panels) // singles.shape[1], len(singles) - 1
    wholes, memory = take(memory, rows * whole)
    apart, memory = take(memory, alone * (rows + LANES))
    correlation, memory = take(memory, rows)
    return (wholes.reshape(rows, whole), apart.reshape(alone, rows + LANES)), correlation, memory


def entry(sources):
    """The compiled function that ``structural`` calls; ``sources`` is the digest of what it is made of."""

    @njit(**ENTRY)
    def score_chunks(chunks, query, database, marginals, code, settings, outputs, memory):
        """Score chunks of candidates, a chunk at a time as other threads leave them.

        ``chunks`` = (counters (2,): chunks drawn so far, pairs to look at again; size of a chunk; whether in fixed point);
        ``query`` = (patches (P, C), global (C,)); ``database`` = (half (M * Q, C), single (M * Q, C), images (N,), globals
        (N, C)); ``marginals`` (N, P) and (N, Q) are filled from the similarities with the global descriptors unless
        ``code`` is GIVEN; ``outputs`` as in ``solve_pairs``; ``memory`` has room for ``memory_needed`` numbers.
        """
        sources  # noqa: B018: makes it part of the cache's key
        counters, size, fixed = chunks
        half, single, images, globals_ = database
        mu, nu = marginals
        score, iterations, error, plan = outputs
        packed, memory = pack(*query, memory)
        (pairs, patches), channels = nu.shape, packed[1].shape[1]
        fixed_query, memory = fix_panels(packed, memory)
        following = draw_number(counters) * size
        while following < pairs:
            start, following = following, draw_number(counters) * size
            stop, next_row = min(start + size, pairs), images[min(following, pairs - 1)] * patches
            ahead = half[next_row:].ctypes.data if len(half) else single[next_row:].ctypes.data
            product, correlation, left = product_arrays(packed, max((stop - start) * patches, LEAST_ROWS), memory)
            numbers, more = single_rows(half, single, images[start:stop], patches, channels, left)
            if fixed:
                multiply_fixed(numbers, packed, fixed_query, product, correlation, ahead, more)
            else:
                multiply(numbers, packed, product, correlation)
            if code != GIVEN:
                correlate(packed, globals_[start:stop], mu[start:stop], left)
                chunk_weights(mu[start:stop], code, mu[start:stop])
                chunk_weights(correlation[: (stop - start) * patches].reshape(-1, patches), code, nu[start:stop])
            results = score[start:stop], iterations[start:stop], error[start:stop], plan[start:stop]
            solve_pairs(product, nu[start:stop], mu[start:stop], settings, results, left)
            for n in range(start, stop):
                if iterations[n] == TOO_WIDE or iterations[n] >= settings[3] or not np.isfinite(score[n]):
                    draw_number(counters[1:])

    return score_chunks


score_chunks = entry(SOURCES)


@cache
def memory_needed(size: int, queries: int, patches: int, channels: int) -> int:
    """Float32 numbers that ``score_chunks`` needs for chunks of ``size`` candidates; the rest is (P, Q, C)."""
    depth, width, rows = (padded(n, LANES) for n in (channels, queries, max(size * patches, LEAST_ROWS)))
    query = (width * 5 // 2 + SINGLES + 2) * depth + width
    product = (rows + LANES) * (width + SINGLES + 1)
    work = max(rows * (2 * depth + 1), pair_memory(patches, queries), depth + width)
    return query + product + work + 16 * LANES


def flat_descriptors(patches):
    """Patches (N, Q, C) as (bits of float16 (N * Q, C), float32 (N * Q, C)), one of them empty."""
    rows = np.ascontiguousarray(patches).reshape(-1, patches.shape[-1])
    if rows.dtype == np.float16:
        return rows.view(np.uint16), NO_SINGLE
    return NO_HALF, rows.astype(np.float32, copy=False)


def structural(
    query_patches, database_patches, query_global, database_global, kind, weights, settings: Settings, candidates=None
):
    """Scores of one query (P, C) against N candidates (N, Q, C), float32 or float16; ``database_global`` is (N, C).

    The product is laid out database patch by query patch, so the plan is transposed on the way out; the
    query's global descriptor rides along as one more column and yields the database's marginals. The result is checked.

    Parameters
    ----------
    kind : marginals, or None when ``weights`` (query (N, P), database (N, Q)) are given
    candidates : (N,) int64 indices of the candidates among database images (M, Q, C); None for all in order
    """
    (images, patches, channels), queries = database_patches.shape, len(query_patches)
    candidates = np.arange(images) if candidates is None else candidates
    pairs = len(candidates)
    query = tuple(np.ascontiguousarray(side, dtype=np.float32) for side in (query_patches, query_global))
    result = empty_result((pairs, patches, queries), settings.plan)
    database = *flat_descriptors(database_patches), candidates, np.ascontiguousarray(database_global, dtype=np.float32)
    if weights is None:
        marginals = np.empty((pairs, queries), np.float32), np.empty((pairs, patches), np.float32)
    else:
        marginals = tuple(np.ascontiguousarray(side, dtype=np.float32) for side in weights)
    code, values = CODES[kind] if weights is None else GIVEN, compiled_settings(settings)
    fixed = weights is None and suits(kind, min(patches, queries), channels)
    threads = thread_count(settings, pairs * patches * queries)
    share = -(-pairs // (CHUNKS_A_THREAD * threads)) if threads > 1 else pairs
    size = max(1, min(CHUNK_FLOATS // (patches * (channels + queries)), share))
    counters, outputs = np.zeros(2, np.int64), tuple(result[:4])

    def work(thread: int) -> None:
        memory = arena.take(memory_needed(size, queries, patches, channels))
        score_chunks((counters, size, fixed), query, database, marginals, code, values, outputs, memory)

    in_threads(work, threads)
    if counters[1]:
        finish_wide(
            result, settings,
            lambda wide: (database_patches[candidates[wide]].astype(np.float32) @ query[0].T, marginals[1][wide], marginals[0][wide]),
        )  # fmt: skip
        check_result(result, settings)
    return result._replace(plan=result.plan.transpose(0, 2, 1)) if settings.plan else result._replace(plan=None)
