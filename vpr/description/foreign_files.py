"""Global descriptors as files of other tools; `vpr.description.foreign` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from vpr.base.errors import VprError
from vpr.base.files import is_utf8, replace_file, write_bytes
from vpr.base.outputs import HDF5, descriptor_files


class NamedVectors(NamedTuple):
    """Descriptors of N images."""

    names: Sequence[str]  # N paths, forward slashes
    vectors: np.ndarray  # (N, D) float32


def write_foreign(path: Path, sides: Mapping[str, NamedVectors]) -> None:
    """Write the descriptors of both sides, ``database`` and ``queries``, atomically file by file.

    A path that ends with .h5 or .hdf5 gets hloc's layout with the images of both sides. Any other path is a folder of
    VPR-methods-evaluation: arrays of float32 whose rows are in the order of the sorted paths, and the lists of the
    paths.
    """
    if path.suffix.lower() in HDF5:
        write_hloc(path, [*sides.values()])
        return
    path.mkdir(parents=True, exist_ok=True)
    for (names, vectors), array, listed in zip(
        (sides[part] for part in ("database", "queries")), descriptor_files(path)[::2], descriptor_files(path)[1::2]
    ):
        order = sorted(range(len(names)), key=lambda row: names[row])
        with replace_file(array) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(vectors[order], np.float32))
        write_bytes(listed, "".join(f"{names[row]}\n" for row in order).encode())


def write_hloc(path: Path, sides: Sequence[NamedVectors]) -> None:
    """Write descriptors as hloc's global features, atomically: a group for each image, named by its path, which holds
    ``global_descriptor`` (D,) float32. An image may be in several sides.
    """
    with replace_file(path) as temporary:
        with h5py.File(temporary, "w", libver="latest") as file:
            for names, vectors in sides:
                for name, vector in zip(names, vectors):
                    if name not in file:
                        file.create_group(name).create_dataset("global_descriptor", data=vector.astype(np.float32))


def require_features(path: Path) -> None:
    """Raise VprError for an HDF5 file that has anything but global features, such as local features or a cache."""
    if path.suffix.lower() not in HDF5 or not path.is_file():
        return
    found: list[str] = []

    def visit(name: str, item: object) -> bool | None:
        """Stop at the first dataset of another name."""
        if isinstance(item, h5py.Dataset) and not name.endswith("/global_descriptor"):
            found.append(name)
        return True if found else None

    try:
        with h5py.File(path, "r", locking=False) as file:
            file.visititems(visit)
    except (OSError, RuntimeError) as error:
        raise VprError(
            f"{path} cannot be read ({error})", thing=path, remedy="remove it, or name another file"
        ) from error
    if found:
        what = f"{path} has {found[0]}, so it is no file of global features alone"
        raise VprError(what, thing=path, remedy="remove it, or name another file")


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise VprError for a name that the files cannot have."""
    if bad := next((name for name in names if "\n" in name or not is_utf8(name)), None):
        raise VprError(f"{path}: the name {bad!r} cannot be written into files of descriptors", thing=path,
                       remedy="rename the photo")  # fmt: skip
