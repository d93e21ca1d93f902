"""Descriptors on disk: one HDF5 file that says which model made it, resumes, and is read as a memory map.

Layout (root attributes: ``fingerprint``, ``format``; every dataset contiguous and allocated when the file is made):

    keys       (N,)       str      image path relative to the dataset's root
    bytes      (N,)       int64    size of the image file that was described; another size means another image
    times      (N,)       int64    time of its last change, nanoseconds; another one means another image; 0: not known
    done       (N,)       uint8    1 when the row's descriptors are there
    global     (N, G)     float32  unit vectors
    patches    (N, P, C)  float16  unit vectors, rows of the grid first; or int8, each vector scaled to +-127
    weights    (N, P)     float32  of the patches, each row of sum 1; only in caches that were asked for it

All HDF5 structure is written before the file gets its name, in front of the arrays. From then on only array elements
change, in place, and a row's ``done`` follows its descriptors: a killed writer leaves a sound file in which some rows
are not done, and a file cut short loses rows, not its structure.
"""

import os
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import h5py
import numpy as np
import numpy.typing as npt

from vpr.base.errors import VprError
from vpr.base.files import preallocate, replacing

FORMAT = 1
ARRAYS = {"bytes": (np.int64, 1), "done": (np.uint8, 1), "global": (np.float32, 2)}  # and patches, of a PatchType
OPTIONAL = {"weights": (np.float32, 2), "times": (np.int64, 1)}  # files of version 0.1 lack times
PatchType = Literal["float16", "int8"]
Weights = np.ndarray | None
Keys = Sequence[str] | np.ndarray  # image files relative to the dataset's root
ALL = slice(None)
STRUCTURE_BYTES = 8192  # all HDF5 structure lies in these first bytes, whatever N, and the arrays after them
ALIGNMENT_BYTES = 64  # of every array in the file, so that its memory map is aligned too
SUPERBLOCK_0 = b"\x89HDF\r\n\x1a\n\0"  # how a file that `create` made begins


class CacheError(VprError):
    """A cache file that is missing, damaged, or lacks images."""


class CacheMismatch(CacheError):
    """A cache file that another model made."""


@dataclass(frozen=True)
class CacheSpec:
    """Which descriptors a cache holds."""

    fingerprint: str  # of the model's weights, transform, size and grid
    patches: int  # P, patch descriptors an image; 0 from a model with global descriptors only
    dim: int  # C, numbers of a patch descriptor
    dtype: PatchType = "float16"  # of the patch descriptors; int8 takes half the space
    global_dim: int = 0  # G, numbers of a global descriptor; 0 stands for C
    weights: bool = False  # whether there is a weight for each patch

    def __post_init__(self) -> None:
        object.__setattr__(self, "global_dim", self.global_dim or self.dim)

    def __str__(self) -> str:
        patches = f"{self.patches} x {self.dim} {self.dtype}{', weights' if self.weights else ''}"
        return f"{self.fingerprint}, {self.global_dim} global, {patches}"

    def alike(self, other: "CacheSpec") -> bool:
        """Whether both are the same but for weights, which may be there without being wanted."""
        return replace(self, weights=other.weights) == other


class DescriptorCache:
    """An open cache file; ``globals_`` (N, G) float32 and ``patches`` (N, P, C) float16 or int8 are arrays on disk.

    ``weights`` is (N, P) float32, or None in most files. ``keys`` (N,) str, ``bytes`` (N,) int64 and ``done`` (N,)
    uint8 as in the file. Contiguous arrays are memory maps; chunked or compressed ones are only read, into memory.
    """

    def __init__(self, path: Path, spec: CacheSpec | None = None, writable: bool = False, part: slice = ALL) -> None:
        """Open a cache, or a part of its rows; with a spec, only one of that model. Raises CacheError when the file is
        missing or damaged, CacheMismatch when another model made it.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise CacheError(f"no descriptor cache at {path}; make it with: python -m vpr.extract --cache {path}")
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                self.fingerprint, layout = str(file.attrs["fingerprint"]), int(file.attrs["format"])
                names = (*ARRAYS, "patches", *(name for name in OPTIONAL if name in file))
                for name in ("keys", *names):
                    self._require_inside(file, name)
                self.keys = file["keys"].asstr()[part]
                arrays = {name: self._open(file[name], writable)[part] for name in names}
        except CacheError:
            raise
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
            raise CacheError(
                f"{path} is damaged or no descriptor cache ({error}); remove it or pass another --cache "
                "(python -m vpr.extract mends one that was cut short)"
            ) from error
        self.bytes, self.done = arrays["bytes"], arrays["done"]
        self.globals_, self.patches, self.weights = arrays["global"], arrays["patches"], arrays.get("weights")
        self.times = arrays.get("times")
        self._rows = {key: row for row, key in enumerate(self.keys)}
        self._check(layout, arrays, spec)

    def _check(self, layout: int, arrays: dict[str, np.ndarray], spec: CacheSpec | None) -> None:
        """Refuse another layout and another model's descriptors."""
        remedy = "pass another --cache, or replace it with python -m vpr.extract --overwrite"
        kinds = {name: (array.dtype, array.ndim) for name, array in arrays.items()}
        lengths = {len(self.keys), *(len(array) for array in arrays.values())}
        more = {name: kind for name, kind in OPTIONAL.items() if name in arrays}
        known = [{**ARRAYS, **more, "patches": (np.dtype(dtype), 3)} for dtype in get_args(PatchType)]
        fits = kinds in known and (self.weights is None or self.weights.shape[1:] == self.patches.shape[1:2])
        if layout != FORMAT or not fits or len(lengths) > 1:
            raise CacheMismatch(f"{self.path} has not the layout that vpr.cache describes (format {FORMAT}); {remedy}")
        if spec is not None and not self.spec.alike(spec):
            raise CacheMismatch(f"{self.path} was made by another model ({self.spec}), this run is {spec}; {remedy}")
        if spec is not None and spec.weights:
            self._given_weights()

    def _require_inside(self, file: h5py.File, name: str) -> None:
        """Raise CacheError for a dataset in another file: a link, external storage or a virtual dataset.

        If the other file is gone, its numbers would read as zeros.
        """
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            dataset = file[name]
            if not dataset.external and not dataset.is_virtual:
                return
        elif name not in file:
            raise KeyError(f"{name} is missing")
        raise CacheError(f"{self.path} keeps {name} in other files, which are not opened; remove it")

    def _open(self, dataset: h5py.Dataset, writable: bool) -> np.ndarray:
        """The dataset as a memory map if it is contiguous, otherwise as an array in memory."""
        offset = dataset.id.get_offset()
        if dataset.size == 0:
            return np.zeros(dataset.shape, dataset.dtype)
        if offset is None:
            if writable:
                raise CacheError(f"{self.path} is chunked or compressed and can only be read; pass another --cache")
            return dataset[()]
        return np.memmap(self.path, dataset.dtype, "r+" if writable else "r", offset, dataset.shape)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def spec(self) -> CacheSpec:
        """What the file holds."""
        patches, dim = self.patches.shape[1:]
        dtype: PatchType = "int8" if self.patches.dtype == np.int8 else "float16"
        return CacheSpec(self.fingerprint, patches, dim, dtype, self.globals_.shape[1], self.weights is not None)

    def find(self, keys: Keys) -> np.ndarray:
        """The rows of the given images, (K,) int64, done or not; -1 where the file has none."""
        return np.array([self._rows.get(key, -1) for key in keys], np.int64)

    def rows(self, keys: Keys) -> np.ndarray:
        """The rows of the given images, (K,) int64, all of which must be done.

        Raises CacheError naming the first image that is missing, or whose global descriptor is no number.
        """
        rows = self.find(keys)
        lacking = rows < 0
        lacking[~lacking] = self.done[rows[~lacking]] == 0
        if lacking.any():
            raise CacheError(
                f"{self.path} lacks {lacking.sum()} images, {keys[int(lacking.argmax())]} the first; "
                f"complete it with: python -m vpr.extract --cache {self.path}"
            )
        self.require_numbers(rows, self.globals_[rows])
        return rows

    def require_numbers(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Raise CacheError naming the first of the rows (b,) whose values (b, ...) are not all finite numbers."""
        broken = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if broken.any():
            raise CacheError(
                f"{self.path} holds descriptors that are no numbers, of {self.keys[rows[int(broken.argmax())]]} first; "
                "remove it, and it is made again"
            )

    def read_patches(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Patch descriptors of the rows (b,), unit vectors (b, P, C) float16, into ``out`` where it is given."""
        out = np.empty((len(rows), *self.patches.shape[1:]), np.float16) if out is None else out
        if self.patches.dtype == np.float16:
            return np.take(self.patches, rows, axis=0, out=out, mode="clip")  # mode="raise" would copy the rows twice
        patches = self.patches[rows].astype(np.float32)
        out[:] = patches / np.maximum(np.linalg.norm(patches, axis=-1, keepdims=True), 1e-9)
        return out

    def restart(self, rows: np.ndarray, sizes: np.ndarray, times: np.ndarray | None = None) -> None:
        """Take the rows (b,) as not done, to be described from image files of these sizes (b,), bytes, and times of
        change (b,), nanoseconds; without times they are not known. Files of version 0.1 have no place for times."""
        self.done[rows] = 0
        self.bytes[rows] = sizes
        if self.times is not None:
            self.times[rows] = 0 if times is None else times

    def read_weights(self, rows: np.ndarray) -> np.ndarray:
        """The weights of the patches of the rows (b,), (b, P) float32; raises CacheError where the file has none."""
        return self._given_weights()[rows]

    def _given_weights(self) -> np.ndarray:
        """The weights of the patches; raises CacheMismatch where the file has none."""
        if self.weights is None:
            remedy = "pass another --cache, or replace it with python -m vpr.extract --rollout --overwrite"
            raise CacheMismatch(f"{self.path} has no weights of patches, which rollout marginals need; {remedy}")
        return self.weights

    def write(self, rows: np.ndarray, globals_: np.ndarray, patches: np.ndarray, weights: Weights = None) -> None:
        """Write the rows (b,), then mark them as done. weights (b, P): where the file has a place for them."""
        if self.patches.dtype == np.int8:
            patches = patches.astype(np.float32)
            patches = np.rint(patches * (127 / np.maximum(np.abs(patches).max(-1, keepdims=True, initial=0), 1e-9)))
        self.globals_[rows], self.patches[rows] = globals_, patches
        if self.weights is not None:
            assert weights is not None, "this cache keeps the weights of patches"
            self.weights[rows] = weights
        _flush(self.globals_, self.patches, self.weights)
        self.done[rows] = 1
        _flush(self.done)


def create(path: Path, keys: Keys, spec: CacheSpec, old: DescriptorCache | None = None) -> None:
    """Make a cache file with a row for each key, nothing done but what ``old``, a cache of the same model, holds.

    The rows of ``old`` come first and stay where they were. The file appears whole or not at all.
    """
    kept = len(old) if old is not None else 0
    known = set(old.keys) if old is not None else set()
    every = [*(old.keys if old is not None else ()), *(key for key in dict.fromkeys(keys) if key not in known)]
    with replacing(path) as temporary:
        patch_bytes = spec.dim * np.dtype(spec.dtype).itemsize + 4 * spec.weights
        image_bytes = 4 * spec.global_dim + spec.patches * patch_bytes
        width = max((len(key.encode()) for key in every), default=1)
        # before HDF5 writes, which gives this space back and may crash where there is none
        preallocate(temporary, STRUCTURE_BYTES + len(every) * (width + 17 + image_bytes) + 7 * ALIGNMENT_BYTES)
        places = {"alignment_threshold": 1, "alignment_interval": ALIGNMENT_BYTES}
        with h5py.File(temporary, "w", libver="earliest", meta_block_size=STRUCTURE_BYTES // 2, **places) as file:
            file.attrs["fingerprint"], file.attrs["format"] = spec.fingerprint, FORMAT
            text = h5py.string_dtype("utf-8", width)
            _allocate(file, "keys", (len(every),), text)
            file["keys"][:] = np.array([key.encode() for key in every], text)
            _allocate(file, "bytes", (len(every),), np.int64)
            _allocate(file, "done", (len(every),), np.uint8)
            _allocate(file, "times", (len(every),), np.int64)
            _allocate(file, "global", (len(every), spec.global_dim), np.float32)
            _allocate(file, "patches", (len(every), spec.patches, spec.dim), spec.dtype)
            if spec.weights:
                _allocate(file, "weights", (len(every), spec.patches), np.float32)
        preallocate(temporary, temporary.stat().st_size)
        if kept:
            new = DescriptorCache(temporary, writable=True)
            stamps = ("times",) if old is not None and old.times is not None else ()
            for name in ("globals_", "patches", "bytes", *stamps, "done", *(("weights",) if spec.weights else ())):
                for start in range(0, kept, 4096):
                    stop = min(start + 4096, kept)
                    getattr(new, name)[start:stop] = getattr(old, name)[start:stop]


def _flush(*arrays: Weights) -> None:
    """Hand what was written into memory maps to the system; empty arrays are no maps."""
    for array in arrays:
        if isinstance(array, np.memmap):
            array.flush()


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """A contiguous dataset of zeros whose place in the file is fixed at once, without a time stamp."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_obj_track_times(False)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # a new file reads as zeros
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), properties)


def mend_truncated(path: Path) -> bool:
    """Give a file that was cut short its full length again, with the rows that were cut off not done.

    Returns whether it was cut; a file that `create` did not make is left alone. The HDF5 superblock (version 0) holds
    the full length in bytes 40 to 47. Raises CacheError when so much is gone that the keys are incomplete.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(48)
    if len(head) < 48 or not head.startswith(SUPERBLOCK_0):
        return False
    (full,) = struct.unpack("<Q", head[40:])
    if length >= full:
        return False
    gone = f"{path} was cut before its descriptors begin; remove it or pass another --cache"
    if length < STRUCTURE_BYTES:  # HDF5 may hang on a structure filled up with zeros
        raise CacheError(gone)
    with replacing(path) as temporary:
        shutil.copyfile(path, temporary)
        try:
            os.truncate(temporary, full)
            cache = DescriptorCache(temporary, writable=True)
        except (CacheError, OverflowError, OSError) as error:  # of a length that no file can have, too
            raise CacheError(gone) from error
        arrays = [cache.bytes, cache.done, cache.globals_, cache.patches, cache.weights, cache.times]
        maps = [array for array in arrays if isinstance(array, np.memmap)]
        if maps and length < min(array.offset for array in maps):
            raise CacheError(gone)
        for array in maps:
            whole = max(0, length - array.offset) // (array.nbytes // len(array))
            cache.done[whole:] = 0
        _flush(cache.done)
    return True
