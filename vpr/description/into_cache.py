"""The descriptors of many images into a cache file, from where an earlier call left off."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric

from vpr.base.processes import SINGLE_PROCESS, SingleProcess, first_process_lock
from vpr.cache import CacheError, CacheSpec, DescriptorCache, Keys, PatchType, create, mend_truncated
from vpr.description.describe import BATCH, Described, describe
from vpr.description.images import ImageError, ImageFiles, Tolerant, undamaged
from vpr.description.spec import cache_spec
from vpr.models.hub import HubModel
from vpr.models.netvlad import NetVLAD
from vpr.models.rollout import WithRollout
from vpr.models.structural import StructuralModel

log = logging.getLogger("vpr")


class Filled(NamedTuple):
    """A cache that holds every image asked for, and what it took."""

    cache: DescriptorCache
    images: int  # that were described for it
    seconds: float  # for decoding, describing and writing them
    unreadable: dict[str, str]  # what is wrong with images that could not be read, by key; none unless tolerated


def describe_in_order(
    model: torch.nn.Module,
    images: ImageFiles | Tolerant,
    batches: Sequence[Sequence[int]],
    device: torch.device,
    workers: int,
    title: str | None,
) -> Iterable[tuple[Sequence[int], Described]]:
    """Each batch of image numbers with its descriptors, as `describe` makes them in this process."""
    return zip(batches, describe(model, images, batches, device, workers, title))


@dataclass(frozen=True)
class Filling:
    """How a cache is filled."""

    workers: int = 0  # processes that decode images; 0 decodes in threads
    overwrite: bool = False  # replace a file of another model, or one that is damaged
    dtype: PatchType = "float16"  # of patch descriptors
    rollout: bool = False  # with a weight for each patch, by attention rollout
    fabric: Fabric | SingleProcess = SINGLE_PROCESS  # the processes that share the work
    tolerant: bool = False  # leave out images that cannot be decoded; not with several processes of torchrun
    file_of: Callable[[str], str] = str  # the image file, from the root, of a key that is no path itself
    # who describes, with the arguments of `describe_in_order`; batches may come back in any order
    describe: Callable[..., Iterable[tuple[Sequence[int], Described]]] = describe_in_order


USUAL = Filling()


def describe_into_cache(
    path: Path,
    model: StructuralModel | NetVLAD | HubModel,
    root: Path,
    keys: Keys,
    device: torch.device,
    how: Filling = USUAL,
) -> Filled:
    """Make sure that the cache holds the images ``root / key`` as the model describes them, and open it for reading.
    Where a key is no path, ``how.file_of`` gives it.

    What is there is kept; a file cut short is mended; images are described in the file's order in fixed batches, so a
    call that was killed and given again ends with the same bytes. A file of another model, or one that is damaged, is
    replaced with ``overwrite``; otherwise it raises CacheMismatch or CacheError. Raises ImageError when an image cannot
    be read, unless that is tolerated; one that is missing is found before anything is replaced. Of several commands one
    writes, the others wait.

    A file that has weights of patches gets them for new images too, asked for or not.

    With ``fabric`` each process describes every so manieth batch, straight into its rows of the one file.
    """
    spec, fabric = cache_spec(model, how.dtype, how.rollout), how.fabric
    image_files, gone = _image_files(root, list(dict.fromkeys(keys)), how)  # before anything is replaced
    keys = image_files.keys
    complete = _complete(path, image_files, spec)
    if fabric.broadcast(complete is not None):
        log.info("cache: all %d images are in %s", len(keys), path)
        return Filled(DescriptorCache(path, spec) if complete is None else complete, 0, 0.0, gone)
    with first_process_lock(fabric, path, wait=True):
        batches: list[list[int]] = []
        if fabric.is_global_zero:
            batches = _prepare(path, image_files, spec, how.overwrite)
        batches = fabric.broadcast(batches)
        cache = DescriptorCache(path, spec, writable=True)
        files = ImageFiles.of(root, [how.file_of(key) for key in cache.keys], model)
        images = Tolerant(files, model.input_size) if how.tolerant else files
        title = f"describing into {path.name}" if fabric.is_global_zero else None
        own = batches[fabric.global_rank :: fabric.world_size]
        start = time.perf_counter()
        describing = model if cache.weights is None else WithRollout(model)
        lost = images.unreadable if isinstance(images, Tolerant) else {}
        for batch, described in how.describe(describing, images, own, device, how.workers, title):
            _write(cache, batch, described, [place for place, row in enumerate(batch) if row not in lost])
        fabric.barrier()
    unreadable = {str(cache.keys[row]): lost[row] for row in sorted(lost)}
    done = sum(map(len, batches)) - len(unreadable)
    return Filled(DescriptorCache(path, spec), done, time.perf_counter() - start, gone | unreadable)


def _write(cache: DescriptorCache, batch: Sequence[int], described: Described, kept: list[int]) -> None:
    """Write a batch of rows (b,) into the cache, those at the places that are kept."""
    globals_, patches, weights = described
    if patches is None:
        patches = np.empty((len(batch), 0, cache.spec.dim), np.float16)
    if kept:
        rows = np.array(batch)[kept]
        cache.write(rows, globals_[kept], patches[kept], None if weights is None else weights[kept])


class _ImageFiles(NamedTuple):
    """Image files as they are now."""

    keys: list[str]  # N
    sizes: np.ndarray  # (N,) int64 bytes
    times: np.ndarray  # (N,) int64 of the last change, nanoseconds

    def changed(self, cache: DescriptorCache, rows: np.ndarray) -> np.ndarray:
        """Which of them differ from those that the rows (N,) of a cache were made from, (N,) bool."""
        changed = cache.bytes[rows] != self.sizes
        if cache.times is not None:
            changed |= (cache.times[rows] != self.times) & (cache.times[rows] != 0)
        return changed


def _prepare(path: Path, images: _ImageFiles, spec: CacheSpec, overwrite: bool) -> list[list[int]]:
    """Give the file a row for every image; returns the rows that are to be described, in batches."""
    cache = _open_or_create(path, images.keys, spec, overwrite)
    rows = cache.find(images.keys)
    changed, described = images.changed(cache, rows), cache.done[rows] != 0
    if count := np.count_nonzero(changed & described):
        log.info("%d images have changed since they were described (size or time of change)", count)
    anew = changed | ~described
    DescriptorCache(path, spec, writable=True).restart(rows[anew], images.sizes[anew], images.times[anew])
    return _blocks(rows, anew)


def _complete(path: Path, images: _ImageFiles, spec: CacheSpec) -> DescriptorCache | None:
    """The cache if it holds every image as it is now; such a file is only read, and needs no lock."""
    try:
        cache = DescriptorCache(path, spec)
    except CacheError:
        return None
    rows = cache.find(images.keys)
    if (rows < 0).any() or not cache.done[rows].all() or images.changed(cache, rows).any():
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
        create(path, keys, cache.spec, cache)
        cache = DescriptorCache(path, spec)
    return cache


def _blocks(rows: np.ndarray, missing: np.ndarray) -> list[list[int]]:
    """The wanted rows (K,) in fixed blocks of `BATCH` rows of the file, for the blocks in which any is missing (K,)."""
    order = np.argsort(rows)
    rows, missing = rows[order], missing[order]
    cuts = np.flatnonzero(np.diff(rows // BATCH)) + 1
    blocks = zip(np.split(rows, cuts), np.split(missing, cuts))
    return [block.tolist() for block, lacks in blocks if lacks.any()]


def _image_files(root: Path, keys: list[str], how: Filling) -> tuple[_ImageFiles, dict[str, str]]:
    """The files of the keys as they are now, and for each that cannot be read the reason, by key.

    Raises ImageError for a file that is missing, unless that is tolerated.
    """
    states, gone = dict[str, os.stat_result](), dict[str, str]()
    for key in keys:
        path = root / how.file_of(key)
        try:
            with undamaged(path):
                states[key] = path.stat()
        except ImageError as error:
            if not how.tolerant:
                raise
            gone[key] = str(error)
    sizes = np.array([state.st_size for state in states.values()], np.int64)
    times = np.array([state.st_mtime_ns for state in states.values()], np.int64)
    return _ImageFiles([*states], sizes, times), gone
