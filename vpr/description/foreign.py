"""Global descriptors that were computed elsewhere, looked up by image.

Layouts (N images, D numbers):

- hloc (Sarlin et al., CVPR 2019): HDF5, a group for each image, named by its path, with ``global_descriptor`` (D,).
- VPR-methods-evaluation (Berton): a folder with ``database_descriptors.npy`` and ``queries_descriptors.npy``, and
  beside each the list of its images: ``database_images_paths.txt``, ``queries_images_paths.txt``, a path a line.
- One ``NAME.npy`` (N, D) and ``NAME.txt``, a path a line.
- A descriptor cache of ours.
"""

import hashlib
import logging
import tokenize
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import h5py
import numpy as np

from vpr.base.errors import VprError
from vpr.cache import DescriptorCache

log = logging.getLogger("vpr")

HDF5 = (".h5", ".hdf5")
PARTS = ("database", "queries")  # of VPR-methods-evaluation
UNREADABLE = (
    OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, EOFError, SyntaxError, ArithmeticError,
    MemoryError, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ForeignDescriptors:
    """Unit descriptors by the names that somebody gave the images."""

    path: Path
    names: list[str]  # paths or parts of paths, forward slashes
    vectors: np.ndarray  # (N, D) float32

    @property
    def dim(self) -> int:
        """Numbers of a descriptor."""
        return self.vectors.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """A digest of names and numbers, 16 hexadecimal digits."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        digest.update(self.vectors.tobytes())
        return digest.hexdigest()[:16]

    def of(self, images: Sequence[str] | np.ndarray) -> np.ndarray:
        """The descriptors (K, D) of images, given by their paths relative to the dataset's root.

        A name fits that is the path, its end, or a longer path with that end; the longest one wins. Where none is,
        one with the same file name, or with it between @, fits if there is no other. Endings do not count. Raises
        VprError naming the first image without a descriptor, and images that would share one.
        """
        rows = [self._row(str(image)) for image in images]
        if missing := [image for image, row in zip(images, rows) if row is None]:
            lacks = f"{len(missing)} of {len(rows)} images, {missing[0]} the first"
            raise VprError(f"{self.path} lacks {lacks}; describe them there too, and name them by their paths")
        return self.vectors[np.array(rows, np.int64)]

    def _row(self, image: str) -> int | None:
        parts = PurePosixPath(image).with_suffix("").parts
        named = {row: _parts(self.names[row]) for row in self._rows.get(parts[-1], [])}
        fitting = [row for row, name in named.items() if _ends(parts, name) or _ends(name, parts)]
        longest = max((len(named[row]) for row in fitting), default=0)
        rows = [row for row in fitting if len(named[row]) == longest]
        if len(rows) > 1:
            raise VprError(f"{self.path} has {image} twice; remove one, and its descriptor")
        if not rows and len(named) == 1:
            rows = list(named)
        if rows and self._taken.setdefault(rows[0], image) != image:
            name, other = self.names[rows[0]], self._taken[rows[0]]
            raise VprError(f"{self.path}: {name} could be {other} or {image}; name images by their paths")
        return rows[0] if rows else None

    @cached_property
    def _taken(self) -> dict[int, str]:
        """The image that each row was given to."""
        return {}

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        """The rows of each file name without its ending, and of each part of it between @."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            stem = PurePosixPath(name).stem
            for part in {stem, *filter(None, stem.split("@"))}:
                rows.setdefault(part, []).append(row)
        return rows


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).with_suffix("").parts if PurePosixPath(name).suffix else PurePosixPath(name).parts


def _ends(path: tuple[str, ...], end: tuple[str, ...]) -> bool:
    """Whether a path ends with all parts of another."""
    return path[-len(end) :] == end


def is_foreign(path: Path) -> bool:
    """Whether a path is one of the layouts, by its name and, for folders, by what lies in it."""
    if path.is_dir():
        return all((path / f"{part}_descriptors.npy").is_file() for part in PARTS)
    return path.is_file() and path.suffix.lower() in (*HDF5, ".npy")


def read_foreign(path: Path) -> ForeignDescriptors:
    """Read descriptors of one of the layouts.

    Raises VprError for a file that is missing, damaged or of no such layout, and for descriptors that are no numbers.
    """
    if not path.exists():
        raise VprError(f"no file or folder {path} of descriptors; check the path")
    try:
        if path.is_dir():
            parts = [_numpy(path / f"{part}_descriptors.npy", path / f"{part}_images_paths.txt") for part in PARTS]
            names, vectors = [name for part in parts for name in part[0]], np.concatenate([part[1] for part in parts])
        elif path.suffix.lower() == ".npy":
            names, vectors = _numpy(path, path.with_suffix(".txt"))
        else:
            names, vectors = _hdf5(path)
    except UNREADABLE as error:
        raise VprError(f"{path} cannot be read as descriptors ({error}); write it again") from error
    if vectors.ndim != 2 or not vectors.size or not np.issubdtype(vectors.dtype, np.floating):
        raise VprError(f"{path} holds {vectors.dtype} {vectors.shape}, no descriptors (images, numbers)")
    vectors = vectors.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    broken = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
    if broken.any():
        raise VprError(f"{path}: the descriptor of {names[int(broken.argmax())]} is no direction; describe it again")
    if np.abs(lengths - 1).max() > 0.01:
        log.warning("%s: descriptors are not of unit length; they are scaled to it", path)
        vectors = vectors / lengths
    return ForeignDescriptors(path, names, vectors)


def _numpy(path: Path, listed: Path) -> tuple[list[str], np.ndarray]:
    """An array and the names of its rows; raises VprError when the list is missing or of another length."""
    vectors = np.load(path, allow_pickle=False)
    if not isinstance(vectors, np.ndarray):
        raise ValueError("it holds several arrays")
    if not listed.is_file():
        raise VprError(f"{listed} is missing: the list of the images in {path}, a path a line")
    names = listed.read_text(encoding="utf-8").split("\n")
    names = [name.strip().replace("\\", "/") for name in names if name.strip()]
    if len(names) != len(vectors):
        raise VprError(f"{listed} names {len(names)} images, {path} has {len(vectors)} descriptors; write both again")
    return names, vectors


def _hdf5(path: Path) -> tuple[list[str], np.ndarray]:
    with h5py.File(path, "r", locking=False) as file:
        ours = "fingerprint" in file.attrs
        groups: list[str] = []
        if not ours:
            file.visititems(lambda name, found: groups.append(name) if name.endswith("/global_descriptor") else None)
            vectors = [_small(file[name]) for name in groups]
    if ours:
        cache = DescriptorCache(path)
        done = np.flatnonzero(cache.done)
        return cache.keys[done].tolist(), np.asarray(cache.globals_[done])
    if not groups:
        raise ValueError("it has no dataset global_descriptor and is no cache of ours")
    return [name.removesuffix("/global_descriptor") for name in groups], np.stack(vectors)


def _small(dataset: h5py.Dataset) -> np.ndarray:
    if dataset.external:
        raise ValueError("it keeps descriptors in other files, which are not opened")
    return np.asarray(dataset[()]).reshape(-1)
