"""Sixteen float32 numbers as one value in compiled code, and the operations on them.

Numba's own loops over sums of rows use half of a processor. LLVM keeps explicit vectors in registers: one of 512 bits,
two of 256 or four of 128, depending on the processor.
"""

import operator

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 16
SUMS = ("contract",)  # one instruction for a product and a sum; nothing is reordered
FLOAT, INT = ir.FloatType(), ir.IntType(32)
VECTOR, INT_VECTOR = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)


class LanesType(types.Type):
    """Numba's type of sixteen float32 numbers."""

    def __init__(self):
        super().__init__(name="Lanes")


lanes = LanesType()


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):
    """One LLVM vector."""

    def __init__(self, manager, frontend_type):
        super().__init__(manager, frontend_type, VECTOR)


def _arithmetic(symbol, instruction):
    """Define ``lanes symbol lanes`` for numba."""

    @type_callable(symbol)
    def typed(context):
        return lambda left, right: lanes if left is lanes and right is lanes else None

    @lower_builtin(symbol, LanesType, LanesType)
    def lowered(context, builder, signature, arguments):
        return getattr(builder, instruction)(*arguments, flags=SUMS)


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"),
                              (operator.truediv, "fdiv")):  # fmt: skip
    _arithmetic(_symbol, _instruction)


def address(context, builder, kind, array, index):
    """Pointer to element ``index`` of a contiguous array."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def vector_pointer(builder, pointer, vector=VECTOR):
    """The pointer as a pointer to vectors. They need not be aligned, because loads and stores have ``align``."""
    return builder.bitcast(pointer, vector.as_pointer())


def broadcast(builder, number, vector=VECTOR):
    """A vector with the number in every lane."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, INT(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(INT_VECTOR, [0] * LANES))


@intrinsic
def load(typing_context, array, index):
    """The 16 numbers from ``index`` on of a float32 array (n,)."""

    def codegen(context, builder, signature, arguments):
        pointer = address(context, builder, signature.args[0], *arguments)
        return builder.load(vector_pointer(builder, pointer), align=4)

    return lanes(array, types.intp), codegen


@intrinsic
def store(typing_context, array, index, value):
    """Write 16 numbers from ``index`` on."""

    def codegen(context, builder, signature, arguments):
        pointer = address(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], vector_pointer(builder, pointer), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def load_four(typing_context, array, index):
    """The 4 numbers from ``index`` on, and zeros in the other lanes."""

    def codegen(context, builder, signature, arguments):
        pointer = address(context, builder, signature.args[0], *arguments)
        four = builder.load(vector_pointer(builder, pointer, ir.VectorType(FLOAT, 4)), align=4)
        places = ir.Constant(INT_VECTOR, [0, 1, 2, 3] + [4] * (LANES - 4))
        return builder.shuffle_vector(four, ir.Constant(four.type, None), places)

    return lanes(array, types.intp), codegen


@intrinsic
def store_four(typing_context, array, index, value):
    """Write the first 4 of 16 numbers from ``index`` on."""

    def codegen(context, builder, signature, arguments):
        pointer = address(context, builder, signature.args[0], *arguments[:2])
        places = ir.Constant(ir.VectorType(INT, 4), [0, 1, 2, 3])
        four = builder.shuffle_vector(arguments[2], arguments[2], places)
        builder.store(four, vector_pointer(builder, pointer, ir.VectorType(FLOAT, 4)), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def store_rounded(typing_context, array, index, value):
    """Write 16 rounded numbers into an int16 array from ``index`` on; the caller makes sure that they fit."""

    def codegen(context, builder, signature, arguments):
        # after the addition of 1.5 * 2^23 the last bits are the rounded number; int16 takes 16 of them
        whole = builder.fadd(arguments[2], ir.Constant(VECTOR, [1.5 * 2.0**23] * LANES))
        short = ir.VectorType(ir.IntType(16), LANES)
        pointer = address(context, builder, signature.args[0], *arguments[:2])
        builder.store(
            builder.trunc(builder.bitcast(whole, INT_VECTOR), short), vector_pointer(builder, pointer, short), align=2
        )
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def splat(typing_context, number):
    """A float32 in every lane."""

    def codegen(context, builder, signature, arguments):
        return broadcast(builder, arguments[0])

    return lanes(types.float32), codegen


def _choice(comparison):
    """An intrinsic: in each lane the first number if ``first comparison second``, else the second."""

    @intrinsic
    def choose(typing_context, left, right):
        def codegen(context, builder, signature, arguments):
            return builder.select(builder.fcmp_ordered(comparison, *arguments), *arguments)

        return lanes(lanes, lanes), codegen

    return choose


maximum, minimum = _choice(">"), _choice("<")  # if either number is NaN, the second


@intrinsic
def select_positive(typing_context, mask, left, right):
    """In each lane ``left`` if the mask is above zero, else ``right``."""

    def codegen(context, builder, signature, arguments):
        zero = ir.Constant(VECTOR, None)
        return builder.select(builder.fcmp_ordered(">", arguments[0], zero), *arguments[1:])

    return lanes(lanes, lanes, lanes), codegen


@intrinsic
def scale_by_two(typing_context, value, exponent):
    """The value times 2^n, for ``exponent`` 1.5 * 2^23 + n: its last bits are added to the value's exponent."""

    def codegen(context, builder, signature, arguments):
        value, exponent = (builder.bitcast(argument, INT_VECTOR) for argument in arguments)
        shifted = builder.shl(exponent, ir.Constant(INT_VECTOR, [23] * LANES))
        return builder.bitcast(builder.add(value, shifted), VECTOR)

    return lanes(lanes, lanes), codegen


@intrinsic
def square_root(typing_context, value):
    """Square roots, lane by lane."""

    def codegen(context, builder, signature, arguments):
        kind, name = ir.FunctionType(VECTOR, [VECTOR]), f"llvm.sqrt.v{LANES}f32"
        root = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(root, arguments)

    return lanes(lanes), codegen


@intrinsic
def fetch_and_add(typing_context, counter):
    """Add one to an int64 array (1,) atomically, and return its former value, which no other thread gets."""

    def codegen(context, builder, signature, arguments):
        pointer = address(context, builder, signature.args[0], arguments[0], ir.IntType(64)(0))
        return builder.atomic_rmw("add", pointer, ir.IntType(64)(1), "monotonic")

    return types.int64(counter), codegen


def _reduction(fold):
    """An intrinsic that reduces 16 lanes to a float32: one half is folded onto the other, until one lane is left."""

    @intrinsic
    def reduce(typing_context, value):
        def codegen(context, builder, signature, arguments):
            value = arguments[0]
            for width in (8, 4, 2, 1):
                places = [(lane + width) % LANES for lane in range(LANES)]
                value = fold(builder, value, builder.shuffle_vector(value, value, ir.Constant(INT_VECTOR, places)))
            return builder.extract_element(value, INT(0))

        return types.float32(lanes), codegen

    return reduce


sum_lanes = _reduction(lambda builder, a, b: builder.fadd(a, b))
max_lanes = _reduction(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
min_lanes = _reduction(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
