"""The layout of a matrix in compiled code, and pieces of a thread's memory.

The columns of a row are stored as whole vectors of 16 numbers. A few columns beyond the last whole vector would fill
little of one more vector. These are the ``singles``, stored one after the other, each from the first row to the last.
"""

import numpy as np
from numba import njit

from vpr.transport.cpu.compiling import OPTIONS
from vpr.transport.cpu.simd import LANES

SINGLES = 8  # most columns beyond whole vectors that are stored as singles


def next_multiple(count, multiple):
    """Smallest multiple of a number that is at least ``count``; for Python, which would wait for a compiled one."""
    return (count + multiple - 1) // multiple * multiple


round_up = njit(**OPTIONS)(next_multiple)  # the same for compiled code


@njit(**OPTIONS)
def take(memory, size):
    """The first ``size`` numbers of memory, and the rest from the next cache line on."""
    if len(memory) < size:
        raise MemoryError("more memory is needed than was reserved")
    return memory[:size], memory[round_up(size, LANES) :]


@njit(**OPTIONS)
def take_zeros(memory, size):
    """As ``take``, with all numbers set to zero."""
    numbers, memory = take(memory, size)
    numbers[:] = np.float32(0)
    return numbers, memory


@njit(**OPTIONS)
def copy(numbers, target):
    """Copy numbers into the start of a target.

    Numba's own ``target[: len(numbers)] = numbers`` includes an error message, which takes a second to compile.
    """
    for k in range(len(numbers)):
        target[k] = numbers[k]


@njit(**OPTIONS)
def is_consecutive(numbers):
    """Whether each number is one more than the one before."""
    for k in range(1, len(numbers)):  # noqa: SIM110  a generator does not compile
        if numbers[k] != numbers[k - 1] + 1:
            return False
    return True


@njit(**OPTIONS)
def whole_columns(count):
    """How many of ``count`` columns are stored in whole vectors, padding included; the others are singles."""
    rest = count % LANES
    return count - rest if count >= LANES and rest <= SINGLES else round_up(count, LANES)
