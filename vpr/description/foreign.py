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
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import h5py
import numpy as np

from vpr.base.errors import VprError
from vpr.base.photo_files import BLANK, ENDINGS
from vpr.cache import DescriptorCache

log = logging.getLogger("vpr")

HDF5 = (".h5", ".hdf5")
PARTS = ("database", "queries")  # of VPR-methods-evaluation
FOLDERS = {"database": "database", "query": "queries", "queries": "queries"}  # of images, and the part that they are of
OTHER_ENDINGS = (".npy", ".npz", ".pt", ".pth", ".h5", ".json")  # of names, besides those of photos
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
    part: Sequence[str] = ()  # of `PARTS`, that each is of; empty where the layout has no parts

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
        one with the same file name, or with it between @, fits if there is no other. Endings do not count. Of a layout
        with parts, an image in a folder ``database``, ``query`` or ``queries`` is looked for in that part. Raises
        VprError naming the first image without a descriptor, images that would share one, and one that has two.
        """
        rows = [self._row(str(image)) for image in images]
        if missing := [image for image, row in zip(images, rows) if row is None]:
            lacks = f"{len(missing)} of {len(rows)} images, {missing[0]} the first"
            raise VprError(f"{self.path} lacks {lacks}; describe them there too, and name them by their paths")
        return self.vectors[np.array(rows, np.int64)]

    def _row(self, image: str) -> int | None:
        parts = _parts(image)
        named = {row: _parts(self.names[row]) for row in self._of_part(image, self._rows.get(parts[-1], []))}
        fitting = [row for row, name in named.items() if _ends(parts, name) or _ends(name, parts)]
        longest = max((len(named[row]) for row in fitting), default=0)
        rows = [row for row in fitting if len(named[row]) == longest]
        if len(rows) > 1 and (self.vectors[rows] != self.vectors[rows[0]]).any():
            raise VprError(f"{self.path} has {image} twice; name both by longer paths, from the dataset's folder on")
        if not rows and len(named) == 1:
            rows = list(named)
        if rows and self._taken.setdefault(rows[0], image) != image:
            name, other = self.names[rows[0]], self._taken[rows[0]]
            raise VprError(f"{self.path}: {name} could be {other} or {image}; name images by their paths")
        return rows[0] if rows else None

    def _of_part(self, image: str, rows: list[int]) -> list[int]:
        """Those of the rows that are of the image's part, if its folders say one and some are of it."""
        parts = {FOLDERS[folder] for folder in PurePosixPath(image).parts[:-1] if folder in FOLDERS}
        if not self.part or len(parts) != 1:
            return rows
        return [row for row in rows if self.part[row] in parts] or rows

    @cached_property
    def _taken(self) -> dict[int, str]:
        """The image that each row was given to."""
        return {}

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        """The rows of each file name without its ending, and of each part of it between @."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            stem = _parts(name)[-1]
            for part in {stem, *filter(None, stem.split("@"))}:
                rows.setdefault(part, []).append(row)
        return rows


def _parts(name: str) -> tuple[str, ...]:
    """The folders of a name, and its file without the ending; letters composed, as some systems write them apart."""
    path = PurePosixPath(unicodedata.normalize("NFC", name))
    known = path.suffix.lower() in (*ENDINGS, *OTHER_ENDINGS)
    return (path.with_suffix("") if known else path).parts or ("",)


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
    if path.suffix.lower() == ".npz":
        raise VprError(f"{path} may hold several arrays; save one as .npy, with the list of its images as .txt")
    part: Sequence[str] = ()
    try:
        if path.is_dir():
            parts = [_numpy(path / f"{part}_descriptors.npy", path / f"{part}_images_paths.txt") for part in PARTS]
            names, vectors = [name for half in parts for name in half[0]], np.concatenate([half[1] for half in parts])
            part = np.repeat(PARTS, [len(half[0]) for half in parts]).tolist()
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
    return ForeignDescriptors(path, names, vectors, part)


def _numpy(path: Path, listed: Path) -> tuple[list[str], np.ndarray]:
    """An array and the names of its rows; raises VprError when the list is missing or of another length."""
    vectors = np.load(path, allow_pickle=False)
    if not isinstance(vectors, np.ndarray):
        raise ValueError("it holds several arrays")
    if not listed.is_file():
        raise VprError(f"{listed} is missing: the list of the images in {path}, a path a line")
    lines = [line.strip(BLANK) for line in listed.read_text(encoding="utf-8-sig").split("\n")]
    names = [line.replace("\\", "/") for line in lines if line]
    if len(names) != len(vectors):
        raise VprError(f"{listed} names {len(names)} images, {path} has {len(vectors)} descriptors; write both again")
    return names, vectors


def _hdf5(path: Path) -> tuple[list[str], np.ndarray]:
    with h5py.File(path, "r", locking=False) as file:
        groups: list[str] = []

        def visit(name: str, link: object) -> str | None:
            """Collect the names of descriptors; returns what is wrong with a link, which ends the walk."""
            if name.endswith("/global_descriptor"):
                groups.append(name)
            return _elsewhere(file, name, link)

        if elsewhere := file.visititems_links(visit):
            raise ValueError(elsewhere)
        ours = "fingerprint" in file.attrs
        vectors = [] if ours else [_vector(name, file[name]) for name in groups]
    if ours:
        cache = DescriptorCache(path)
        done = np.flatnonzero(cache.done)
        return cache.keys[done].tolist(), np.asarray(cache.globals_[done])
    if not groups:
        raise ValueError("it has no dataset global_descriptor and is no cache of ours")
    return [name.removesuffix("/global_descriptor") for name in groups], np.stack(vectors)


def _elsewhere(file: h5py.File, name: str, link: object) -> str | None:
    """What is said of a link to another place, and of a dataset whose numbers lie in other files: if one is gone, they
    read as zeros. None for what lies in the file."""
    if not isinstance(link, h5py.HardLink):
        return f"{name} is a link, which is not followed"
    found = file[name]
    elsewhere = isinstance(found, h5py.Dataset) and (found.external or found.is_virtual)
    return f"it keeps {name} in other files, which are not opened" if elsewhere else None


def _vector(name: str, dataset: h5py.Dataset) -> np.ndarray:
    vector = np.asarray(dataset[()])
    if vector.size != max(vector.shape, default=1):
        raise ValueError(f"{name} is {vector.shape}, not one vector")
    return vector.reshape(-1)
