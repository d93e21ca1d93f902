"""Adaptation to a database without labels: whitening and VLAD are fitted again to the database images.

The queries are never used. It works on cached descriptors, so no image is read again. Patches are adapted when they are
read; the file of an adaptation has its parameters and the adapted global descriptors.
"""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vpr.base.files import replace_file, writable_path
from vpr.cache import CacheError, CacheSpec, DescriptorCache, PatchType
from vpr.models.vlad import Vlad

log = logging.getLogger("vpr")

POWER = 0.25  # whitening power, of patches and of VLAD
CLUSTERS, GLOBAL_DIM = 64, 256
PATCHES_PER_CLUSTER = 39  # at least, as k-means of FAISS asks for
MOST_IMAGES = 4000  # maximum number of images to fit to
MOST_BYTES, FIT_BYTES = 4 << 30, 6  # maximum memory for their patches, and bytes of a number: float16 and float32
# Chosen on altered photographs and rendered cities: docs/notes/maps.md. No shrinkage and that of 100 images were worse.
PRIOR_IMAGES = 30  # images that the shrinkage is worth in the smallest maps
FREE_IMAGES = 130  # number of images from which on nothing is shrunk
BLOCK = 1024  # images transformed at a time
CACHED_IMAGES = 64  # of a block whose patches stay in the processor's cache, which makes it three times as fast
VERSION = 2  # increased when the same cache gives other descriptors
GLOBALS = "globals"  # the name of the global descriptors in the file of an adaptation
KEPT_BYTES = 1 << 30  # maximum memory for the adapted patches of a cache


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Maps patch descriptors (B, P, C) to adapted ones, and these to VLAD descriptors (B, G); all are unit vectors.

    Without VLAD, the global descriptors of the model stay as they are.
    """

    mean: np.ndarray  # (C,)
    components: np.ndarray  # (C, C), rows scaled
    summary: Vlad | None

    @classmethod
    def fit(cls, patches: np.ndarray, seed: int = 0, keep_globals: bool = False) -> "Adaptation":
        """Fit to the patches (N, P, C) of database images, at least 2. keep_globals: fit no VLAD.

        N images span N - 1 dimensions of VLAD; the others are zero. With fewer than `FREE_IMAGES`, the whitening is
        shrunk towards none, less the more images there are.
        """
        from vpr.models.summary import PatchSummary, fit_whitening  # of torch, which is slow to import

        images, count, channels = patches.shape
        prior = PRIOR_IMAGES * count * max(0.0, 1 - images / FREE_IMAGES)
        mean, components = fit_whitening(patches, channels, POWER, seed, prior)
        if keep_globals:
            return cls(mean, components, None)
        clusters = max(1, min(CLUSTERS, images * count // PATCHES_PER_CLUSTER))
        summary = PatchSummary("vlad", (count, channels), clusters, adapted_global_dim(channels))
        adaptation = cls(mean, components, Vlad(**summary.arrays()))
        summary.fit(adaptation.adapt_patches(patches), POWER, seed)
        return replace(adaptation, summary=Vlad(**summary.arrays()))

    def is_same(self, other: "Adaptation") -> bool:
        """Whether the other one maps all patches to the same descriptors."""
        mine, theirs = self.to_arrays(), other.to_arrays()
        return all(np.array_equal(array, theirs[name]) for name, array in mine.items())

    @property
    def global_dim(self) -> int | None:
        """G, the length of a VLAD descriptor; None without VLAD."""
        return None if self.summary is None else len(self.summary.components)

    def adapt(self, globals_: np.ndarray, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Adapted global descriptors (B, G) and patches (B, P, C), float32, of a model's own ones."""
        adapted = self.adapt_patches(patches)
        return (np.asarray(globals_, np.float32) if self.summary is None else self.summary(adapted)), adapted

    def adapt_patches(self, patches: np.ndarray) -> np.ndarray:
        """Adapted patch descriptors, float32."""
        adapted = np.empty(patches.shape, np.float32)
        for start in range(0, len(patches), CACHED_IMAGES):
            block = slice(start, start + CACHED_IMAGES)
            moved = (patches[block].astype(np.float32) - self.mean) @ self.components.T
            adapted[block] = moved / np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), 1e-9)
        return adapted

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name, for a file; `from_arrays` is the inverse."""
        arrays = {} if self.summary is None else self.summary.arrays()
        summary = {f"summary.{name}": array for name, array in arrays.items()}
        return {"mean": self.mean, "components": self.components, **summary}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Adaptation":
        """The inverse of `to_arrays`; raises LookupError or ValueError for arrays of something else."""
        dim, parts = len(arrays["mean"]), {name: array for name, array in arrays.items() if name.startswith("summary.")}
        parts = {name[8:]: part for name, part in parts.items()}
        summary = Vlad.from_arrays(parts, len(parts["centroids"]), dim, len(parts["components"])) if parts else None
        return cls(arrays["mean"], arrays["components"].reshape(-1, dim), summary)

    def global_descriptors(self, patches: np.ndarray) -> np.ndarray:
        """VLAD descriptors (B, G) of adapted patches (B, P, C), float32; the adaptation must have VLAD."""
        assert self.summary is not None
        return self.summary(patches)


def is_worth_adapting(database: int) -> bool:
    """Whether there are enough database images to fit to."""
    return database > 1


def adaptation_of(cache: DescriptorCache) -> Adaptation | None:
    """The adaptation to which the descriptors of a product-quantised cache belong; None if they are not adapted.

    Raises CacheError for a damaged one.
    """
    if cache.coding is None or not cache.coding.adaptation:
        return None
    try:
        return Adaptation.from_arrays(cache.coding.adaptation)
    except (LookupError, ValueError, RuntimeError) as error:
        raise CacheError(f"{cache.path} has a damaged adaptation ({error}); remove it, and it is made again") from error


class ComputedCache(DescriptorCache):
    """A descriptor cache, read only, whose patches are computed when they are read.

    They are kept in memory if those of all images fit into `KEPT_BYTES`.
    """

    def compute_patches(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Compute the patches of rows (b,) into ``out`` (b, P, C) float16."""
        raise NotImplementedError

    def keep_patches(self) -> None:
        """Reserve the memory for the patches; called once, before patches are read."""
        shape = (len(self), *self.patch_shape)
        self._kept = np.empty(shape, np.float16) if 2 * math.prod(shape) <= KEPT_BYTES else None
        self._is_kept = np.zeros(len(self), bool)

    def read_patches(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """As `DescriptorCache.read_patches`."""
        if self._kept is not None:
            self.prepare(rows)
            return np.take(self._kept, rows, axis=0, out=out, mode="clip")
        out = np.empty((len(rows), *self.patch_shape), np.float16) if out is None else out
        self.compute_patches(rows, out)
        return out

    def prepare(self, rows: np.ndarray) -> None:
        """Compute the patches of rows (b,) now, with all cores, if they are kept in memory."""
        if self._kept is None:
            return
        for block in split_rows(np.unique(rows[~self._is_kept[rows]])):
            patches = np.empty((len(block), *self.patch_shape), np.float16)
            self.compute_patches(block, patches)
            self._kept[block] = patches
            self._is_kept[block] = True  # last, because two threads may read


class AdaptedCache(ComputedCache):
    """A descriptor cache, read only, whose descriptors are adapted when they are read.

    ``globals_`` (N, G) are the adapted ones, in memory, or those of the file if the model's own stay. ``patches`` are
    those of the file; `read_patches` adapts them.
    """

    def __init__(self, plain: DescriptorCache, path: Path, fingerprint: str) -> None:
        """path: the file of the adaptation, as `_write_adaptation` writes it.

        Raises CacheError if the file is damaged, or of another number of images.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        self.__dict__.update(vars(plain))
        self.plain, self.adaptation_file, self.fingerprint = plain, path, fingerprint
        try:
            arrays = load_file(path)
            self.adaptation = Adaptation.from_arrays(arrays)
            if self.adaptation.global_dim is None:
                self.globals_ = plain.globals_
            else:
                self.globals_ = np.zeros((len(plain), self.adaptation.global_dim), np.float32)
                self.globals_[described_rows(plain)] = arrays[GLOBALS]
        except (OSError, LookupError, ValueError, RuntimeError, SafetensorError) as error:
            raise CacheError(f"{path} is damaged ({error})", thing=path, remedy="remove it") from error
        self.keep_patches()

    def compute_patches(self, rows: np.ndarray, out: np.ndarray) -> None:
        """As `ComputedCache.compute_patches`, adapted."""
        for start in range(0, len(rows), BLOCK):
            block = self.plain.read_patches(rows[start : start + BLOCK])
            out[start : start + len(block)] = self.adaptation.adapt_patches(block)


def adapt_cache(cache: DescriptorCache, database: np.ndarray, folder: Path) -> AdaptedCache:
    """The cache with adapted descriptors. The adaptation is kept as a file in ``folder``, which is made if missing.

    database: rows (D,) of the database images. The fingerprint in the name of the file covers the model's fingerprint,
    the database images and all images of the cache. Raises CacheError if there are too few database images, or no
    patches.
    """
    if not is_worth_adapting(len(database)) or cache.spec.patches == 0:
        raise CacheError(f"{len(database)} database images are too few to adapt to; pass --no-adapt")
    rows, described = sort_by_key(cache, np.unique(database)), described_rows(cache)
    digest = hashlib.sha256(f"{VERSION} {cache.fingerprint} {cache.spec}".encode())
    for images in (rows, described):  # those to fit to, and all
        digest.update("\n".join(cache.keys[images].tolist()).encode())
        digest.update(cache.bytes[images].tobytes())
        if cache.times is not None:
            digest.update(cache.times[images].tobytes())
    fingerprint = digest.hexdigest()[:16]
    path = writable_path(folder / f"adaptation-{fingerprint}.safetensors")
    if path.is_file():
        try:
            return AdaptedCache(cache, path, fingerprint)
        except CacheError as error:
            log.warning("%s; it is made again", error.what)
    _write_adaptation(path, cache, fit_adaptation(cache, rows))
    return AdaptedCache(cache, path, fingerprint)


def _write_adaptation(path: Path, cache: DescriptorCache, adaptation: Adaptation) -> None:
    """Write an adaptation with the adapted global descriptors of all described images, in the order of their keys."""
    from safetensors.numpy import save

    arrays = adaptation.to_arrays()
    if adaptation.summary is not None:
        adapted = [
            adaptation.global_descriptors(adaptation.adapt_patches(cache.read_patches(block)))
            for block in split_rows(described_rows(cache))
        ]
        arrays = {**arrays, GLOBALS: np.concatenate(adapted)}
    with replace_file(path) as temporary:
        temporary.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def described_rows(cache: DescriptorCache) -> np.ndarray:
    """The rows of a cache that have descriptors, in the order of their keys."""
    return sort_by_key(cache, np.flatnonzero(cache.done))


def sort_by_key(cache: DescriptorCache, rows: np.ndarray) -> np.ndarray:
    """Rows of a cache in the order of their keys, so that the order of description has no effect."""
    return rows[np.argsort(cache.keys[rows], kind="stable")]


def fit_adaptation(cache: DescriptorCache, rows: np.ndarray) -> Adaptation:
    """Fit to the rows (D,) of a cache, in any order.

    If they are too many, to evenly spaced ones: at most `MOST_IMAGES`, and as many as fit into `MOST_BYTES`.

    Raises CacheError for descriptors with NaN or infinity.
    """
    most = min(MOST_IMAGES, max(2, MOST_BYTES // max(1, FIT_BYTES * math.prod(cache.patch_shape))))
    chosen = space_evenly(sort_by_key(cache, rows), most)
    log.info("adapting to %d database images", len(chosen))
    patches = cache.read_patches(chosen)
    cache.require_numbers(chosen, patches)
    return Adaptation.fit(patches, keep_globals=cache.keeps_globals)


def spec_of_type(spec: CacheSpec, dtype: PatchType, adapted: bool) -> CacheSpec:
    """The specification of a model's descriptors with patches of another type, adapted or not."""
    return replace(
        spec,
        dtype=dtype,
        adapted=adapted,
        global_dim=adapted_global_dim(spec.dim) if adapted and not spec.keeps_globals else spec.global_dim,
    )


def open_any_type(path: Path, spec: CacheSpec) -> DescriptorCache:
    """Open the cache of a model whose patches may have any type; errors as `DescriptorCache`.

    spec: that of the model's descriptors before adaptation.
    """
    own = DescriptorCache(path).spec
    wanted = spec_of_type(spec, own.dtype, own.adapted)
    return DescriptorCache(path, replace(wanted, global_dim=own.global_dim) if own.adapted else wanted)


def space_evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the rows (N,), evenly spaced."""
    chosen: np.ndarray = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
    return chosen


def adapted_global_dim(dim: int) -> int:
    """Length of a VLAD descriptor that is fitted; it must differ from that of a patch descriptor."""
    return GLOBAL_DIM + (dim == GLOBAL_DIM)


def split_rows(rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows (N,) in blocks of at most `BLOCK`."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
