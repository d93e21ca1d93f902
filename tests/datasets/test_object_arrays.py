"""Object arrays of NumPy 1 and 2, and pickles that would run code."""

import os
import pickle
import subprocess

import numpy as np
import pytest

from vpr.base.errors import VprError
from vpr.datasets.object_arrays import read_array

RAGGED = np.empty(4, object)
RAGGED[:] = [np.array([1, 2]), [3], np.array([], np.int32), (np.int64(4), 5)]
PAIRS = np.empty((2, 2), object)
PAIRS[0], PAIRS[1] = [1, [2, 3]], [np.int64(0), []]


def plain(value):
    """Lists and numbers of any nesting."""
    return [plain(one) for one in value] if isinstance(value, list | tuple | np.ndarray) else value


def write(path, array, protocol=4, old=False):
    """As `np.save`, in a protocol of pickle, and with the module names of NumPy 1."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        data = pickle.dumps(array, protocol)
        if old:
            assert b"numpy._core" in data
            data = renamed(data) if protocol == 4 else data.replace(b"numpy._core.", b"numpy.core.")
        file.write(data)


def renamed(data):
    """A pickle of protocol 4 whose strings name the modules of NumPy 1: lengths change with the names."""
    out = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    start = out.index(b"\x95") + 1
    size = int.from_bytes(out[start : start + 8], "little") - (len(data) - len(out))
    return out[:start] + size.to_bytes(8, "little") + out[start + 8 :]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", [RAGGED, PAIRS, np.asfortranarray(PAIRS)], ids=["rows", "pairs", "columns"])
def test_every_protocol_reads_as_numpy_does(tmp_path, array, protocol):
    write(tmp_path / "a.npy", array, protocol)
    expected = np.load(tmp_path / "a.npy", allow_pickle=True)
    found = read_array(tmp_path / "a.npy")
    assert found.shape == expected.shape and found.dtype == object and plain(found) == plain(expected)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_names_of_numpy_1_are_known(tmp_path, protocol):
    write(tmp_path / "a.npy", RAGGED, protocol, old=True)
    assert plain(read_array(tmp_path / "a.npy")) == plain(RAGGED)


@pytest.mark.parametrize(
    "array",
    [np.arange(6).reshape(3, 2), np.array(["a/ü.jpg", "b"]), np.array([[0.5]], ">f4"), np.array([True, False])],
)
def test_plain_arrays_are_read_by_numpy(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    assert np.array_equal(read_array(tmp_path / "a.npy"), array)


def test_text_in_objects(tmp_path):
    np.save(tmp_path / "a.npy", np.array(["a/b.jpg", "ü"], object))
    assert read_array(tmp_path / "a.npy").tolist() == ["a/b.jpg", "ü"]
    inner = np.empty(1, object)
    inner[0] = np.array(["x", "yz"])
    np.save(tmp_path / "a.npy", inner)
    assert read_array(tmp_path / "a.npy")[0].tolist() == ["x", "yz"]


class Reduced:
    """Something whose pickle calls a function."""

    def __init__(self, call, *arguments):
        self.parts = call, arguments

    def __reduce__(self):
        return self.parts


HARMFUL = {
    "system": lambda path: Reduced(os.system, f"touch {path}"),
    "popen": lambda path: Reduced(subprocess.Popen, ["touch", str(path)]),
    "eval": lambda path: Reduced(eval, f"open({str(path)!r}, 'w')"),
    "fromfile": lambda path: Reduced(np.fromfile, str(path)),
    "load": lambda path: Reduced(np.load, str(path)),
    "getattr": lambda path: Reduced(getattr, "a", "upper"),
}


@pytest.mark.parametrize("kind", HARMFUL)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_a_pickle_would_call_is_named_and_not_run(tmp_path, kind, protocol):
    array = np.empty(1, object)
    array[0] = HARMFUL[kind](tmp_path / "run")
    write(tmp_path / "a.npy", array, protocol)
    with pytest.raises(VprError, match="which is not run; write it again as an array of lists of numbers") as error:
        read_array(tmp_path / "a.npy")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def state(*parts):
    """A pickle of an array with a state of one's own."""
    reconstruct = np.empty(0, object).__reduce__()[0]

    class Made:
        def __reduce__(self):
            return reconstruct, (np.ndarray, (0,), b"b"), parts

    return Made()


@pytest.mark.parametrize(
    "made",
    [
        state(1, (1,), np.dtype(object), False, b"12345678"),  # a pointer
        state(1, (9,), np.dtype(np.int64), False, b"1234"),
        state(1, (2,), np.dtype([("a", object)]), False, [1, 2]),
        state(1, (2,), np.dtype(object), False, [1]),
        state(1, (1,), "O", False, [1]),
        {"a": 1},
        object,
    ],
    ids=["pointer", "short", "fields", "few", "no type", "dict", "class"],
)
def test_forged_arrays_are_refused(tmp_path, made):
    with (tmp_path / "a.npy").open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(np.empty(1, object))
        np.lib.format.write_array_header_1_0(file, header)
        array = np.empty(1, object)
        array[0] = made
        file.write(pickle.dumps(array))
    with pytest.raises(VprError, match=r"a\.npy (cannot be read as an array|is not an array of numbers)"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(VprError, match="cannot be read as an array of NumPy"):
        read_array(tmp_path / "a.npy")


def test_damaged_files_are_refused_or_read(tmp_path):
    np.save(tmp_path / "a.npy", RAGGED)
    whole = (tmp_path / "a.npy").read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        (tmp_path / "a.npy").write_bytes(bytes(damaged[: rng.integers(1, len(whole) + 1)]))
        try:
            read_array(tmp_path / "a.npy")
        except VprError:
            refused += 1
    assert refused > 200
