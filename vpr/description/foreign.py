"""Global descriptors from other tools, looked up by image.

Layouts, for N images and descriptors of length D:

- hloc (Sarlin et al., CVPR 2019): HDF5 with a group for each image, named by its path, with ``global_descriptor`` (D,).
- VPR-methods-evaluation (Berton): a folder with ``database_descriptors.npy`` and ``queries_descriptors.npy``. The lists
  of their images are ``database_images_paths.txt`` and ``queries_images_paths.txt``, with one path per line. Without
  lists the rows are in the order of the sorted paths, as that software writes them.
- ``NAME.npy`` (N, D) and ``NAME.txt`` with one path per line.
- A descriptor cache of this software.
"""

import hashlib
import logging
import tokenize
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import h5py
import numpy as np

from vpr.base.errors import VprError
from vpr.base.outputs import HDF5
from vpr.base.photo_files import ENDINGS, WHITE_SPACE
from vpr.cache import DescriptorCache

log = logging.getLogger("vpr")

PARTS = ("database", "queries")  # of the layout of VPR-methods-evaluation
FOLDERS = {"database": "database", "query": "queries", "queries": "queries"}  # folders of images, with their part
OTHER_ENDINGS = (".npy", ".npz", ".pt", ".pth", ".h5", ".json")  # extensions of names, besides those of photos
READ_ERRORS = (
    OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, EOFError, SyntaxError, ArithmeticError,
    MemoryError, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ForeignDescriptors:
    """Descriptors of unit length, with the names of the images in the file."""

    path: Path
    names: list[str]  # paths or parts of paths, forward slashes
    vectors: np.ndarray  # (N, D) float32
    part: Sequence[str] = ()  # (N,) of `PARTS`; empty if the layout has no parts

    @property
    def dim(self) -> int:
        """Length of a descriptor."""
        return int(self.vectors.shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """A digest of names and descriptors, 16 hexadecimal digits."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        digest.update(self.vectors.tobytes())
        return digest.hexdigest()[:16]

    def look_up(self, images: Sequence[str] | np.ndarray) -> np.ndarray:
        """The descriptors (K, D) of images, given by their paths relative to the root of the dataset.

        A name matches if it is the path, an end of the path, or a longer path with the same end. The longest match
        wins. If there is none, a name with the same file name matches, also between two @, if it is the only one.
        Extensions are ignored. In a layout with parts, an image in a folder ``database``, ``query`` or ``queries`` is
        looked up in that part. Raises VprError for an image without a descriptor, images with the same descriptor, and
        an image with two descriptors.
        """
        rows = [self._row(str(image)) for image in images]
        if missing := [image for image, row in zip(images, rows) if row is None]:
            lacking = f"{len(missing)} of {len(rows)} images, the first is {missing[0]}"
            raise VprError(f"{self.path} lacks {lacking}; add their descriptors, named by their paths")
        return self.vectors[np.array(rows, np.int64)]

    def _row(self, image: str) -> int | None:
        parts = _split_name(image)
        named = {row: _split_name(self.names[row]) for row in self._select_part(image, self._rows.get(parts[-1], []))}
        fitting = [row for row, name in named.items() if _ends_with(parts, name) or _ends_with(name, parts)]
        longest = max((len(named[row]) for row in fitting), default=0)
        rows = [row for row in fitting if len(named[row]) == longest]
        if len(rows) > 1 and (self.vectors[rows] != self.vectors[rows[0]]).any():
            raise VprError(
                f"{self.path} has two descriptors of {image}; use longer paths, from the dataset's folder on"
            )
        if not rows and len(named) == 1:
            rows = list(named)
        if rows and self._image_of_row.setdefault(rows[0], image) != image:
            name, other = self.names[rows[0]], self._image_of_row[rows[0]]
            raise VprError(f"{self.path}: {name} could be {other} or {image}; use the paths of images as names")
        return rows[0] if rows else None

    def _select_part(self, image: str, rows: list[int]) -> list[int]:
        """The rows in the part that the image's folders name; all rows if they name none, or the part has no row."""
        parts = {FOLDERS[folder] for folder in PurePosixPath(image).parts[:-1] if folder in FOLDERS}
        if not self.part or len(parts) != 1:
            return rows
        return [row for row in rows if self.part[row] in parts] or rows

    @cached_property
    def _image_of_row(self) -> dict[int, str]:
        """The image that each row belongs to, for the rows used so far."""
        return {}

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        """The rows by file name without extension, and by its parts between @."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            stem = _split_name(name)[-1]
            for part in {stem, *filter(None, stem.split("@"))}:
                rows.setdefault(part, []).append(row)
        return rows


def _split_name(name: str) -> tuple[str, ...]:
    """The folders of a name and its file name without extension, in Unicode's composed form (NFC)."""
    path = PurePosixPath(unicodedata.normalize("NFC", name))
    known = path.suffix.lower() in (*ENDINGS, *OTHER_ENDINGS)
    return (path.with_suffix("") if known else path).parts or ("",)


def _ends_with(path: tuple[str, ...], end: tuple[str, ...]) -> bool:
    """Whether the last parts of a path are those of another path."""
    return path[-len(end) :] == end


def is_foreign(path: Path) -> bool:
    """Whether a path has one of the layouts: by its extension, or for a folder by its content."""
    if path.is_dir():
        return all((path / f"{part}_descriptors.npy").is_file() for part in PARTS)
    return path.is_file() and path.suffix.lower() in (*HDF5, ".npy")


def read_foreign(path: Path, photos: Mapping[str, Sequence[str]] | None = None) -> ForeignDescriptors:
    """Read descriptors in one of the layouts.

    photos: the paths of the images of each part of `PARTS`, which a folder without lists has in their sorted order;
    without them such a folder is refused.

    Raises VprError for a file that is missing, damaged or of another layout, and for descriptors that are zero or not
    finite.
    """
    if not path.exists():
        raise VprError(f"there are no descriptors at {path}; check the path")
    if path.suffix.lower() == ".npz":
        raise VprError(f"{path} may have several arrays; save one as .npy, and the list of its images as .txt")
    part: Sequence[str] = ()
    try:
        if path.is_dir():
            parts = [_read_part(path, part, photos) for part in PARTS]
            names, vectors = [name for half in parts for name in half[0]], np.concatenate([half[1] for half in parts])
            part = np.repeat(PARTS, [len(half[0]) for half in parts]).tolist()
        elif path.suffix.lower() == ".npy":
            names, vectors = _read_numpy(path, path.with_suffix(".txt"))
        else:
            names, vectors = _read_hdf5(path)
    except READ_ERRORS as error:
        raise VprError(f"{path} cannot be read as descriptors ({error}); write it again") from error
    if vectors.ndim != 2 or not vectors.size or not np.issubdtype(vectors.dtype, np.floating):
        raise VprError(f"{path} has an array {vectors.shape} of {vectors.dtype}, not descriptors (images, numbers)")
    vectors = vectors.astype(np.float32, copy=False)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    broken = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
    if broken.any():
        name = names[int(broken.argmax())]
        raise VprError(f"{path}: the descriptor of {name} is zero or not finite; compute it again")
    if np.abs(lengths - 1).max() > 0.01:
        log.warning("%s: the descriptors are scaled to unit length", path)
        vectors = vectors / lengths
    return ForeignDescriptors(path, names, vectors, part)


def _read_part(folder: Path, part: str, photos: Mapping[str, Sequence[str]] | None) -> tuple[list[str], np.ndarray]:
    """The names and descriptors of a part of a folder; raises VprError if it has no list, and other photos."""
    path, listed = folder / f"{part}_descriptors.npy", folder / f"{part}_images_paths.txt"
    if photos is None or listed.is_file():
        return _read_numpy(path, listed)
    names, vectors = sorted(photos[part]), _load_numpy(path)
    if len(names) != len(vectors):
        what = f"{path} has {len(vectors)} descriptors, and the set has {len(names)} photos in {part}"
        raise VprError(what, thing=path, remedy=f"write the list of its images, {listed.name}, one path per line")
    log.info("%s: no %s beside it, so its rows are taken as those of the sorted paths", path, listed.name)
    return names, vectors


def _load_numpy(path: Path) -> np.ndarray:
    vectors = np.load(path, allow_pickle=False)
    if not isinstance(vectors, np.ndarray):
        raise ValueError("it has several arrays")
    return np.atleast_1d(vectors)


def _read_numpy(path: Path, listed: Path) -> tuple[list[str], np.ndarray]:
    """An array and the names of its rows; raises VprError if the list is missing or has another length."""
    vectors = _load_numpy(path)
    if not listed.is_file():
        raise VprError(f"{listed} is missing; write the list of the images in {path}, one path per line")
    lines = [line.strip(WHITE_SPACE) for line in listed.read_text(encoding="utf-8-sig").split("\n")]
    names = [line.replace("\\", "/") for line in lines if line]
    if len(names) != len(vectors):
        raise VprError(f"{listed} names {len(names)} images, {path} has {len(vectors)} descriptors; write both again")
    return names, vectors


def _read_hdf5(path: Path) -> tuple[list[str], np.ndarray]:
    with h5py.File(path, "r", locking=False) as file:
        groups: list[str] = []

        def visit(name: str, link: object) -> str | None:
            """Collect the names of descriptors; the problem of a link is returned, and ends the walk."""
            if name.endswith("/global_descriptor"):
                groups.append(name)
            return _outside_problem(file, name, link)

        if problem := file.visititems_links(visit):
            raise ValueError(problem)
        is_cache = "fingerprint" in file.attrs
        vectors = [] if is_cache else [_read_vector(name, file[name]) for name in groups]
    if is_cache:
        cache = DescriptorCache(path)
        done = np.flatnonzero(cache.done)
        return cache.keys[done].tolist(), np.asarray(cache.globals_[done])
    if not groups:
        raise ValueError("it has no dataset global_descriptor, and is not a cache of this software")
    return [name.removesuffix("/global_descriptor") for name in groups], np.stack(vectors)


def _outside_problem(file: h5py.File, name: str, link: object) -> str | None:
    """The problem of a link, or of a dataset whose data lie in other files; None if the data are in this file.

    If another file is missing, its data would read as zeros.
    """
    if not isinstance(link, h5py.HardLink):
        return f"{name} is a link, which is not followed"
    item = file[name]
    is_outside = isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)
    return f"it keeps {name} in other files, which are not opened" if is_outside else None


def _read_vector(name: str, dataset: h5py.Dataset) -> np.ndarray:
    vector = np.asarray(dataset[()])
    if vector.size != max(vector.shape, default=1):
        raise ValueError(f"{name} is {vector.shape}, not one vector")
    return vector.reshape(-1)
