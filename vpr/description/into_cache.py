"""The descriptors of many images into a cache file, from where an earlier call left off."""

import logging
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vpr.base.files import writing_alone
from vpr.cache import CacheError, CacheSpec, DescriptorCache, Keys, PatchType, create, mend_truncated
from vpr.description.describe import BATCH, describe
from vpr.description.images import ImageError, ImageFiles
from vpr.description.spec import cache_spec
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel

log = logging.getLogger("vpr")


class Filled(NamedTuple):
    """A cache that holds every image asked for, and what it took."""

    cache: DescriptorCache
    images: int  # that were described for it
    seconds: float  # for decoding, describing and writing them


def describe_into_cache(
    path: Path,
    model: StructuralModel | NetVLAD,
    root: Path,
    keys: Keys,
    device: torch.device,
    workers: int = 0,
    overwrite: bool = False,
    dtype: PatchType = "float16",
) -> Filled:
    """Make sure that the cache holds the images ``root / key`` as the model describes them, and open it for reading.

    What is there is kept; a file cut short is mended; images are described in the file's order in fixed batches, so a
    call that was killed and given again ends with the same bytes. A file of another model, or one that is damaged, is
    replaced with ``overwrite``; otherwise it raises CacheMismatch or CacheError. Raises ImageError when an image cannot
    be read; one that is missing is found before anything is replaced. Of several processes one writes, the others wait.
    """
    keys, spec = list(dict.fromkeys(keys)), cache_spec(model, dtype)
    sizes = np.array([_file_size(root / key) for key in keys], np.int64)  # before anything is replaced
    if (complete := _complete(path, keys, sizes, spec)) is not None:
        log.info("cache: all %d images are in %s", len(keys), path)
        return Filled(complete, 0, 0.0)
    with writing_alone(path, wait=True):
        cache = _open_or_create(path, keys, spec, overwrite)
        rows = cache.find(keys)
        changed = cache.bytes[rows] != sizes
        batches = _blocks(rows, changed | (cache.done[rows] == 0))
        cache = DescriptorCache(path, spec, writable=True)
        cache.restart(rows[changed], sizes[changed])
        images = ImageFiles(root, cache.keys, model.input_size, model.interpolation)
        start = time.perf_counter()
        described = describe(model, images, batches, device, workers, f"describing into {path.name}")
        for batch, (global_descriptors, patch_descriptors) in zip(batches, described):
            if patch_descriptors is None:
                patch_descriptors = np.empty((len(batch), 0, spec.dim), np.float16)
            cache.write(np.array(batch), global_descriptors, patch_descriptors)
    return Filled(DescriptorCache(path, spec), sum(map(len, batches)), time.perf_counter() - start)


def _complete(path: Path, keys: Keys, sizes: np.ndarray, spec: CacheSpec) -> DescriptorCache | None:
    """The cache if it holds every image as it is now; such a file is only read, and needs no lock."""
    try:
        cache = DescriptorCache(path, spec)
    except CacheError:
        return None
    rows = cache.find(keys)
    if (rows < 0).any() or (cache.bytes[rows] != sizes).any() or not cache.done[rows].all():
        return None
    return cache


def _open_or_create(path: Path, keys: Keys, spec: CacheSpec, overwrite: bool) -> DescriptorCache:
    """The cache with a row for every key, done or not."""
    if path.exists() and not path.is_file():
        raise CacheError(f"{path} is no file; pass another --cache")
    try:
        if path.exists() and mend_truncated(path):
            log.warning("%s was cut short; what is missing is computed again", path)
        cache = DescriptorCache(path, spec)
    except CacheError:
        if path.exists() and not overwrite:
            raise
        create(path, keys, spec)
        return DescriptorCache(path, spec)
    if (cache.find(keys) < 0).any():
        create(path, keys, spec, cache)
        cache = DescriptorCache(path, spec)
    return cache


def _blocks(rows: np.ndarray, missing: np.ndarray) -> list[list[int]]:
    """The wanted rows (K,) in fixed blocks of `BATCH` rows of the file, for the blocks in which any is missing (K,)."""
    order = np.argsort(rows)
    rows, missing = rows[order], missing[order]
    cuts = np.flatnonzero(np.diff(rows // BATCH)) + 1
    blocks = zip(np.split(rows, cuts), np.split(missing, cuts))
    return [block.tolist() for block, lacks in blocks if lacks.any()]


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise ImageError(f"{path} is missing; unpack the image archives again") from None
