"""Products in 16-bit fixed point: twice as fast as float32.

Each row of descriptors is scaled to int16. The scale is the largest with which a sum of products over a slice of the
channels fits into an int32. Rounding errs by about 5e-6 in a single cosine, at random. A score averages over its
patches and errs by 1e-6. This is exact enough if many patches share the mass. If there are few patches, or if the
marginals may give most of the mass to few patches, float32 is used instead.
"""

import numpy as np
from numba import njit

from vpr.transport.cpu.blocks import fixed_products, row_extents
from vpr.transport.cpu.compiling import OPTIONS, cpu_has
from vpr.transport.cpu.layout import take, take_zeros
from vpr.transport.cpu.products import ROWS, VECTORS, multiply_singles
from vpr.transport.cpu.simd import LANES, load, maximum, minimum, splat, square_root, store, store_rounded
from vpr.transport.marginals import Marginals

SHORT_SLICE, LONG_SLICE = 64, 128  # channels whose products are summed in an int32
LONG_FROM = 256  # minimum channels for long slices, which are faster; with fewer channels they are too coarse
LARGEST = np.float32(32767)
LARGEST_NORM = np.float32(46300)  # of a slice: no sum of products exceeds its square (Cauchy-Schwarz), 2.144e9 < 2^31
LEAST_PATCHES = 40  # of either image; the error of a score falls with the root of their number
LEAST_CHANNELS = 96  # with fewer, products take too small a share of the time
SPREAD = ("uniform", "complement", "softmax")  # marginals that leave no patch with most of the mass
MOST_WEIGHT = 8.0  # of a patch, as a multiple of an equal share, with which learnt marginals are such ones too
SUPPORTED = cpu_has("avx512bw") and cpu_has("avx512vnni")  # without them float32 is as fast

sums_of_squares, largest_magnitudes = row_extents(False), row_extents(True)
by_three, by_two, by_one = fixed_products(ROWS, VECTORS), fixed_products(ROWS, min(2, VECTORS)), fixed_products(ROWS, 1)


def use_fixed_point(
    kind: Marginals, patches: int, channels: int, weights: tuple[np.ndarray, np.ndarray] | None = None
) -> bool:
    """Whether fixed point is faster and exact enough; ``patches`` is the smaller number of the two images.

    weights: (N, P) and (N, Q), rows of sum 1, of learnt marginals, or marginals that are given; None for others.
    """
    if not (SUPPORTED and patches >= LEAST_PATCHES and channels >= LEAST_CHANNELS):
        return False
    if weights is None:
        return kind in SPREAD
    return kind == "learnt" and all(side.max() * side.shape[1] <= MOST_WEIGHT for side in weights)


@njit(**OPTIONS)
def slice_width(channels):
    """Channels in a slice."""
    return LONG_SLICE if channels >= LONG_FROM else SHORT_SLICE


@njit(**OPTIONS)
def find_scales(rows, channels, scales):
    """Fill ``scales`` (R,): for each row the factor by which its numbers fit int16, and the sums of its slices int32.

    The factor of a row with NaN or infinity is NaN.
    """
    count, width, least = len(rows) // channels, slice_width(channels), splat(np.float32(1e-24))
    for block in range(0, count, LANES):
        i = min(block, count - LANES)
        peak = largest_magnitudes(rows, i * channels, channels, channels // LANES)
        norm, everything = least, splat(np.float32(0))
        for first in range(0, channels, width):
            part = sums_of_squares(rows, i * channels + first, channels, min(width, channels - first) // LANES)
            norm, everything = maximum(part, norm), everything + part
        fine = minimum(
            splat(LARGEST * LARGEST) / maximum(peak * peak, least), splat(LARGEST_NORM * LARGEST_NORM) / norm
        )
        store(scales, i, square_root(fine) + everything * splat(np.float32(0)))


@njit(**OPTIONS)
def round_rows(rows, channels, scales, fixed):
    """Write rows times their scales, rounded to int16, to the same places of ``fixed``."""
    for row in range(len(rows) // channels):
        scale = splat(scales[row])
        for c in range(row * channels, (row + 1) * channels, LANES):
            store_rounded(fixed, c, load(rows, c) * scale)


@njit(**OPTIONS)
def round_panels(packed, wanted, memory):
    """((panels, scale), memory left): the panels of a packed query in int16, and the scale of all their numbers.

    An int32 holds two neighbouring channels. The panels are at the start of ``memory``; they are empty unless
    ``wanted``.
    """
    panels, _, patches = packed
    if not wanted:
        return (memory[:0].view(np.int32), LARGEST), memory
    channels = patches.shape[1]
    flat, memory = take_zeros(memory, len(panels) // 2)
    scales, _ = take(memory, len(patches))
    find_scales(patches.reshape(-1), channels, scales)
    scale = scales.min() + np.float32(0) * scales.sum()  # NaN if any is
    fixed, whole = flat.view(np.int16), len(panels) // channels
    for column in range(min(whole, len(patches))):
        first = column // (VECTORS * LANES) * VECTORS * LANES
        height = min(VECTORS * LANES, whole - first)
        for k in range(channels):
            place = first * channels + k // 2 * 2 * height + 2 * (column - first) + k % 2
            fixed[place] = np.int16(np.rint(patches[column, k] * scale))
    return (flat.view(np.int32), scale), memory


@njit(**OPTIONS)
def multiply_block(rows, i, stride, panels, at, vectors, factors, out, place, width, ahead):
    """Multiply one block of rows with one panel, slice by slice."""
    for row in range(ROWS):
        for vector in range(vectors):
            store(out, place + row * width + vector * LANES, splat(np.float32(0)))
    slice_turns = slice_width(2 * stride) // 2
    for first in range(0, stride, slice_turns):
        following = ahead + first * 8 * ROWS
        turns, start, there = min(slice_turns, stride - first), i * stride + first, at + first * vectors * LANES
        if vectors == 1:
            by_one(rows, start, stride, panels, there, turns, out, place, width, factors, i, following)
        elif vectors == 2:
            by_two(rows, start, stride, panels, there, turns, out, place, width, factors, i, following)
        else:
            by_three(rows, start, stride, panels, there, turns, out, place, width, factors, i, following)


@njit(**OPTIONS)
def multiply_fixed(rows, packed, fixed, out, correlation, ahead, memory):
    """As ``products.multiply``, with ``fixed``, the panels and the scale of ``round_panels``.

    Meanwhile it prefetches the next descriptors, from the address ``ahead`` on, into the cache.
    """
    (panels, scale), (_, singles, _), (wholes, alone) = fixed, packed, out
    channels, whole, flat = singles.shape[1], wholes.shape[1], wholes.reshape(-1)
    count, stride = len(rows) // channels, channels // 2
    numbers, memory = take(memory, count * stride)
    factors, _ = take(memory, count)
    shorts = numbers.view(np.int16)
    find_scales(rows, channels, factors)
    round_rows(rows, channels, factors, shorts)
    for row in range(count):
        factors[row] = np.float32(1) / (factors[row] * scale)
    pairs = numbers.view(np.int32)
    for column in range(0, whole, VECTORS * LANES):
        vectors = min(VECTORS * LANES, whole - column) // LANES
        for block in range(0, count, ROWS):
            i = min(block, count - ROWS)  # the last block repeats some rows
            following = ahead + 4 * i * channels  # 4 bytes a number; of float16, half of the rows suffice
            place = i * whole + column
            multiply_block(pairs, i, stride, panels, column * stride, vectors, factors, flat, place, whole, following)
    multiply_singles(rows, singles, alone, correlation)
