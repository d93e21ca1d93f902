"""Products in 16-bit fixed point: twice as fast as float32, and as exact as scores need where many patches share the mass.

Each row of descriptors is scaled to int16 so finely that the products of a slice of 64 channels still sum up within an int32.
Rounding then errs by about 5e-6 in a single cosine, at random; a score averages over its patches and errs by 1e-6. With few
patches, or marginals that may pile up on few, float32 is used instead.
"""

import numpy as np
from llvmlite.binding import get_host_cpu_features
from numba import njit

from vpr.transport.numba_blocks import fixed_products
from vpr.transport.numba_convert import take, take_zeros
from vpr.transport.numba_math import OPTIONS
from vpr.transport.numba_products import ROWS, VECTORS, multiply_singles
from vpr.transport.numba_simd import LANES, highest, larger, load, splat, store, store_rounded, total

SLICE = 64  # channels whose products are summed in an int32
LARGEST = np.float32(32767)
LARGEST_NORM = np.float32(46300)  # of a slice: by Cauchy-Schwarz no sum of products exceeds its square, and 2^31
LEAST_PATCHES = 40  # of either image; the error of a score falls with the root of their number
LEAST_CHANNELS = 96  # below them products take too small a share of the time
SPREAD = ("uniform", "complement", "softmax")  # marginals that leave no patch with most of the mass
SUPPORTED = bool(get_host_cpu_features().get("avx512bw"))

by_three, by_two, by_one = fixed_products(ROWS, VECTORS), fixed_products(ROWS, min(2, VECTORS)), fixed_products(ROWS, 1)


def suits(kind: str | None, patches: int, channels: int) -> bool:
    """Whether fixed point serves: ``patches`` is the smaller number of the two images, ``kind`` the marginals."""
    return SUPPORTED and kind in SPREAD and patches >= LEAST_PATCHES and channels >= LEAST_CHANNELS


@njit(**OPTIONS)
def scale_of(rows, start, channels):
    """The factor that makes a row's numbers int16 and keeps the sums of its slices within int32."""
    norm, peak = np.float32(1e-12), splat(np.float32(1e-12))
    for first in range(0, channels, SLICE):
        squares = splat(np.float32(0))
        for c in range(first, min(first + SLICE, channels), LANES):
            entry = load(rows, start + c)
            squares = squares + entry * entry
            peak = larger(larger(entry, splat(np.float32(0)) - entry), peak)
        norm = max(norm, total(squares))
    return min(LARGEST / highest(peak), LARGEST_NORM / np.sqrt(norm))


@njit(**OPTIONS)
def round_row(rows, start, channels, scale, fixed):
    """Write a row times its scale as int16 to the same place of ``fixed``."""
    factor = splat(scale)
    for c in range(start, start + channels, LANES):
        store_rounded(fixed, c, load(rows, c) * factor)


@njit(**OPTIONS)
def fix_panels(query_patches, whole, channels, memory):
    """The first ``whole`` patches (P, C) as panels of int16, two channels side by side as an int32, and their common scale.

    ``channels`` is C, or more for zeros behind. The panels lie in ``memory``, the rest of which comes last.
    """
    flat, memory = take_zeros(memory, whole * channels // 2)
    row, _ = take_zeros(memory, channels)
    scale, depth = LARGEST, query_patches.shape[1]
    for column in range(whole):
        row[:depth] = query_patches[column]
        scale = min(scale, scale_of(row, 0, channels))
    fixed = flat.view(np.int16)
    for column in range(whole):
        first = column // (VECTORS * LANES) * VECTORS * LANES
        height = min(VECTORS * LANES, whole - first)
        for k in range(depth):
            place = first * channels + k // 2 * 2 * height + 2 * (column - first) + k % 2
            fixed[place] = np.int16(np.rint(query_patches[column, k] * scale))
    return (flat.view(np.int32), scale), memory


@njit(**OPTIONS)
def multiply_block(rows, i, stride, panels, at, vectors, factors, out, place, width):
    """One block of rows with one panel, slice by slice."""
    for row in range(ROWS):
        for vector in range(vectors):
            store(out, place + row * width + vector * LANES, splat(np.float32(0)))
    for first in range(0, stride, SLICE // 2):
        turns, start, there = min(SLICE // 2, stride - first), i * stride + first, at + first * vectors * LANES
        if vectors == 1:
            by_one(rows, start, stride, panels, there, turns, out, place, width, factors, i)
        elif vectors == 2:
            by_two(rows, start, stride, panels, there, turns, out, place, width, factors, i)
        else:
            by_three(rows, start, stride, panels, there, turns, out, place, width, factors, i)


@njit(**OPTIONS)
def multiply_fixed(rows, packed, fixed, out, correlation, memory):
    """As ``numba_products.multiply``, with the panels and the scale of ``fix_panels``."""
    (panels, scale), (_, singles, width) = fixed, packed
    channels = singles.shape[1]
    count, stride, whole = len(rows) // channels, channels // 2, 2 * len(panels) // channels
    numbers, memory = take(memory, count * stride)
    factors, _ = take(memory, count)
    shorts = numbers.view(np.int16)
    for row in range(count):
        fine = scale_of(rows, row * channels, channels)
        round_row(rows, row * channels, channels, fine, shorts)
        factors[row] = np.float32(1) / (fine * scale)
    pairs = numbers.view(np.int32)
    for column in range(0, whole, VECTORS * LANES):
        vectors = min(VECTORS * LANES, whole - column) // LANES
        for block in range(0, count, ROWS):
            i = min(block, count - ROWS)  # the last block reaches back over rows that were done
            multiply_block(pairs, i, stride, panels, column * stride, vectors, factors, out, i * width + column, width)
    multiply_singles(rows, singles, whole, out, width, correlation)
