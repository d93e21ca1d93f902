"""Similarities of many rows of descriptors with a query's patches, compiled by numba.

The query's patches are the columns of the product. They are packed into panels, each of a few whole vectors. The few
columns beyond whole vectors, and the query's global descriptor, are multiplied one by one.
"""

from numba import njit

from vpr.transport.cpu.blocks import products, row_sums
from vpr.transport.cpu.compiling import OPTIONS, cpu_has
from vpr.transport.cpu.layout import copy, take_zeros, whole_columns
from vpr.transport.cpu.simd import LANES, store

# rows and vectors whose sums fill the registers: 24 of 32 (512 bits), 12 of 16 (256 bits), 24 of 32 (128 bits)
ROWS, VECTORS = (8, 3) if cpu_has("avx512f") else (6, 1)
LEAST_ROWS = 16  # least rows of a product

by_three, by_two, by_one = products(ROWS, VECTORS), products(ROWS, min(2, VECTORS)), products(ROWS, 1)
sums_of_rows = row_sums(LANES)


@njit(**OPTIONS)
def pack(patches, count, descriptor, memory):
    """Pack a query for products; returns ((panels, singles, patches), memory left).

    The query is the first ``count`` rows of ``patches`` (R, depth), R at least LEAST_ROWS, and the global
    ``descriptor`` (C,); ``depth`` is C padded to a multiple of 16. The panels are flat: whole vectors of columns,
    channel by channel within a panel of up to VECTORS vectors. The singles (S + 1, depth) are the other columns and,
    last, the global descriptor. The patches are returned unchanged. Panels and singles are at the start of ``memory``.
    """
    whole, depth = whole_columns(count), patches.shape[1]
    panels, memory = take_zeros(memory, whole * depth)
    for column in range(min(whole, count)):
        first = column // (VECTORS * LANES) * VECTORS * LANES
        height = min(VECTORS * LANES, whole - first)
        for k in range(depth):
            panels[first * depth + k * height + column - first] = patches[column, k]
    alone = max(count - whole, 0)
    flat, memory = take_zeros(memory, (alone + 1) * depth)
    singles = flat.reshape(alone + 1, depth)
    for row in range(alone):
        copy(patches[count - alone + row], singles[row])
    copy(descriptor, singles[alone])
    return (panels, singles, patches), memory


@njit(**OPTIONS)
def multiply_panel(rows, stride, panels, at, vectors, out, column, width):
    """Multiply all rows with one panel."""
    count = len(rows) // stride
    for block in range(0, count, ROWS):
        i = min(block, count - ROWS)  # the last block repeats some rows
        start, place = i * stride, i * width + column
        ahead = rows.ctypes.data + 4 * (i + ROWS) * stride
        if vectors == 1:
            by_one(rows, start, stride, panels, at, out, place, width, ahead)
        elif vectors == 2:
            by_two(rows, start, stride, panels, at, out, place, width, ahead)
        else:
            by_three(rows, start, stride, panels, at, out, place, width, ahead)


@njit(**OPTIONS)
def multiply_singles(rows, singles, out, correlation):
    """Multiply all rows with the singles: the other columns and the query's global descriptor; see ``multiply``."""
    stride, last, single = singles.shape[1], len(singles) - 1, singles.reshape(-1)
    count = len(rows) // stride
    for block in range(0, count, LANES):
        i = min(block, count - LANES)
        for k in range(last):
            store(out[k], i, sums_of_rows(rows, i * stride, stride, single, k * stride, stride // LANES))
        store(correlation, i, sums_of_rows(rows, i * stride, stride, single, last * stride, stride // LANES))


@njit(**OPTIONS)
def multiply(rows, packed, out, correlation):
    """Products of rows with a packed query.

    ``rows`` (R * C,) are flat, R at least LEAST_ROWS, C a multiple of 16. ``out`` is (wholes (R, whole), singles (S, R
    or more)). The products with the query's global descriptor are written to ``correlation`` (R,).
    """
    (panels, singles, _), (wholes, alone) = packed, out
    stride, whole, flat = singles.shape[1], wholes.shape[1], wholes.reshape(-1)
    for column in range(0, whole, VECTORS * LANES):
        vectors = min(VECTORS * LANES, whole - column) // LANES
        multiply_panel(rows, stride, panels, column * stride, vectors, flat, column, whole)
    multiply_singles(rows, singles, alone, correlation)


@njit(**OPTIONS)
def correlate(packed, descriptors, images, correlation, memory):
    """Products of a packed query's patches with the global descriptors of images (n,), into ``correlation`` (n, P).

    ``descriptors`` (M, C) are those of all images, and ``images`` are indices into them.
    """
    patches = packed[2]
    count, depth = patches.shape
    descriptor, memory = take_zeros(memory, depth)
    sums, _ = take_zeros(memory, count)
    for n in range(len(images)):
        copy(descriptors[images[n]], descriptor)
        for block in range(0, count, LANES):
            i = min(block, count - LANES)
            store(sums, i, sums_of_rows(patches.reshape(-1), i * depth, depth, descriptor, 0, depth // LANES))
        copy(sums[: correlation.shape[1]], correlation[n])
