"""What the compiled modules share: compile options, and one instruction that numba lacks.

Numba's cache of compiled functions looks at the file of a function, not at the files of those it calls. So
a compiled function calls compiled functions of its own file only, and this file holds none.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Sums may be reordered into vectors and divisions turned into products; NaN must stay NaN, so that a bad
# descriptor is seen in the score.
OPTIONS = {"fastmath": {"reassoc", "contract", "nsz", "arcp", "afn"}, "nogil": True, "cache": True}
EXACT = {**OPTIONS, "fastmath": {"contract"}}  # for sums whose order is their meaning


@intrinsic
def float_from_bits(typing_context, bits):
    """The float32 whose bits are an int32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen
