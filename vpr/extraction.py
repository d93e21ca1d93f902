"""Extraction: the descriptors of a dataset's images into a cache file, from where an earlier call left off."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vpr.cache import DescriptorCache, create, mend_truncated
from vpr.descriptors import BATCH, describe
from vpr.images import ImageError, ImageFiles
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel
from vpr.runs import cache_spec

log = logging.getLogger("vpr")


def fill_cache(
    path: Path,
    model: StructuralModel | NetVLAD,
    root: Path,
    keys: Sequence[str],
    device: torch.device,
    workers: int = 0,
) -> DescriptorCache:
    """Make sure that the cache holds the images ``root / key`` as the model describes them, and open it for reading.

    What is there is kept; a file cut short is mended; images are described in the file's order in fixed batches, so a
    call that was killed and given again ends with the same bytes. Raises CacheMismatch when the file is another model's
    and ImageError when an image cannot be read.
    """
    spec = cache_spec(model)
    if not path.exists():
        create(path, keys, spec)
    elif mend_truncated(path):
        log.warning("%s was cut short; what is missing is computed again", path)
    cache = DescriptorCache(path, spec, writable=True)
    if not set(keys) <= set(cache.keys):
        create(path, keys, spec, cache)
        cache = DescriptorCache(path, spec, writable=True)
    cache.mark_changed({key: _file_size(root / key) for key in keys})
    batches = _missing_batches(cache, keys)
    if batches:
        images = ImageFiles(root, cache.keys, model.input_size)
        described = describe(model, images, batches, device, workers, f"describing into {path.name}")
        for rows, (global_descriptors, patch_descriptors) in zip(batches, described):
            if patch_descriptors is None:
                patch_descriptors = np.empty((len(rows), 0, spec.dim), np.float16)
            cache.write(np.array(rows), global_descriptors, patch_descriptors)
    else:
        log.info("cache: all %d images are in %s", len(keys), path)
    return DescriptorCache(path, spec)


def _missing_batches(cache: DescriptorCache, keys: Sequence[str]) -> list[list[int]]:
    """The wanted rows in fixed blocks of `BATCH` rows of the file, for the blocks in which any is not done."""
    wanted = set(keys)
    rows = np.array([row for row, key in enumerate(cache.keys) if key in wanted], np.int64)
    blocks = np.split(rows, np.flatnonzero(np.diff(rows // BATCH)) + 1)
    return [block.tolist() for block in blocks if len(block) and not cache.done[block].all()]


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise ImageError(f"{path} is missing; unpack the image archives again") from None
