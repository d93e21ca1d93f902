"""Product-quantised caches: adaptation and codes are fitted to images that are described already."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.base.files import replace_file
from vpr.base.progress import progress
from vpr.cache import CacheSpec, Coding, DescriptorCache, Keys, create
from vpr.description.adaptation import (
    MOST_IMAGES,
    Adaptation,
    adaptation_of,
    described_rows,
    fit_adaptation,
    sort_by_key,
    space_evenly,
    split_rows,
)
from vpr.description.batches import ImageDescriptors
from vpr.patch_codes import CENTROIDS, CODE_BYTES, PatchCodes

log = logging.getLogger("vpr")

FEWEST = 130  # images to fit to


class CodingError(VprError):
    """Too few images to fit product quantisation to."""


def create_coded(
    path: Path, keys: Keys, spec: CacheSpec, source: DescriptorCache, rows: np.ndarray | None = None
) -> None:
    """Create a product-quantised cache with a row for each image of ``source`` and for each key, atomically.

    source: a cache of the same model with exact patches. The adaptation and the codes are fitted to its images, whose
    descriptors come first. rows: of these images; None for all that are described. Raises CodingError if there are too
    few.
    """
    rows = described_rows(source) if rows is None else sort_by_key(source, rows)
    coding = _fit_coding(source, rows, spec)
    times = np.zeros(len(rows), np.int64) if source.times is None else source.times[rows]
    with replace_file(path) as temporary:
        create(temporary, [*source.keys[rows], *keys], spec, coding=coding)
        target = DescriptorCache(temporary, spec, writable=True)
        adaptation = adaptation_of(target)
        blocks = [*split_rows(np.arange(len(rows)))]
        for block in progress(blocks, title=f"writing {spec.dtype} codes" if len(blocks) > 4 else None, unit="block"):
            old = rows[block]
            target.restart(block, source.bytes[old], times[block])
            weights = source.read_weights(old) if spec.weights else None
            described = ImageDescriptors(source.globals_[old], source.read_patches(old), weights)
            write_described(target, block, described, adaptation)


def write_described(
    cache: DescriptorCache, rows: np.ndarray, described: ImageDescriptors, adaptation: Adaptation | None
) -> None:
    """Write descriptors into the rows (b,) of a cache, adapted if it has an adaptation."""
    global_descriptors, patches, weights = described
    if patches is None:
        patches = np.empty((len(rows), 0, cache.spec.dim), np.float16)
    if adaptation is not None:
        global_descriptors, patches = adaptation.adapt(global_descriptors, patches)
    cache.write(rows, global_descriptors, patches, weights)


def _fit_coding(source: DescriptorCache, rows: np.ndarray, spec: CacheSpec) -> Coding:
    """Fit to the rows (D,) of a cache; if they are too many, to evenly spaced ones."""
    fewest = max(FEWEST, -(-CENTROIDS // max(1, spec.patches)))
    if len(rows) < fewest:
        remedy = f"give at least {fewest} at once, or choose another type of patches (float16)"
        raise CodingError(f"{len(rows)} images are too few to fit {spec.dtype} codes to", remedy=remedy)
    adaptation = fit_adaptation(source, rows) if spec.adapted else None
    chosen = space_evenly(rows, MOST_IMAGES)
    log.info("fitting %s codes to %d images", spec.dtype, len(chosen))
    patches = source.read_patches(chosen)
    source.require_numbers(chosen, patches)
    if adaptation is not None:
        patches = adaptation.adapt_patches(patches)
    codes = PatchCodes.fit(patches, CODE_BYTES[spec.dtype])
    times = np.zeros(len(rows), np.int64) if source.times is None else source.times[rows]
    images = digest_of_images(source.keys[rows].tolist(), source.bytes[rows], times)
    return Coding(codes, images, {} if adaptation is None else adaptation.to_arrays())


def digest_of_images(keys: Sequence[str], sizes: np.ndarray, times: np.ndarray) -> str:
    """A digest of images (N,) in a state: their files' sizes, bytes, and modification times, nanoseconds."""
    digest = hashlib.sha256("\n".join(keys).encode(errors="surrogateescape"))
    digest.update(np.ascontiguousarray(sizes, np.int64).tobytes())
    digest.update(np.ascontiguousarray(times, np.int64).tobytes())
    return digest.hexdigest()
