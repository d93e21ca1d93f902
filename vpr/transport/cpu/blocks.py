"""Loops over blocks of matrix rows, with sums in registers, written in LLVM's intermediate language.

All matrices are flat arrays of rows ``stride`` apart, each a whole number of vectors (16 numbers) long.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vpr.transport.cpu.compiling import cpu_has
from vpr.transport.cpu.simd import INT, INT_VECTOR, LANES, SUMS, VECTOR, address, broadcast, lanes, vector_pointer

INDEX = ir.IntType(64)


class Loop:
    """``for k in range(count)`` in LLVM's language, with values carried from turn to turn; count is at least 1."""

    def __init__(self, builder, count, start):
        self.builder, self.count = builder, count
        before, self.body = builder.block, builder.append_basic_block("turn")
        self.after = builder.append_basic_block("after")
        builder.branch(self.body)
        builder.position_at_end(self.body)
        self.k = builder.phi(INDEX)
        self.k.add_incoming(INDEX(0), before)
        self.carried = [builder.phi(value.type) for value in start]
        for phi, value in zip(self.carried, start):
            phi.add_incoming(value, before)

    def close(self, values):
        """End the body, and pass these values to the next turn; returns them."""
        following = self.builder.add(self.k, INDEX(1))
        self.k.add_incoming(following, self.builder.block)
        for phi, value in zip(self.carried, values):
            phi.add_incoming(value, self.builder.block)
        again = self.builder.icmp_signed("<", following, self.count)
        self.builder.cbranch(again, self.body, self.after)
        self.builder.position_at_end(self.after)
        return values


def row_pointers(builder, pointer, stride, rows):
    """Pointers to the rows of a block, as vectors."""
    return [vector_pointer(builder, builder.gep(pointer, [builder.mul(stride, INDEX(row))])) for row in range(rows)]


def load_vector(builder, pointer, k, apart=1):
    """The k-th vector from a pointer on, if the vectors lie ``apart`` vectors apart."""
    return builder.load(builder.gep(pointer, [builder.mul(k, INDEX(apart))]), align=4)


def reduce_vectors(builder, vectors, add):
    """One vector whose lane r is the reduction of all lanes of vector r by ``add``.

    There are 4 or 16 vectors. If there are 4, the other lanes of the result are zero.
    """
    quads = (
        [[4 * q + lane for lane in (0, 16, 1, 17)] for q in range(4)],
        [[4 * q + lane for lane in (2, 18, 3, 19)] for q in range(4)],
    )
    pairs = (
        [[4 * q + lane for lane in (0, 1, 16, 17)] for q in range(4)],
        [[4 * q + lane for lane in (2, 3, 18, 19)] for q in range(4)],
    )
    halves = [range(0, 8), range(16, 24)], [range(8, 16), range(24, 32)]
    ends = (
        [range(0, 4), range(8, 12), range(16, 20), range(24, 28)],
        [range(4, 8), range(12, 16), range(20, 24), range(28, 32)],
    )

    def fold(a, b, masks):
        parts = (
            builder.shuffle_vector(a, b, ir.Constant(INT_VECTOR, [x for part in mask for x in part])) for mask in masks
        )
        return add(*parts)

    level = [fold(vectors[k], vectors[k + 1], quads) for k in range(0, len(vectors), 2)]
    level = [fold(level[k], level[k + 1], pairs) for k in range(0, len(level), 2)]
    if len(level) == 1:
        level += [ir.Constant(level[0].type, None)]
    level = [fold(level[k], level[k + 1], halves) for k in range(0, len(level), 2)]
    if len(level) == 1:
        level += [ir.Constant(level[0].type, None)]
    return fold(*level, ends)


def row_sums(rows, apart=1):
    """Intrinsic: matrix times vector for a block of 4 or 16 rows; lane r of the result is the sum of row r.

    ``apart`` is 1 for a matrix of rows. It is ``rows`` for blocks that hold the first vector of each row, then the
    second of each row, and so on.
    """

    @intrinsic
    def sums(typing_context, matrix, start, stride, vector, at, count):
        """sum_c matrix[start + r stride + c apart] vector[at + c] over ``count`` vectors c."""

        def codegen(context, builder, signature, arguments):
            matrix, start, stride, vector, at, count = arguments
            pointers = row_pointers(builder, address(context, builder, signature.args[0], matrix, start), stride, rows)
            weights = vector_pointer(builder, address(context, builder, signature.args[3], vector, at))
            loop = Loop(builder, count, [ir.Constant(VECTOR, None)] * rows)
            weight = load_vector(builder, weights, loop.k)
            new = [
                builder.fadd(
                    builder.fmul(load_vector(builder, pointer, loop.k, apart), weight, flags=SUMS), sum_, flags=SUMS
                )
                for pointer, sum_ in zip(pointers, loop.carried)
            ]
            return reduce_vectors(builder, loop.close(new), builder.fadd)

        return lanes(matrix, types.intp, types.intp, vector, types.intp, types.intp), codegen

    return sums


def row_extents(largest):
    """Intrinsic: the sums of squares of 16 rows, or their largest absolute numbers; lane r is that of row r."""

    @intrinsic
    def extents(typing_context, matrix, start, stride, count):
        """Over the ``count`` vectors from matrix[start + r stride] on."""

        def codegen(context, builder, signature, arguments):
            matrix, start, stride, count = arguments
            pointers = row_pointers(builder, address(context, builder, signature.args[0], matrix, start), stride, LANES)

            def larger(a, b):
                return builder.select(builder.fcmp_ordered(">", a, b), a, b)

            def square(entry, sum_):
                return builder.fadd(builder.fmul(entry, entry, flags=SUMS), sum_, flags=SUMS)

            def magnitude(entry, most):
                bits = builder.and_(builder.bitcast(entry, INT_VECTOR), ir.Constant(INT_VECTOR, [0x7FFFFFFF] * LANES))
                return larger(builder.bitcast(bits, VECTOR), most)

            loop = Loop(builder, count, [ir.Constant(VECTOR, None)] * LANES)
            step = magnitude if largest else square
            entries = [load_vector(builder, pointer, loop.k) for pointer in pointers]
            reduced = loop.close([step(entry, value) for entry, value in zip(entries, loop.carried)])
            return reduce_vectors(builder, reduced, larger if largest else builder.fadd)

        return lanes(matrix, types.intp, types.intp, types.intp), codegen

    return extents


def add_rows(rows, apart):
    """Intrinsic: add a block of rows, each times its weight, to a row of sums; ``apart`` as in ``row_sums``."""

    @intrinsic
    def add(typing_context, matrix, start, stride, weights, at, sums, count):
        """sums[c] += sum_r weights[at + r] matrix[start + r stride + c apart] over ``count`` vectors c."""

        def codegen(context, builder, signature, arguments):
            matrix, start, stride, weights, at, sums, count = arguments
            pointers = row_pointers(builder, address(context, builder, signature.args[0], matrix, start), stride, rows)
            first = address(context, builder, signature.args[3], weights, at)
            scales = [broadcast(builder, builder.load(builder.gep(first, [INDEX(row)]))) for row in range(rows)]
            target = vector_pointer(builder, address(context, builder, signature.args[5], sums, INDEX(0)))
            loop = Loop(builder, count, [])
            parts = [load_vector(builder, target, loop.k)] + [None] * 3
            for row, (pointer, scale) in enumerate(zip(pointers, scales)):
                product = builder.fmul(load_vector(builder, pointer, loop.k, apart), scale, flags=SUMS)
                part = parts[row % 4]
                parts[row % 4] = product if part is None else builder.fadd(product, part, flags=SUMS)
            sum_ = builder.fadd(builder.fadd(parts[0], parts[1]), builder.fadd(parts[2], parts[3]))
            builder.store(sum_, builder.gep(target, [loop.k]), align=4)
            loop.close([])
            return context.get_dummy_value()

        return types.void(matrix, types.intp, types.intp, weights, types.intp, sums, types.intp), codegen

    return add


def prefetch(builder, place, step, k):
    """Prefetch the cache line ``k * step`` bytes behind an address into level 2; any address is safe."""
    line = builder.inttoptr(builder.add(place, builder.mul(k, INDEX(step))), ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [line.type, INT, INT, INT])
    ask = builder.module.declare_intrinsic("llvm.prefetch", [line.type], kind)
    builder.call(ask, [line, INT(0), INT(2), INT(1)])


def multiply_tile(builder, numbers, columns, turns, ahead, term):
    """Sums of a tile: ``turns`` numbers of each row times ``turns`` rows of a panel.

    ``numbers`` are pointers to the rows; ``columns`` is (pointer, vectors in a row of the panel); ``ahead`` is (address
    to prefetch from, bytes a turn). ``term(sum, number, column)`` returns the sum plus the product of a number, in all
    lanes of a vector, and a vector of the panel.
    """
    columns, vectors = columns
    kind = columns.type.pointee
    loop = Loop(builder, turns, [ir.Constant(kind, None)] * (len(numbers) * vectors))
    prefetch(builder, *ahead, loop.k)
    turn = builder.mul(loop.k, INDEX(vectors))
    loaded = [load_vector(builder, columns, builder.add(turn, INDEX(vector))) for vector in range(vectors)]
    new = []
    for row, pointer in enumerate(numbers):
        number = broadcast(builder, builder.load(builder.gep(pointer, [loop.k])), kind)
        new += [term(sum_, number, column) for column, sum_ in zip(loaded, loop.carried[row * vectors :])]
    return loop.close(new)


def products(rows, vectors):
    """Intrinsic: a block of rows times a panel of ``vectors`` * 16 columns."""

    @intrinsic
    def multiply(typing_context, matrix, start, stride, panel, at, out, place, out_stride, ahead):
        """out[place + r out_stride + j] = sum_k matrix[start + r stride + k] panel[at + k 16 vectors + j], k < stride.

        Meanwhile it prefetches the cache lines behind the address ``ahead``, as many as the rows fill.
        """

        def codegen(context, builder, signature, arguments):
            matrix, start, stride, panel, at, out, place, out_stride, ahead = arguments
            first = address(context, builder, signature.args[0], matrix, start)
            numbers = [builder.gep(first, [builder.mul(stride, INDEX(row))]) for row in range(rows)]
            columns = vector_pointer(builder, address(context, builder, signature.args[3], panel, at))

            def term(sum_, number, column):
                return builder.fadd(builder.fmul(number, column, flags=SUMS), sum_, flags=SUMS)

            sums = multiply_tile(builder, numbers, (columns, vectors), stride, (ahead, 4 * rows), term)
            first = address(context, builder, signature.args[5], out, place)
            for row, pointer in enumerate(row_pointers(builder, first, out_stride, rows)):
                for vector in range(vectors):
                    builder.store(sums[row * vectors + vector], builder.gep(pointer, [INDEX(vector)]), align=4)
            return context.get_dummy_value()

        index = types.intp
        return types.void(matrix, index, index, panel, index, out, index, index, index), codegen

    return multiply


def multiply_pairs(builder, left, right):
    """In each lane, the sum of the two products of its int16 halves.

    With VNNI, LLVM makes one instruction of this and the addition to a sum.
    """
    shorts, wide = ir.VectorType(ir.IntType(16), 2 * LANES), ir.VectorType(INT, 2 * LANES)
    left, right = builder.bitcast(left, shorts), builder.bitcast(right, shorts)
    if cpu_has("avx512bw"):
        kind = ir.FunctionType(INT_VECTOR, [shorts, shorts])
        return builder.call(builder.module.declare_intrinsic("llvm.x86.avx512.pmaddw.d.512", (), kind), [left, right])
    products = builder.mul(builder.sext(left, wide), builder.sext(right, wide))
    halves = (ir.Constant(INT_VECTOR, list(range(first, 2 * LANES, 2))) for first in range(2))
    return builder.add(*(builder.shuffle_vector(products, products, half) for half in halves))


def fixed_products(rows, vectors):
    """Intrinsic: ``products`` of int16 numbers, two in an int32, for one slice of the channels.

    The sums are exact. Each is scaled by the factor of its row and added to the output.
    """

    @intrinsic
    def multiply(typing_context, matrix, start, stride, panel, at, turns, out, place, out_stride, factors, row, ahead):
        """out[place + r out_stride + j] += factors[row + r] S_rj, with the sum over k < turns

        S_rj = sum_k matrix[start + r stride + k] . panel[at + k 16 vectors + j], and . multiplies two pairs and adds
        the two products; ``ahead`` as in ``products``.
        """

        def codegen(context, builder, signature, arguments):
            matrix, start, stride, panel, at, turns, out, place, out_stride, factors, row, ahead = arguments
            first = address(context, builder, signature.args[0], matrix, start)
            numbers = [builder.gep(first, [builder.mul(stride, INDEX(r))]) for r in range(rows)]
            columns = vector_pointer(builder, address(context, builder, signature.args[3], panel, at), INT_VECTOR)

            def term(sum_, number, column):
                return builder.add(multiply_pairs(builder, number, column), sum_)

            sums = multiply_tile(builder, numbers, (columns, vectors), turns, (ahead, 8 * rows), term)
            first = address(context, builder, signature.args[6], out, place)
            factor = address(context, builder, signature.args[9], factors, row)
            for r, pointer in enumerate(row_pointers(builder, first, out_stride, rows)):
                scale = broadcast(builder, builder.load(builder.gep(factor, [INDEX(r)])))
                for vector in range(vectors):
                    target = builder.gep(pointer, [INDEX(vector)])
                    product = builder.fmul(builder.sitofp(sums[r * vectors + vector], VECTOR), scale, flags=SUMS)
                    builder.store(builder.fadd(builder.load(target, align=4), product, flags=SUMS), target, align=4)
            return context.get_dummy_value()

        index = types.intp
        return types.void(matrix, index, index, panel, index, index, out, index, index, factors, index, index), codegen

    return multiply
