"""Adaptation to a database without labels: whitening and VLAD are fitted again to the database images.

The queries are never used. It works on cached descriptors, so no image is read again. The result is another cache file.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vpr.base.files import replace_file, writable_path
from vpr.cache import CacheError, DescriptorCache, create
from vpr.models.summary import PatchSummary, fit_whitening

log = logging.getLogger("vpr")

POWER = 0.25  # whitening power, of patches and of VLAD
CLUSTERS, GLOBAL_DIM = 64, 128
MOST_IMAGES = 4000  # maximum number of images to fit to
BLOCK = 1024  # images transformed at a time
VERSION = 1  # increased when the same cache gives other descriptors


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Maps patch descriptors (B, P, C) to adapted ones, and these to VLAD descriptors (B, G); all are unit vectors."""

    mean: np.ndarray  # (C,)
    components: np.ndarray  # (C, C), rows scaled
    summary: PatchSummary

    @classmethod
    def fit(cls, patches: np.ndarray, seed: int = 0) -> "Adaptation":
        """Fit to the patches (N, P, C) of database images, more than `GLOBAL_DIM` of them."""
        mean, components = fit_whitening(patches, patches.shape[-1], POWER, seed)
        summary = PatchSummary("vlad", patches.shape[1:], CLUSTERS, _global_dim(patches.shape[-1]))
        adaptation = cls(mean, components, summary)
        summary.fit(adaptation.adapt_patches(patches), POWER, seed)
        return adaptation

    def adapt_patches(self, patches: np.ndarray) -> np.ndarray:
        """Adapted patch descriptors, float32."""
        moved = (patches.astype(np.float32) - self.mean) @ self.components.T
        return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), 1e-9))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name, for a file; `from_arrays` is the inverse."""
        summary = {f"summary.{name}": value.numpy() for name, value in self.summary.state_dict().items()}
        return {"mean": self.mean, "components": self.components, **summary}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], patches: int) -> "Adaptation":
        """The inverse of `to_arrays`. patches: number of patches per image.

        Raises LookupError, ValueError or RuntimeError for arrays that are not those of an adaptation.
        """
        dim, parts = len(arrays["mean"]), {name: torch.from_numpy(array) for name, array in arrays.items()}
        summary = PatchSummary("vlad", (patches, dim), CLUSTERS, _global_dim(dim))
        summary.load_state_dict({name[8:]: part for name, part in parts.items() if name.startswith("summary.")})
        return cls(arrays["mean"], arrays["components"].reshape(-1, dim), summary)

    def global_descriptors(self, patches: np.ndarray) -> np.ndarray:
        """VLAD descriptors (B, G) of adapted patches (B, P, C), float32."""
        with torch.no_grad():
            descriptors: np.ndarray = self.summary(torch.from_numpy(patches)).numpy()
        return descriptors


def is_worth_adapting(database: int) -> bool:
    """Whether there are enough database images to fit to; they must be more than the dimensions of VLAD."""
    return database > GLOBAL_DIM + 1


def adapt_cache(cache: DescriptorCache, database: np.ndarray, folder: Path) -> DescriptorCache:
    """A cache with the adapted descriptors of all images, as a file in ``folder``, which is created if it is missing.

    database: rows (D,) of the database images. The fingerprint in the name of the file covers the model's fingerprint,
    the database images and all images of the cache. Raises CacheError if there are too few database images, or no
    patches.
    """
    if not is_worth_adapting(len(database)) or cache.spec.patches == 0:
        raise CacheError(f"{len(database)} database images are too few to adapt to; pass --no-adapt")
    rows = sort_by_key(cache, np.unique(database))
    digest = hashlib.sha256(f"{VERSION} {cache.fingerprint} {cache.spec}".encode())
    for images in (
        rows,
        sort_by_key(cache, np.flatnonzero(cache.done)),
    ):  # those to fit to, and all
        digest.update("\n".join(cache.keys[images].tolist()).encode())
        digest.update(cache.bytes[images].tobytes())
        if cache.times is not None:
            digest.update(cache.times[images].tobytes())
    fingerprint = digest.hexdigest()[:16]
    path = writable_path(folder / f"adapted-{fingerprint}.h5")
    spec = replace(cache.spec, fingerprint=fingerprint, global_dim=_global_dim(cache.spec.dim))
    if path.is_file():
        existing = DescriptorCache(path, spec)
        if len(existing) == len(cache) and existing.done.all():
            return existing
    adaptation = fit_adaptation(cache, rows)
    with replace_file(path) as temporary:
        create(temporary, cache.keys.tolist(), spec)
        target = DescriptorCache(temporary, spec, writable=True)
        for block in split_rows(np.flatnonzero(cache.done)):
            patches = adaptation.adapt_patches(cache.read_patches(block))
            target.restart(block, cache.bytes[block])
            weights = None if cache.weights is None else cache.read_weights(block)
            target.write(block, adaptation.global_descriptors(patches), patches, weights)
    return DescriptorCache(path, spec)


def sort_by_key(cache: DescriptorCache, rows: np.ndarray) -> np.ndarray:
    """Rows of a cache in the order of their keys, so that the order of description has no effect."""
    return rows[np.argsort(cache.keys[rows], kind="stable")]


def fit_adaptation(cache: DescriptorCache, rows: np.ndarray) -> Adaptation:
    """Fit to the rows (D,) of a cache, in any order; if they are too many, to `MOST_IMAGES` evenly spaced ones.

    Raises CacheError for descriptors with NaN or infinity.
    """
    rows = sort_by_key(cache, rows)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST_IMAGES, len(rows))).astype(int))]
    log.info("adapting to %d database images", len(chosen))
    patches = cache.read_patches(chosen)
    cache.require_numbers(chosen, patches)
    return Adaptation.fit(patches)


def _global_dim(dim: int) -> int:
    """Length of a VLAD descriptor; it must differ from that of a patch descriptor."""
    return GLOBAL_DIM + (dim == GLOBAL_DIM)


def split_rows(rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows (N,) in blocks of at most `BLOCK`."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
