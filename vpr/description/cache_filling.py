"""Filling a cache file with the descriptors of many images; an interrupted call continues.

The functions that describe import torch, and what imports it: maps import this module also if they describe nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vpr.base.processes import SINGLE_PROCESS, SingleProcess, first_process_lock
from vpr.cache import CacheError, CacheMismatch, CacheSpec, DescriptorCache, Keys, PatchType, create, mend_truncated
from vpr.description.adaptation import MOST_IMAGES, adaptation_of, space_evenly
from vpr.description.batches import BATCH, ImageDescriptors, take_images
from vpr.description.coding import create_coded, digest_of_images, write_described
from vpr.description.images import ImageError, convert_image_errors

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

    from vpr.description.image_files import ImageFiles, TolerantImages
    from vpr.description.model_spec import AnyModel

log = logging.getLogger("vpr")


class FilledCache(NamedTuple):
    """A cache with all requested images, and the work that was done."""

    cache: DescriptorCache
    images: int  # images that were described
    seconds: float  # for decoding, describing and writing them
    unreadable: dict[str, str]  # the error of each image that could not be read, by key; only if that is tolerated


def describe_in_order(
    model: torch.nn.Module,
    images: ImageFiles | TolerantImages,
    batches: Sequence[Sequence[int]],
    device: torch.device,
    workers: int,
    title: str | None,
) -> Iterable[tuple[Sequence[int], ImageDescriptors]]:
    """Each batch of image numbers with its descriptors, computed by `describe` in this process."""
    from vpr.description.describe import describe

    return zip(batches, describe(model, images, batches, device, workers, title))


@dataclass(frozen=True)
class CacheFillOptions:
    """Options of `fill_cache`."""

    workers: int = 0  # processes that decode images; 0 decodes in threads
    overwrite: bool = False  # replace a damaged file, or one of another model
    dtype: PatchType = "float16"  # type of patch descriptors
    rollout: bool = False  # also store a weight for each patch, by attention rollout
    fabric: Fabric | SingleProcess = SINGLE_PROCESS  # the processes that share the work
    tolerant: bool = False  # leave out images that cannot be decoded; with one process only
    file_of: Callable[[str], str] = str  # from the key of an image to its file, relative to the root
    # the function that describes, with the arguments of `describe_in_order`; it may return batches in any order
    describe: Callable[..., Iterable[tuple[Sequence[int], ImageDescriptors]]] = describe_in_order
    # of product-quantised types only:
    adapt: bool | None = None  # adapt descriptors to the images; see `cache_spec`
    refit: bool = False  # replace the file in any case


DEFAULT_FILL = CacheFillOptions()


def fill_cache(
    path: Path,
    model: AnyModel,
    root: Path,
    keys: Keys,
    device: torch.device,
    options: CacheFillOptions = DEFAULT_FILL,
) -> FilledCache:
    """Describe the images ``root / key`` that the cache lacks, and open the cache for reading.

    Existing descriptors are kept, and a truncated file is repaired. Images are described in the order of the file in
    fixed batches, so an interrupted call that is repeated gives the same bytes. If several commands fill one file, one
    writes and the others wait. With several processes in ``options.fabric``, each describes a part of the batches and
    writes them into the same file.

    A file with weights of patches gets them for new images too, also without ``options.rollout``. A product-quantised
    file is fitted to a sample of the images when it is created; the sample is described first, into a file beside it.

    Raises CacheMismatch for a file of another model and CacheError for a damaged file, unless ``options.overwrite`` is
    set. Raises ImageError for an image that cannot be read, unless ``options.tolerant`` is set; a missing image is
    found before a file is replaced.
    """
    from vpr.description.image_files import ImageFiles, TolerantImages
    from vpr.description.model_spec import cache_spec, has_learnt_weights
    from vpr.models.rollout import RolloutModel

    spec, fabric = cache_spec(model, options.dtype, options.rollout, options.adapt), options.fabric
    states, missing = image_states(root, list(dict.fromkeys(keys)), options)  # before a file is replaced
    keys = states.keys
    complete = None if options.refit and spec.is_coded else _complete(path, states, spec)
    if fabric.broadcast(complete is not None):
        log.info("cache: all %d images are in %s", len(keys), path)
        return FilledCache(DescriptorCache(path, spec) if complete is None else complete, 0, 0.0, missing)
    sampled, sample_seconds = 0, 0.0
    if spec.is_coded and fabric.broadcast(_is_created(path, spec, options)):
        sampled, sample_seconds = _create_coded(path, model, root, states, spec, device, options)
    with first_process_lock(fabric, path, wait=True):
        batches: list[list[int]] = []
        if fabric.is_global_zero:
            batches = _prepare(path, states, spec, options.overwrite)
        batches = fabric.broadcast(batches)
        cache = DescriptorCache(path, spec, writable=True)
        files = ImageFiles.for_model(root, [options.file_of(key) for key in cache.keys], model)
        images = TolerantImages(files, model.input_size) if options.tolerant else files
        title = f"describing into {path.name}" if fabric.is_global_zero else None
        own_batches = batches[fabric.global_rank :: fabric.world_size]
        start = time.perf_counter()
        rolls_out = cache.weights is not None and not has_learnt_weights(model)
        network, adaptation = RolloutModel(model) if rolls_out else model, adaptation_of(cache)
        errors = images.unreadable if isinstance(images, TolerantImages) else {}
        for batch, described in options.describe(network, images, own_batches, device, options.workers, title):
            kept = [place for place, row in enumerate(batch) if row not in errors]
            if kept:
                write_described(cache, np.array(batch)[kept], take_images(described, kept), adaptation)
        fabric.barrier()
    unreadable = {str(cache.keys[row]): errors[row] for row in sorted(errors)}
    count, seconds = sum(map(len, batches)) - len(unreadable) + sampled, time.perf_counter() - start + sample_seconds
    return FilledCache(DescriptorCache(path, spec), count, seconds, missing | unreadable)


class ImageStates(NamedTuple):
    """The present state of N image files."""

    keys: list[str]  # N
    sizes: np.ndarray  # (N,) int64 bytes
    times: np.ndarray  # (N,) int64 modification times, nanoseconds

    def has_changed(self, cache: DescriptorCache, rows: np.ndarray) -> np.ndarray:
        """Whether each file has changed since its row (N,) of a cache was described, (N,) bool."""
        changed: np.ndarray = cache.bytes[rows] != self.sizes
        if cache.times is not None:
            changed |= (cache.times[rows] != self.times) & (cache.times[rows] != 0)
        return changed


def is_fitted_to(path: Path, root: Path, keys: Keys) -> bool:
    """Whether the codes of a product-quantised cache were fitted to these images in their present state.

    Raises ImageError for a missing image.
    """
    images, _ = image_states(root, _sample(keys), DEFAULT_FILL)
    try:
        coding = DescriptorCache(path).coding
    except CacheError:
        return False
    return coding is not None and coding.images == digest_of_images(images.keys, images.sizes, images.times)


def require_replaceable(path: Path, spec: CacheSpec) -> None:
    """Raise CacheMismatch for a cache of another kind, which may not be replaced; a truncated one may."""
    try:
        DescriptorCache(path, spec)
    except CacheMismatch:
        raise
    except CacheError:  # it is repaired, or refused, when it is filled
        return


def sample_path(path: Path) -> Path:
    """The file with the sample of an unfinished product-quantised cache.

    It is hidden, so that the folder of an unfinished map counts as empty.
    """
    return path.with_name(f".{path.stem}-sample.h5")


def _sample(keys: Keys) -> list[str]:
    """The images to which codes are fitted."""
    sample: list[str] = space_evenly(np.unique(np.array(keys)), MOST_IMAGES).tolist()
    return sample


def _is_created(path: Path, spec: CacheSpec, options: CacheFillOptions) -> bool:
    """Whether a product-quantised cache is missing, or will be replaced."""
    if options.refit or not path.exists():
        return True
    try:
        DescriptorCache(path, spec)
    except CacheError:
        return options.overwrite
    return False


def _create_coded(
    path: Path,
    model: AnyModel,
    root: Path,
    images: ImageStates,
    spec: CacheSpec,
    device: torch.device,
    options: CacheFillOptions,
) -> tuple[int, float]:
    """Create a product-quantised cache, fitted to a sample of the images, with their descriptors.

    Returns the number of images that were described, and the seconds.
    """
    sample, keys = sample_path(path), _sample(images.keys)
    exact_options = replace(options, dtype="float16", overwrite=True)
    exact = fill_cache(sample, model, root, keys, device, exact_options)
    rows = exact.cache.find(keys)  # the file may have images of an interrupted call for others
    rows = rows[(rows >= 0) & (exact.cache.done[rows] != 0)]
    with first_process_lock(options.fabric, path, wait=True):
        if options.fabric.is_global_zero and _is_created(path, spec, options):
            create_coded(path, images.keys, spec, exact.cache, rows)
            sample.unlink(missing_ok=True)
    return exact.images, exact.seconds


def _prepare(path: Path, images: ImageStates, spec: CacheSpec, overwrite: bool) -> list[list[int]]:
    """Create the missing rows of the file; returns the rows to describe, in batches."""
    cache = open_or_create(path, images.keys, spec, overwrite)
    rows = cache.find(images.keys)
    changed, described = images.has_changed(cache, rows), cache.done[rows] != 0
    if count := np.count_nonzero(changed & described):
        log.info("%d images have changed since they were described (size or modification time)", count)
    missing = changed | ~described
    DescriptorCache(path, spec, writable=True).restart(rows[missing], images.sizes[missing], images.times[missing])
    if spec.is_coded:  # the sample is done already
        rows, missing = rows[missing], missing[missing]
    return _blocks(rows, missing)


def _complete(path: Path, images: ImageStates, spec: CacheSpec) -> DescriptorCache | None:
    """The cache if it has all images in their present state; it is only read, so it needs no lock."""
    try:
        cache = DescriptorCache(path, spec)
    except CacheError:
        return None
    rows = cache.find(images.keys)
    if (rows < 0).any() or not cache.done[rows].all() or images.has_changed(cache, rows).any():
        return None
    return cache


def open_or_create(
    path: Path, keys: Keys, spec: CacheSpec, overwrite: bool = False, sparse: bool = False
) -> DescriptorCache:
    """The cache with a row for every key, done or not. sparse: of a new file, as for `create`.

    Raises CacheError for a file that is damaged or of another model, unless ``overwrite`` is set.
    """
    if path.exists() and not path.is_file():
        raise CacheError(f"{path} is not a file; pass another --cache")
    try:
        if path.exists() and mend_truncated(path):
            log.warning("%s was truncated; the missing descriptors are computed again", path)
        cache = DescriptorCache(path, spec)
    except CacheError:
        if path.exists() and not overwrite:
            raise
        create(path, keys, spec, sparse=sparse)
        return DescriptorCache(path, spec)
    if (cache.find(keys) < 0).any():
        create(path, keys, cache.spec, cache)
        cache = DescriptorCache(path, spec)
    return cache


def _blocks(rows: np.ndarray, missing: np.ndarray) -> list[list[int]]:
    """The rows (K,) in fixed blocks of `BATCH` rows of the file; only blocks with a missing row (K,) bool."""
    order = np.argsort(rows)
    rows, missing = rows[order], missing[order]
    cuts = np.flatnonzero(np.diff(rows // BATCH)) + 1
    blocks = zip(np.split(rows, cuts), np.split(missing, cuts))
    return [block.tolist() for block, lacks in blocks if lacks.any()]


def image_states(
    root: Path, keys: list[str], options: CacheFillOptions = DEFAULT_FILL
) -> tuple[ImageStates, dict[str, str]]:
    """The present state of the files, and the error of each missing file, by key.

    Raises ImageError for a missing file, unless that is tolerated.
    """
    states, missing = dict[str, os.stat_result](), dict[str, str]()
    for key in keys:
        path = root / options.file_of(key)
        try:
            with convert_image_errors(path):
                states[key] = path.stat()
        except ImageError as error:
            if not options.tolerant:
                raise
            missing[key] = str(error)
    sizes = np.array([state.st_size for state in states.values()], np.int64)
    times = np.array([state.st_mtime_ns for state in states.values()], np.int64)
    return ImageStates([*states], sizes, times), missing
