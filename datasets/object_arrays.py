"""NumPy arrays from files of others. Object arrays are read without running the code of their pickles.

An object array in a ``.npy`` file is a pickle, and a pickle can call any function. Here only the names that NumPy needs
for arrays and numbers are known, and they lead to classes of this module: nothing of NumPy is built from a pickle
directly, because its own ``__setstate__`` trusts the pickle.
"""

from __future__ import annotations

import math
import pickle
import re
import tokenize
from pathlib import Path
from typing import IO, Any

import numpy as np

from vpr.datasets.errors import DatasetError

SIMPLE = re.compile(r"[<>|=]?([iufbUS]\d*|O\d*)", re.ASCII)  # types of numbers, text and objects
MOST_NESTED = 8  # lists inside of lists
READ_ERRORS = (
    OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, EOFError, SyntaxError, ArithmeticError,
    MemoryError, ImportError, pickle.PickleError, tokenize.TokenError,
)  # fmt: skip


class ForbiddenName(pickle.UnpicklingError):
    """A pickle names something that is neither an array nor a number."""


def read_array(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file. The elements of an object array are numbers, text, lists and arrays of them.

    Raises DatasetError for a file that is missing, damaged or not an array, and for an object array that holds anything
    else; nothing that the file names is called.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            if dtype.hasobject:
                return _read_objects(file, shape, dtype)
        return np.asarray(np.load(path, allow_pickle=False))
    except ForbiddenName as error:
        remedy = "write it again as an array of lists of numbers"
        raise DatasetError(f"{path} is not an array of numbers: it names {error}, which is not run; {remedy}") from None
    except READ_ERRORS as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise DatasetError(f"{path} cannot be read as an array of NumPy ({reason}); write it again") from error


def _read_objects(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype != np.dtype(object):
        raise ValueError("it has fields")
    stored = _Unpickler(file, encoding="latin1").load()  # the text of Python 2, which also wrote such files
    elements = stored.elements() if isinstance(stored, _Array) else None
    if not isinstance(elements, list) or len(elements) != math.prod(shape):
        raise ValueError("it does not hold what its header says")
    result = np.empty(len(elements), object)
    for place, element in enumerate(elements):
        result[place] = _plain(element)
    return result.reshape(shape)


def _plain(value: Any, depth: int = 0) -> Any:
    """A value of a pickle as numbers, text, lists and arrays; raises ValueError for any other."""
    if isinstance(value, _Array):
        value = value.elements()
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray | np.generic):
        return value
    if isinstance(value, list | tuple | set | frozenset) and depth < MOST_NESTED:
        return [_plain(one, depth + 1) for one in value]
    raise ValueError(f"it holds a {type(value).__name__.strip('_').lower()}")


class _Dtype:
    """The type of an array: its name in the pickle, and its byte order."""

    def __init__(self, name: object = "", *flags: object) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: object) -> None:
        """state: (version, byte order, ...) of a simple type."""
        if not isinstance(state, tuple) or len(state) < 2 or any(part for part in state[2:5]):
            raise ValueError("it has a type with fields")
        self.order = str(state[1])

    def plain(self) -> np.dtype:
        """The type; raises ValueError unless it is one of numbers, text or objects."""
        if not SIMPLE.fullmatch(self.name) or self.order not in tuple("<>|="):
            raise ValueError(f"it has the type {self.name[:20]!r}")
        kind = self.name.lstrip("<>|=")
        order = self.order.replace("|", "=")
        return np.dtype(object) if kind[0] == "O" else np.dtype(f"{order}{kind}")


class _Array:
    """An array inside of a pickle."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: object) -> None:
        """state: (version, shape, type, whether columns come first, bytes or objects)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("it has an array without its content")
        self.state = state

    def elements(self) -> list[Any] | np.ndarray:
        """The objects in the order of rows, or an array of numbers or text; raises ValueError for anything else."""
        if not self.state:
            raise ValueError("it has an array without its content")
        _, shape, dtype, by_columns, content = self.state
        kind, shape = _type_of(dtype), tuple(int(length) for length in shape)
        if kind.hasobject:  # in the order of rows, also if columns come first
            if not isinstance(content, list) or len(content) != math.prod(shape):
                raise ValueError("it has an array of another size")
            return content
        return np.frombuffer(_bytes_of(content), kind).reshape(shape, order="F" if by_columns else "C")


def _type_of(dtype: object) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise ValueError("it has an array without a type")
    return dtype.plain()


def _bytes_of(content: object) -> bytes:
    """The bytes of a buffer; Python 2 wrote them as text."""
    if isinstance(content, str):
        return content.encode("latin1")
    if isinstance(content, bytes | bytearray):
        return bytes(content)
    raise ValueError("it has a buffer without bytes")


def _reconstruct(*_: object) -> _Array:
    """As ``numpy._core.multiarray._reconstruct``: an array, whose content follows."""
    return _Array()


def _from_buffer(content: object, dtype: object, shape: tuple[int, ...], order: str) -> _Array:
    """As ``numpy._core.numeric._frombuffer``."""
    array = _Array()
    array.state = (1, shape, dtype, order == "F", content)
    return array


def _scalar(dtype: object, content: object = b"") -> Any:
    """As ``numpy._core.multiarray.scalar``: a number or text."""
    kind = _type_of(dtype)
    if kind.hasobject:
        raise ValueError("it has an object for a number")
    return np.frombuffer(_bytes_of(content), kind)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """As ``_codecs.encode``, by which old pickles write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("it has bytes in another encoding")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """As ``bytes``, which old pickles call for no bytes."""
    return b""


def _object_type() -> None:
    """Stands for ``numpy.ndarray``, which pickles only pass on."""
    raise ValueError("it makes an array in another way")


KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _object_type,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{(module, "bytes"): _empty_bytes for module in ("builtins", "__builtin__")},
    **{(module, "set"): set for module in ("builtins", "__builtin__")},
    **{(module, "frozenset"): frozenset for module in ("builtins", "__builtin__")},
}  # by module and name; every other name is refused
for _core in ("core", "_core"):  # of NumPy 1 and of NumPy 2
    KNOWN |= {
        (f"numpy.{_core}.multiarray", "_reconstruct"): _reconstruct,
        (f"numpy.{_core}.multiarray", "scalar"): _scalar,
        (f"numpy.{_core}.numeric", "_frombuffer"): _from_buffer,
    }


class _Unpickler(pickle.Unpickler):
    """Reads a pickle that holds arrays, numbers, text and lists."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function of ours that stands for a name; raises ForbiddenName for any other name."""
        try:
            return KNOWN[module, name]
        except KeyError:
            raise ForbiddenName(f"{module}.{name}"[:80]) from None
