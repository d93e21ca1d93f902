"""Compiled passes over a chunk of descriptors: half precision to single, cosines to marginals."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from vpr.transport.cpu.compiling import EXACT, OPTIONS
from vpr.transport.marginals import COMPLEMENT, INVERSE, INVERSE_RATE, LEARNT, RELEVANCY, SOFTMAX


@intrinsic
def float_from_bits(typing_context, bits):
    """The float32 whose bits are an int32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@njit(**EXACT)
def half_to_single(half, single):
    """Convert float16 numbers, as their bits in uint16 (n,), into ``single`` (n,) float32.

    Numpy's own cast is 10 times slower.
    """
    for i in range(len(half)):
        bits = np.int32(half[i])
        magnitude = (bits & np.int32(0x7FFF)) << np.int32(13)
        value = float_from_bits(magnitude) * np.float32(2.0**112)  # moves the exponent's bias, subnormals too
        value = float_from_bits(magnitude | np.int32(0x7F800000)) if value >= np.float32(65536.0) else value
        single[i] = -value if bits > np.int32(0x7FFF) else value


@njit(**OPTIONS)
def fill_marginals(correlation, code, weights):
    """Fill the marginals ``weights`` (n, Q) from the first Q columns of cosines, ``correlation`` (n, Q or more).

    ``code`` is one of marginals.CODES; see marginals.raw_weights. LEARNT multiplies by what ``weights`` hold before.
    """
    zero, one = np.float32(0), np.float32(1)
    for n in range(weights.shape[0]):
        total = zero
        for j in range(weights.shape[1]):
            cosine = correlation[n, j]
            relevancy = max(cosine, zero)
            weight = one
            if code == RELEVANCY:
                weight = relevancy
            elif code == INVERSE:
                weight = np.exp(relevancy * np.float32(INVERSE_RATE))
            elif code == COMPLEMENT:
                weight = max(one - relevancy, zero)
            elif code == LEARNT:
                weight = max(one - relevancy, zero) * weights[n, j]
            elif code == SOFTMAX:
                weight = np.exp(cosine - one)
            weights[n, j] = weight
            total += weight
        for j in range(weights.shape[1]):
            weights[n, j] = weights[n, j] / total if total > zero else one / np.float32(weights.shape[1])
