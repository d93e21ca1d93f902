"""The descriptor cache: an HDF5 file with the descriptors of many images and the fingerprint of the model.

It is read as memory maps, and an interrupted writer continues. Layout, with the attributes ``fingerprint`` and
``format`` of the root, and ``keeps_globals`` if an adaptation leaves the global descriptors as they are; every dataset
is contiguous and allocated when the file is created:

    keys       (N,)       str      image path relative to the root of the dataset
    bytes      (N,)       int64    size of the described image file; another size means another image
    times      (N,)       int64    modification time of that file, nanoseconds; 0 if unknown
    done       (N,)       uint8    1 if the row has descriptors
    global     (N, G)     float32  unit vectors
    patches    (N, P, C)  float16  unit vectors, in row-major order of the grid; or int8, each vector scaled to +-127
    weights    (N, P)     float32  patch weights, each row of sum 1; optional

If patches are product-quantised (types pq28 and pq14), ``patches`` is (N, P, M) uint8, and there is one more dataset:

    coding     (L,)       uint8    the bytes of a safetensors file: ``codebooks`` (M, 256, S) float32, the centroids of
                                   each part of a patch; ``prediction`` (3, 2) float32, the weights of neighbours, see
                                   vpr.patch_codes; ``dim`` (1,), which is C; ``images``, a digest of the images that
                                   they were fitted to; and the arrays of the adaptation to which globals and patches
                                   belong, or none if they are not adapted

All HDF5 metadata is written at the front of the file, before the file is renamed into place. After that only array
elements change, in place, and ``done`` of a row is set after its descriptors. So a killed writer leaves a valid file in
which some rows are not done, and a truncated file loses rows but no metadata.

The space of a file is allocated when it is created. In a sparse file, of which few rows may ever be used, that of a row
is allocated before it is written.
"""

import operator
import os
import shutil
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import h5py
import numpy as np
import numpy.typing as npt

from vpr.base.errors import VprError
from vpr.base.files import preallocate, replace_file
from vpr.patch_codes import CENTROIDS, CODE_BYTES, PatchCodes

FORMAT = 1
ARRAYS = {"bytes": (np.int64, 1), "done": (np.uint8, 1), "global": (np.float32, 2)}  # and patches, of a PatchType
OPTIONAL = {"weights": (np.float32, 2), "times": (np.int64, 1)}  # files of version 0.1 have no times
PatchType = Literal["float16", "int8", "pq28", "pq14"]
CODING = "coding"
Weights = np.ndarray | None
Keys = Sequence[str] | np.ndarray  # image files, relative to the root of the dataset
ALL = slice(None)
STRUCTURE_BYTES = 8192  # the HDF5 metadata at the front of the file fits into this for any N; the arrays follow
ALIGNMENT_BYTES = 64  # of every array in the file, and so of its memory map
SUPERBLOCK_0 = b"\x89HDF\r\n\x1a\n\0"  # first bytes of a file made by `create`


class CacheError(VprError):
    """A cache file that is missing or damaged, or that lacks images."""


class CacheMismatch(CacheError):
    """A cache file of another model, or of another layout."""


@dataclass(frozen=True, eq=False)
class Coding:
    """How the patches of a cache are product-quantised."""

    codes: PatchCodes
    images: str  # digest of the images that it was fitted to, see vpr.description.coding
    # the arrays of the adaptation of global descriptors and patches, see vpr.description.adaptation; empty for none
    adaptation: Mapping[str, np.ndarray]

    def to_bytes(self) -> bytes:
        """The bytes of a safetensors file; `from_bytes` is the inverse."""
        from safetensors.numpy import save

        codes = {"codebooks": self.codes.codebooks, "dim": np.array([self.codes.dim])}
        arrays = {**self.adaptation, **codes, "prediction": self.codes.prediction}
        arrays["images"] = np.frombuffer(self.images.encode(), np.uint8)
        return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Coding":
        """The inverse of `to_bytes`; raises ValueError or KeyError for other bytes."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(content)
        except SafetensorError as error:
            raise ValueError(f"the coding: {error}") from error
        codebooks, dim, images = arrays.pop("codebooks"), int(arrays.pop("dim").item()), arrays.pop("images")
        prediction = arrays.pop("prediction", np.zeros((3, 2), np.float32))  # the first codes had none
        parts, centroids, size = codebooks.shape
        is_known = parts in CODE_BYTES.values() and centroids == CENTROIDS and 0 < dim <= parts * size
        is_known &= prediction.shape == (3, 2) and prediction.dtype == np.float32
        if not is_known or codebooks.dtype != np.float32:
            raise ValueError(f"codebooks {codebooks.shape} of {codebooks.dtype} for {dim} numbers")
        return cls(PatchCodes(codebooks, dim, prediction), images.tobytes().decode(), arrays)


@dataclass(frozen=True)
class CacheSpec:
    """The kind of descriptors in a cache."""

    fingerprint: str  # of the model's weights, transform, size and grid
    patches: int  # P, patch descriptors per image; 0 for a model with global descriptors only
    dim: int  # C, length of a patch descriptor
    dtype: PatchType = "float16"  # type of patch descriptors
    global_dim: int = 0  # G, length of a global descriptor; 0 means C
    weights: bool = False  # whether there is a weight for each patch
    adapted: bool = False  # whether the descriptors are adapted to the images; of product-quantised types only
    keeps_globals: bool = False  # whether an adaptation leaves the global descriptors as the model makes them

    def __post_init__(self) -> None:
        object.__setattr__(self, "global_dim", self.global_dim or self.dim)

    def __str__(self) -> str:
        patches = f"{self.patches} x {self.dim} {self.dtype}{', weights' if self.weights else ''}"
        patches += ", adapted" if self.adapted else ""
        return f"{self.fingerprint}, {self.global_dim} global, {patches}"

    @property
    def is_coded(self) -> bool:
        """Whether the patches are product-quantised."""
        return self.dtype in CODE_BYTES

    @property
    def patch_bytes(self) -> int:
        """The bytes of a patch descriptor."""
        return CODE_BYTES[self.dtype] if self.is_coded else self.dim * np.dtype(self.dtype).itemsize

    def matches(self, other: "CacheSpec") -> bool:
        """Whether both are equal except for weights, which a cache may have without need."""
        return replace(self, weights=other.weights) == other


class DescriptorCache:
    """An open cache file; ``globals_`` (N, G) float32 and ``patches`` (N, P, C) float16 or int8 are arrays on disk.

    If patches are product-quantised, ``patches`` are their codes (N, P, M) uint8, and ``coding`` is not None.
    ``weights`` is (N, P) float32, or None if the file has none. ``keys`` (N,) str, ``bytes`` and ``times`` (N,) int64
    and ``done`` (N,) uint8 are as in the file; ``times`` is None in files of version 0.1. Contiguous arrays are memory
    maps. Chunked and compressed arrays are read into memory and cannot be written.
    """

    def __init__(self, path: Path, spec: CacheSpec | None = None, writable: bool = False, part: slice = ALL) -> None:
        """Open a cache, or a part of its rows. spec: the kind of descriptors that it must have; None allows any.

        Raises CacheError if the file is missing or damaged, and CacheMismatch if it has other descriptors.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise CacheError(
                f"there is no descriptor cache at {path}; make it with: python -m vpr.extract --cache {path}"
            )
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                if "fingerprint" not in file.attrs:
                    raise CacheError(
                        f"{path} is no descriptor cache, but an HDF5 file of another kind, such as features for hloc; "
                        "pass another --cache"
                    )
                self.fingerprint, layout = str(file.attrs["fingerprint"]), int(file.attrs["format"])
                self.keeps_globals = bool(file.attrs.get("keeps_globals", False))
                names = (*ARRAYS, "patches", *(name for name in OPTIONAL if name in file))
                for name in ("keys", *names):
                    self._require_inside(file, name)
                self.keys = file["keys"].asstr()[part]
                self.coding = None
                if CODING in file:
                    self._require_inside(file, CODING)
                    self.coding = Coding.from_bytes(file[CODING][()].tobytes())
                arrays = {name: self._open(file[name], writable)[part] for name in names}
        except CacheError:
            raise
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
            raise CacheError(
                f"{path} is damaged or not a descriptor cache ({error}); remove it or pass another --cache "
                "(python -m vpr.extract repairs a truncated one)"
            ) from error
        self.bytes, self.done = arrays["bytes"], arrays["done"]
        self.globals_, self.patches, self.weights = arrays["global"], arrays["patches"], arrays.get("weights")
        self.times = arrays.get("times")
        self._check(layout, arrays, spec)

    def _check(self, layout: int, arrays: dict[str, np.ndarray], spec: CacheSpec | None) -> None:
        """Raise CacheMismatch for another layout, and for another kind of descriptors."""
        remedy = "pass another --cache, or replace it with python -m vpr.extract --overwrite"
        kinds = {name: (array.dtype, array.ndim) for name, array in arrays.items()}
        lengths = {len(self.keys), *(len(array) for array in arrays.values())}
        more = {name: kind for name, kind in OPTIONAL.items() if name in arrays}
        kind = np.dtype(np.uint8) if self.coding is not None else arrays["patches"].dtype
        fits = kinds == {**ARRAYS, **more, "patches": (kind, 3)}
        fits &= self.coding is not None or kind in (np.float16, np.int8)
        fits &= self.coding is None or self.patches.shape[2] == len(self.coding.codes.codebooks)
        fits &= self.weights is None or self.weights.shape[1:] == self.patches.shape[1:2]
        if layout != FORMAT or not fits or len(lengths) > 1:
            raise CacheMismatch(f"{self.path} does not have the layout of vpr.cache (format {FORMAT}); {remedy}")
        if spec is not None and not self.spec.matches(spec):
            raise CacheMismatch(f"{self.path} was made by another model ({self.spec}), this run is {spec}; {remedy}")
        if spec is not None and spec.weights:
            self._require_weights()

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
            return np.asarray(dataset[()])
        return np.memmap(self.path, dataset.dtype, "r+" if writable else "r", offset, dataset.shape)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def spec(self) -> CacheSpec:
        """The kind of descriptors in the file."""
        patches, dim = self.patches.shape[1:]
        dtype: PatchType = "int8" if self.patches.dtype == np.int8 else "float16"
        if self.coding is not None:
            dtype = next(name for name in get_args(PatchType) if CODE_BYTES.get(name) == dim)
            dim = self.coding.codes.dim
        adapted = self.coding is not None and bool(self.coding.adaptation)
        return CacheSpec(
            self.fingerprint, patches, dim, dtype, self.globals_.shape[1], self.weights is not None, adapted,
            self.keeps_globals,
        )  # fmt: skip

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Patches P and channels C of an image."""
        return self.spec.patches, self.spec.dim

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The row of each key."""
        return {key: row for row, key in enumerate(self.keys)}

    def find(self, keys: Keys) -> np.ndarray:
        """The rows of images, (K,) int64, done or not; -1 if the file does not have the image."""
        if len(keys) == len(self.keys) and all(map(operator.eq, keys, self.keys)):  # as of a file made for these images
            return np.arange(len(keys))
        return np.array([self._rows.get(key, -1) for key in keys], np.int64)

    def rows(self, keys: Keys) -> np.ndarray:
        """The rows of images, (K,) int64.

        Raises CacheError if an image is missing or not done, or its global descriptor has NaN or infinity.
        """
        rows = self.find(keys)
        lacking = rows < 0
        lacking[~lacking] = self.done[rows[~lacking]] == 0
        if lacking.any():
            raise CacheError(
                f"{self.path} lacks {lacking.sum()} images, the first is {keys[int(lacking.argmax())]}; "
                f"complete it with: python -m vpr.extract --cache {self.path}"
            )
        self.require_numbers(rows, self.globals_[rows])
        return rows

    def require_numbers(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Raise CacheError with the first of the rows (b,) whose values (b, ...) have NaN or infinity."""
        broken = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if broken.any():
            raise CacheError(
                f"{self.path} has descriptors with NaN or infinity, first of {self.keys[rows[int(broken.argmax())]]}; "
                "remove it, and it is made again"
            )

    def read_patches(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Patch descriptors of the rows (b,), unit vectors (b, P, C) float16; written into ``out`` if given."""
        out = np.empty((len(rows), *self.patch_shape), np.float16) if out is None else out
        if self.coding is not None:
            return self.coding.codes.decode(self.patches[rows], out)
        if self.patches.dtype == np.float16:
            return np.take(self.patches, rows, axis=0, out=out, mode="clip")  # mode="raise" would copy the rows twice
        patches = self.patches[rows].astype(np.float32)
        out[:] = patches / np.maximum(np.linalg.norm(patches, axis=-1, keepdims=True), 1e-9)
        return out

    def restart(self, rows: np.ndarray, sizes: np.ndarray, times: np.ndarray | None = None) -> None:
        """Mark the rows (b,) as not done, and record the state of the image files from which they will be described.

        sizes (b,): bytes. times (b,): modification times, nanoseconds; None if unknown. Files of version 0.1 have no
        times.
        """
        self.done[rows] = 0
        self.bytes[rows] = sizes
        if self.times is not None:
            self.times[rows] = 0 if times is None else times

    def allocate(self, rows: np.ndarray) -> None:
        """Reserve space for the descriptors of the rows (b,) of a sparse file. Raises OSError if the disk is full."""
        for array in (self.globals_, self.patches, self.weights):
            if isinstance(array, np.memmap):
                row_bytes = array.nbytes // len(array)
                for row in rows.tolist():
                    preallocate(self.path, row_bytes, array.offset + row * row_bytes)

    def read_weights(self, rows: np.ndarray) -> np.ndarray:
        """The patch weights of the rows (b,), (b, P) float32; raises CacheMismatch if the file has none."""
        weights: np.ndarray = self._require_weights()[rows]
        return weights

    def _require_weights(self) -> np.ndarray:
        """The patch weights; raises CacheMismatch if the file has none."""
        if self.weights is None:
            remedy = "pass another --cache; for rollout, replace it with python -m vpr.extract --rollout --overwrite"
            raise CacheMismatch(f"{self.path} has no patch weights, which these marginals need; {remedy}")
        return self.weights

    def write(
        self, rows: np.ndarray, global_descriptors: np.ndarray, patches: np.ndarray, weights: Weights = None
    ) -> None:
        """Write the rows (b,), then mark them as done. weights (b, P): required if the file has weights.

        If the coding of the file has an adaptation, the descriptors must be adapted.
        """
        if self.coding is not None:
            patches = self.coding.codes.encode(patches)
        elif self.patches.dtype == np.int8:
            patches = patches.astype(np.float32)
            patches = np.rint(patches * (127 / np.maximum(np.abs(patches).max(-1, keepdims=True, initial=0), 1e-9)))
        self.globals_[rows], self.patches[rows] = global_descriptors, patches
        if self.weights is not None:
            assert weights is not None, "this cache has patch weights"
            self.weights[rows] = weights
        _flush(self.globals_, self.patches, self.weights)
        self.done[rows] = 1
        _flush(self.done)


def create(
    path: Path,
    keys: Keys,
    spec: CacheSpec,
    old: DescriptorCache | None = None,
    coding: Coding | None = None,
    sparse: bool = False,
) -> None:
    """Create a cache file with a row for each key, atomically.

    old: a cache of the same model and type. Its rows come first, in their order, with their descriptors. All other rows
    are not done. coding: required for product-quantised types, unless there is an old cache. sparse: without an old
    cache, descriptors take no space on the disk before `DescriptorCache.allocate` has reserved it.
    """
    sparse = sparse and old is None
    old_count = len(old) if old is not None else 0
    old_keys = set(old.keys) if old is not None else set()
    all_keys = [*(old.keys if old is not None else ()), *(key for key in dict.fromkeys(keys) if key not in old_keys)]
    with replace_file(path) as temporary:
        image_bytes = 4 * spec.global_dim + spec.patches * (spec.patch_bytes + 4 * spec.weights)
        coding = old.coding if coding is None and old is not None else coding
        coding_bytes = b"" if coding is None else coding.to_bytes()
        width = max((len(key.encode()) for key in all_keys), default=1)
        # before HDF5 writes, because it may crash if the disk is full
        listed = STRUCTURE_BYTES + len(coding_bytes) + len(all_keys) * (width + 17) + 6 * ALIGNMENT_BYTES
        preallocate(temporary, listed + (0 if sparse else len(all_keys) * image_bytes + 2 * ALIGNMENT_BYTES))
        places = {"alignment_threshold": 1, "alignment_interval": ALIGNMENT_BYTES}
        with h5py.File(temporary, "w", libver="earliest", meta_block_size=STRUCTURE_BYTES // 2, **places) as file:
            file.attrs["fingerprint"], file.attrs["format"] = spec.fingerprint, FORMAT
            if spec.keeps_globals:
                file.attrs["keeps_globals"] = True
            text = h5py.string_dtype("utf-8", width)
            _allocate(file, "keys", (len(all_keys),), text)
            file["keys"][:] = np.array([key.encode() for key in all_keys], text)
            if coding is not None:
                _allocate(file, CODING, (len(coding_bytes),), np.uint8)
                file[CODING][:] = np.frombuffer(coding_bytes, np.uint8)
            _allocate(file, "bytes", (len(all_keys),), np.int64)
            _allocate(file, "done", (len(all_keys),), np.uint8)
            _allocate(file, "times", (len(all_keys),), np.int64)
            _allocate(file, "global", (len(all_keys), spec.global_dim), np.float32)
            kind = ("uint8", spec.patch_bytes) if spec.is_coded else (spec.dtype, spec.dim)
            _allocate(file, "patches", (len(all_keys), spec.patches, kind[1]), kind[0])
            if spec.weights:
                _allocate(file, "weights", (len(all_keys), spec.patches), np.float32)
        if not sparse:
            preallocate(temporary, temporary.stat().st_size)
        if old is not None and old_count:
            _copy_rows(old, np.arange(old_count), DescriptorCache(temporary, writable=True))


def keep_rows(cache: DescriptorCache, rows: np.ndarray) -> None:
    """Rewrite a cache file with only these rows (K,), ascending, atomically.

    A process that has the old file open keeps it.
    """
    with replace_file(cache.path) as temporary:
        create(temporary, cache.keys[rows].tolist(), cache.spec, coding=cache.coding)
        _copy_rows(cache, rows, DescriptorCache(temporary, writable=True))


def _copy_rows(source: DescriptorCache, rows: np.ndarray, target: DescriptorCache) -> None:
    """Copy the rows (K,) of a cache to the first rows of another one of the same kind."""
    for name in ("globals_", "patches", "weights", "bytes", "times", "done"):
        old, new = getattr(source, name), getattr(target, name)
        if old is None or new is None:
            continue
        for start in range(0, len(rows), 4096):
            block = rows[start : start + 4096]
            new[start : start + len(block)] = old[block]


def _flush(*arrays: Weights) -> None:
    """Flush memory maps to the operating system; empty arrays are not memory maps."""
    for array in arrays:
        if isinstance(array, np.memmap):
            array.flush()


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Create a contiguous dataset of zeros, allocated at once, without a time stamp."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_obj_track_times(False)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # a new file reads as zeros
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), properties)


def mend_truncated(path: Path) -> bool:
    """Extend a truncated file to its full length, and mark the lost rows as not done.

    Returns whether the file was truncated. A file that `create` did not make is left as it is. The HDF5 superblock
    (version 0) has the full length in bytes 40 to 47. Raises CacheError if keys are lost.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(48)
    if len(head) < 48 or not head.startswith(SUPERBLOCK_0):
        return False
    (full,) = struct.unpack("<Q", head[40:])
    if length >= full:
        return False
    problem = f"{path} is truncated before its descriptors begin; remove it or pass another --cache"
    if length < STRUCTURE_BYTES:  # HDF5 may hang on metadata filled up with zeros
        raise CacheError(problem)
    with replace_file(path) as temporary:
        shutil.copyfile(path, temporary)
        try:
            os.truncate(temporary, full)
            cache = DescriptorCache(temporary, writable=True)
        except (CacheError, OverflowError, OSError) as error:  # also for an impossible length
            raise CacheError(problem) from error
        arrays = [cache.bytes, cache.done, cache.globals_, cache.patches, cache.weights, cache.times]
        maps = [array for array in arrays if isinstance(array, np.memmap)]
        if maps and length < min(array.offset for array in maps):
            raise CacheError(problem)
        for array in maps:
            complete = max(0, length - array.offset) // (array.nbytes // len(array))
            cache.done[complete:] = 0
        _flush(cache.done)
    return True
