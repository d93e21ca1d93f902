"""The kernel K = exp((S - max S) / epsilon) of one pair in L1 cache, and the sums over it, compiled by numba.

K is (blocks, singles). ``blocks`` holds the columns that fill whole vectors of 16 numbers. Its rows are padded with
zeros to whole blocks: first blocks of MANY rows, then blocks of FEW rows. It is a flat array, block after block; a
block holds the first vector of each of its rows, then the second of each, and so on. ``singles`` (S, tall) holds the
few other columns one after the other, padded with zeros to whole vectors of rows.

Scalings and marginals of the rows are one vector longer than the rows. Those of the columns end with a vector for the
singles. Similarities are the same two parts, without blocks and padding.
"""

import numpy as np
from numba import njit

from vpr.transport.cpu.blocks import add_rows, row_sums
from vpr.transport.cpu.compiling import OPTIONS, cpu_has
from vpr.transport.cpu.layout import round_up
from vpr.transport.cpu.simd import (
    LANES,
    load,
    load_four,
    max_lanes,
    maximum,
    min_lanes,
    minimum,
    scale_by_two,
    select_positive,
    splat,
    store,
    store_four,
    sum_lanes,
)
from vpr.transport.problem import KEEP, LEVEL_STEP, TINY

MANY = 16 if cpu_has("avx512f") else 4  # rows whose sums fit into the registers
FEW = 4  # the rows of a kernel are a multiple of it
TINY32, KEEP32 = np.float32(TINY), np.float32(KEEP)
LOG2E = np.float32(1.4426950408889634)
ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer
SMALLEST = np.float32(-125.0)  # smallest exponent; smaller powers of two are not normal float32 numbers
# 2^f = 1 + sum_k POWER[k] f^(k+1), fitted for |f| <= 1/2
POWER = tuple(
    map(
        np.float32,
        (0.6931470036506653, 0.24022242426872253, 0.05550733581185341, 0.009671512991189957, 0.0013264731969684362),
    )
)

sums_of_many, sums_of_few = row_sums(MANY, MANY), row_sums(FEW, FEW)
add_many, add_few = add_rows(MANY, MANY), add_rows(FEW, FEW)


@njit(**OPTIONS)
def power(x):
    """2^x of 16 float32 x <= 0, relative error at most 2e-7; below -125 it stays at 2^-125."""
    x = maximum(x, splat(SMALLEST))
    rounded = x + splat(ROUND)
    f = x - (rounded - splat(ROUND))
    p = splat(POWER[4]) * f + splat(POWER[3])
    p = p * f + splat(POWER[2])
    p = p * f + splat(POWER[1])
    p = p * f + splat(POWER[0])
    return scale_by_two(p * f + splat(np.float32(1)), rounded)


@njit(**OPTIONS)
def span(similarity, masks):
    """Smallest and largest similarity of a pair; the ``masks`` of columns and rows are 1 at patches, 0 at padding."""
    (wholes, singles), (columns, rows) = similarity, masks
    first = splat(wholes[0, 0])
    low, high = first, first
    for c in range(0, wholes.shape[1], LANES):
        mask, least, most = load(columns, c), first, first
        for i in range(wholes.shape[0]):
            entry = select_positive(mask, load(wholes[i], c), first)
            least, most = minimum(entry, least), maximum(entry, most)
        low, high = minimum(least, low), maximum(most, high)
    for k in range(len(singles)):
        for i in range(0, wholes.shape[0], LANES):
            entry = select_positive(load(rows, i), load(singles[k], i), first)
            low, high = minimum(entry, low), maximum(entry, high)
    return min_lanes(low), max_lanes(high)


@njit(**OPTIONS)
def row_place(i, rows, width):
    """Index of the first number of row i of a kernel, and the distance between its vectors.

    ``rows`` and ``width`` are those of the kernel.
    """
    first, height = i // MANY * MANY, MANY
    if first + MANY > rows:
        first, height = i // FEW * FEW, FEW
    return first * width + (i - first) * LANES, height * LANES


@njit(**OPTIONS)
def fill_kernel(similarity, masks, top, epsilon, kernel):
    """Fill the kernel with exp((similarity - top) / epsilon), and with zeros at the zeros of the masks."""
    (wholes, singles), (columns, rows), (blocks, alone) = similarity, masks, kernel
    scale = splat(LOG2E / epsilon)
    shift = splat(np.float32(-top) * (LOG2E / epsilon))
    (count, whole), zero = wholes.shape, splat(np.float32(0))
    for i in range(count):
        place, apart = row_place(i, round_up(count, FEW), whole)
        for c in range(0, whole, LANES):
            entry = power(load(wholes[i], c) * scale + shift)
            store(blocks, place + c // LANES * apart, select_positive(load(columns, c), entry, zero))
    for k in range(len(singles)):
        for i in range(0, count, LANES):
            entry = power(load(singles[k], i) * scale + shift)
            # the numbers behind the last row are undefined
            store(alone[k], i, select_positive(load(rows, i), entry, zero))


@njit(**OPTIONS)
def relax(old, new, omega):
    """Over-relaxed step from ``old`` towards ``new``, kept positive."""
    return maximum(old + omega * (new - old), splat(KEEP32) * new)


@njit(**OPTIONS)
def distance(a, b):
    """abs(a - b), lane by lane."""
    return maximum(a - b, b - a)


@njit(**OPTIONS)
def add_singles(alone, v, i, sums):
    """The sums of rows i to i + 15, plus the singles' part of K v."""
    for k in range(len(alone)):
        sums = sums + load(alone[k], i) * splat(v[len(v) - LANES + k])
    return sums


@njit(**OPTIONS)
def sum_singles(alone, u, columns):
    """Write the singles' part of K^T u to the end of ``columns``."""
    for k in range(len(alone)):
        sums = splat(np.float32(0))
        for i in range(0, alone.shape[1], LANES):
            sums = sums + load(alone[k], i) * load(u, i)
        columns[len(columns) - LANES + k] = sum_lanes(sums)


@njit(**OPTIONS)
def multiply_rows(kernel, v, sums):
    """Write K v into ``sums``."""
    blocks, alone = kernel
    rows = len(sums) - LANES
    whole = len(blocks) // rows
    i = 0
    while i + MANY <= rows:
        part = add_singles(alone, v, i, sums_of_many(blocks, i * whole, LANES, v, 0, whole // LANES))
        if MANY == LANES:
            store(sums, i, part)
        else:
            store_four(sums, i, part)
        i += MANY
    while i < rows:
        part = sums_of_few(blocks, i * whole, LANES, v, 0, whole // LANES)
        store_four(sums, i, add_singles(alone, v, i, part))
        i += FEW


@njit(**OPTIONS)
def multiply_columns(kernel, u, sums):
    """Write K^T u into ``sums``."""
    blocks, alone = kernel
    sums[:] = np.float32(0)
    rows = len(u) - LANES
    whole = len(blocks) // rows
    i = 0
    while i + MANY <= rows:
        add_many(blocks, i * whole, LANES, u, i, sums, whole // LANES)
        i += MANY
    while i < rows:
        add_few(blocks, i * whole, LANES, u, i, sums, whole // LANES)
        i += FEW
    sum_singles(alone, u, sums)


@njit(**OPTIONS)
def sweep(kernel, mu, v, omega, u, columns):
    """Relax u towards mu / (K v) and write K^T u into ``columns``, in one pass over K.

    Returns the L1 violation of the row constraints by the former u.
    """
    blocks, alone = kernel
    rows, omega = len(u) - LANES, splat(omega)
    whole = len(blocks) // rows
    count = whole // LANES
    tiny, violation = splat(TINY32), splat(np.float32(0))
    columns[:] = np.float32(0)
    i = 0
    if MANY == LANES and rows >= MANY:
        following = sums_of_many(blocks, 0, LANES, v, 0, count)
        while i + MANY <= rows:  # the processor adds up the next block while it divides for this one
            sums = add_singles(alone, v, i, following)
            if i + 2 * MANY <= rows:
                following = sums_of_many(blocks, (i + MANY) * whole, LANES, v, 0, count)
            old, weights = load(u, i), load(mu, i)
            violation = violation + distance(old * sums, weights)
            store(u, i, relax(old, weights / maximum(sums, tiny), omega))
            add_many(blocks, i * whole, LANES, u, i, columns, count)
            i += MANY
    while i < rows:
        sums = add_singles(alone, v, i, sums_of_few(blocks, i * whole, LANES, v, 0, count))
        old, weights = load_four(u, i), load_four(mu, i)
        violation = violation + distance(old * sums, weights)
        store_four(u, i, relax(old, weights / maximum(sums, tiny), omega))
        add_few(blocks, i * whole, LANES, u, i, columns, count)
        i += FEW
    sum_singles(alone, u, columns)
    return sum_lanes(violation)


@njit(**OPTIONS)
def relax_towards(scaling, sums, weights, omega):
    """Relax ``scaling`` towards weights / sums."""
    omega, tiny = splat(omega), splat(TINY32)
    for c in range(0, len(sums), LANES):
        new = load(weights, c) / maximum(load(sums, c), tiny)
        store(scaling, c, relax(load(scaling, c), new, omega))


@njit(**OPTIONS)
def water_level(sums, weights, stop, mass, level):
    """The level at which sum_i min(level * sums_i, weights_i) = mass, by Newton's method from a first guess.

    The sum is concave, so a first step from any guess lands below the root, and later steps rise. ``stop`` is the end
    of the last whole vector.
    """
    zero, first = splat(np.float32(0)), True
    while True:
        given, free = zero, zero
        for i in range(0, stop, LANES):
            part, most = load(sums, i), load(weights, i)
            room = most - splat(level) * part
            given = given + select_positive(room, zero, most)
            free = free + select_positive(room, part, zero)
        following = (mass - sum_lanes(given)) / max(sum_lanes(free), TINY32)
        if first and abs(following - level) <= np.float32(LEVEL_STEP) * level:
            return level
        if not (first or following > level * np.float32(1 + LEVEL_STEP)):
            return level
        level, first = following, False


@njit(**OPTIONS)
def relax_capped(scaling, sums, weights, stop, level, omega):
    """Relax ``scaling`` towards min(1, weights / (level sums)), at most to 1."""
    omega, tiny, one = splat(omega), splat(TINY32), splat(np.float32(1))
    for i in range(0, stop, LANES):
        target = minimum(one, load(weights, i) / maximum(splat(level) * load(sums, i), tiny))
        store(scaling, i, minimum(one, relax(load(scaling, i), target, omega)))


@njit(**OPTIONS)
def misfit(scaling, sums, weights, stop, level, target):
    """L1 distance of the mass of the rows, level * scaling * sums, from min(target * sums, weights)."""
    result = splat(np.float32(0))
    for i in range(0, stop, LANES):
        part = load(sums, i)
        given = splat(level) * load(scaling, i) * part
        result = result + distance(given, minimum(splat(target) * part, load(weights, i)))
    return sum_lanes(result)


@njit(**OPTIONS)
def gain(similarity, masks, kernel, u, v):
    """The sum over i, j of S_ij u_i K_ij v_j."""
    (wholes, singles), (blocks, alone) = similarity, kernel
    (count, whole), score = wholes.shape, splat(np.float32(0))
    for i in range(count):
        row = splat(np.float32(0))
        place, apart = row_place(i, round_up(count, FEW), whole)
        for c in range(0, whole, LANES):
            row = row + load(wholes[i], c) * (load(blocks, place + c // LANES * apart) * load(v, c))
        score = score + row * splat(u[i])
    for k in range(len(singles)):
        column = splat(np.float32(0))
        for i in range(0, count, LANES):
            entry = select_positive(load(masks[1], i), load(singles[k], i), splat(np.float32(0)))
            column = column + entry * (load(alone[k], i) * load(u, i))
        score = score + column * splat(v[whole + k])
    return sum_lanes(score)


@njit(**OPTIONS)
def write_plan(kernel, u, v, level, plan):
    """Write level diag(u) K diag(v) into ``plan`` (P, Q)."""
    (blocks, alone), (count, columns) = kernel, plan.shape
    whole = len(blocks) // round_up(count, FEW)
    for i in range(count):
        place, apart = row_place(i, round_up(count, FEW), whole)
        vectors, factor = min(whole, columns) // LANES, level * u[i]
        for c in range(vectors):  # a store of the last vector may not go beyond the row
            store(plan[i], c * LANES, splat(factor) * load(blocks, place + c * apart) * load(v, c * LANES))
        for j in range(vectors * LANES, columns):
            entry = blocks[place + j // LANES * apart + j % LANES] if j < whole else alone[j - whole, i]
            plan[i, j] = factor * entry * v[j]
