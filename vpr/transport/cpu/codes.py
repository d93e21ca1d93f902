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


def make_decoder(sources):
    """The compiled function; ``sources`` is the digest of its sources, which the key of its cache includes."""

    @njit(**ENTRY)
    def decode(codes, codebooks, half):
        """Decode patches ``codes`` (n, M) uint8 by ``codebooks`` (M, 256, S) float32 into ``half``.

        ``half`` (n, C) uint16 are the bits of float16; they become unit vectors, or zeros. C is at most M * S; the
        remaining numbers are padding.
        """
        _ = sources
        parts, size = codebooks.shape[0], codebooks.shape[2]
        length = half.shape[1]
        vector = np.empty(parts * size, np.float32)
        for n in range(len(codes)):
            if size == 4:  # a number that the compiler knows, so that it copies whole vectors
                gather(codes[n], codebooks, 4, vector)
            elif size == 8:
                gather(codes[n], codebooks, 8, vector)
            else:
                gather(codes[n], codebooks, size, vector)
            total = np.float32(0)
            for i in range(length):
                total += vector[i] * vector[i]
            scale = np.float32(1) / np.sqrt(total) if total > np.float32(0) else np.float32(0)
            for i in range(length):
                half[n, i] = single_to_half(vector[i] * scale)

    return decode


decode_patches = make_decoder(SOURCES)
