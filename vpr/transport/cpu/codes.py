"""The compiled pass that decodes product-quantised patch descriptors to half precision."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from vpr.transport.cpu.compiling import ENTRY, OPTIONS, SOURCES


@intrinsic
def bits_of_float(typing_context, value):
    """The bits of a float32 as an int32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@njit(**OPTIONS)
def single_to_half(value):
    """The bits of a float32, less than 65504 in size, as float16 (uint16), rounded to nearest, ties to even."""
    size = bits_of_float(abs(value) * np.float32(2.0**-112))  # moves the exponent's bias, subnormals too
    rounded = (size + np.int32(0xFFF) + ((size >> np.int32(13)) & np.int32(1))) >> np.int32(13)
    return np.uint16(rounded | (np.int32(0x8000) if value < np.float32(0) else np.int32(0)))


@njit(**OPTIONS)
def gather(codes, codebooks, size, vector):
    """Write the centroids of a patch, codes (M,), one after another into ``vector`` (M * size,)."""
    for part in range(len(codes)):
        for i in range(size):
            vector[part * size + i] = codebooks[part, codes[part], i]


@njit(**OPTIONS)
def add_neighbours(vector, left, left_weight, upper, upper_weight):
    """Add two vectors (M * size,) by their weights to ``vector``."""
    for i in range(len(vector)):
        vector[i] += left_weight * left[i] + upper_weight * upper[i]


@njit(**OPTIONS)
def write_unit(vector, half):
    """Write the first C numbers of a vector, made a unit vector, as float16 into ``half`` (C,) uint16."""
    total = np.float32(0)
    for i in range(len(half)):
        total += vector[i] * vector[i]
    scale = np.float32(1) / np.sqrt(total) if total > np.float32(0) else np.float32(0)
    for i in range(len(half)):
        half[i] = single_to_half(vector[i] * scale)


def make_decoder(sources):
    """The compiled function; ``sources`` is the digest of its sources, which the key of its cache includes."""

    @njit(**ENTRY)
    def decode(codes, codebooks, prediction, columns, half):
        """Decode the patches ``codes`` (N, P, M) uint8 of images into ``half`` (N, P, C) uint16, the bits of float16.

        ``codebooks`` (M, 256, S) float32 and ``prediction`` (3, 2) float32 are those of `vpr.patch_codes.PatchCodes`.
        ``columns``, of the grid of patches, divides P. The patches become unit vectors, or zeros. C is at most M * S;
        the remaining numbers are padding.
        """
        _ = sources
        parts, size = codebooks.shape[0], codebooks.shape[2]
        decoded = np.empty((2, columns, parts * size), np.float32)  # two rows of the grid, in turns
        for n in range(len(codes)):
            for row in range(codes.shape[1] // columns):
                for column in range(columns):
                    vector, patch = decoded[row & 1, column], row * columns + column
                    if size == 4:  # a number that the compiler knows, so that it copies whole vectors
                        gather(codes[n, patch], codebooks, 4, vector)
                    elif size == 8:
                        gather(codes[n, patch], codebooks, 8, vector)
                    else:
                        gather(codes[n, patch], codebooks, size, vector)
                    left, upper = decoded[row & 1, column - 1], decoded[1 - (row & 1), column]
                    if column > 0 and row > 0:
                        add_neighbours(vector, left, prediction[2, 0], upper, prediction[2, 1])
                    elif column > 0:
                        add_neighbours(vector, left, prediction[0, 0], left, np.float32(0))
                    elif row > 0:
                        add_neighbours(vector, upper, np.float32(0), upper, prediction[1, 1])
                    write_unit(vector, half[n, patch])

    return decode


decode_patches = make_decoder(SOURCES)
