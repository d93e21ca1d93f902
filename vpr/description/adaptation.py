"""Adaptation to a map without labels: whitening and VLAD fitted again to the database images, never to the queries.

It works on cached descriptors of any model, so no image is read again, and its result is another cache file.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vpr.base.files import replacing, writable_path
from vpr.cache import CacheError, DescriptorCache, create
from vpr.models.summary import PatchSummary, whitening

log = logging.getLogger("vpr")

POWER = 0.25  # of the variances of patches and of VLAD
CLUSTERS, GLOBAL_DIM = 64, 128
MOST_IMAGES = 4000  # that it is fitted to
BLOCK = 1024  # images transformed at a time
VERSION = 1  # rises whenever the same cache gives other descriptors


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Patch descriptors (B, P, C) to adapted ones, and to VLAD descriptors (B, G); all unit vectors."""

    mean: np.ndarray  # (C,)
    components: np.ndarray  # (C, C), rows scaled
    summary: PatchSummary

    @classmethod
    def fit(cls, patches: np.ndarray, seed: int = 0) -> "Adaptation":
        """Fit to the patches (N, P, C) of database images, more than `GLOBAL_DIM` of them."""
        mean, components = whitening(patches, patches.shape[-1], POWER, seed)
        summary = PatchSummary("vlad", patches.shape[1:], CLUSTERS, _global_dim(patches.shape[-1]))
        adaptation = cls(mean, components, summary)
        summary.fit(adaptation.patches(patches), POWER, seed)
        return adaptation

    def patches(self, patches: np.ndarray) -> np.ndarray:
        """Adapted patch descriptors, float32."""
        moved = (patches.astype(np.float32) - self.mean) @ self.components.T
        return moved / np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), 1e-9)

    def arrays(self) -> dict[str, np.ndarray]:
        """What it consists of, to be kept; `of_arrays` makes it again."""
        summary = {f"summary.{name}": value.numpy() for name, value in self.summary.state_dict().items()}
        return {"mean": self.mean, "components": self.components, **summary}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], patches: int) -> "Adaptation":
        """Made of `arrays`, for images of so many patches. Others raise LookupError, ValueError or RuntimeError."""
        dim, parts = len(arrays["mean"]), {name: torch.from_numpy(array) for name, array in arrays.items()}
        summary = PatchSummary("vlad", (patches, dim), CLUSTERS, _global_dim(dim))
        summary.load_state_dict({name[8:]: part for name, part in parts.items() if name.startswith("summary.")})
        return cls(arrays["mean"], arrays["components"].reshape(-1, dim), summary)

    def globals_(self, patches: np.ndarray) -> np.ndarray:
        """VLAD descriptors of adapted patches, float32."""
        with torch.no_grad():
            return self.summary(torch.from_numpy(patches)).numpy()


def pays(database: int) -> bool:
    """Whether there are enough database images to fit to."""
    return database > GLOBAL_DIM + 1


def adapt_cache(cache: DescriptorCache, database: np.ndarray, folder: Path) -> DescriptorCache:
    """The cache with adapted descriptors of all its images, in a file of ``folder`` that is made when it is missing.

    database: rows (D,) of the database images. The file's name and fingerprint carry the model's fingerprint, the
    database and all images of the cache. Raises CacheError when there are too few database images or no patches.
    """
    if not pays(len(database)) or cache.spec.patches == 0:
        raise CacheError(f"{len(database)} database images are too few to adapt to; pass --no-adapt")
    rows = by_key(cache, np.unique(database))
    digest = hashlib.sha256(f"{VERSION} {cache.fingerprint} {cache.spec}".encode())
    for images in (rows, by_key(cache, np.flatnonzero(cache.done))):  # what it is fitted to, and what it is applied to
        digest.update("\n".join(cache.keys[images].tolist()).encode())
        digest.update(cache.bytes[images].tobytes())
        if cache.times is not None:
            digest.update(cache.times[images].tobytes())
    fingerprint = digest.hexdigest()[:16]
    path = writable_path(folder / f"adapted-{fingerprint}.h5")
    spec = replace(cache.spec, fingerprint=fingerprint, global_dim=_global_dim(cache.spec.dim))
    if path.is_file():
        found = DescriptorCache(path, spec)
        if len(found) == len(cache) and found.done.all():
            return found
    adaptation = fit_to(cache, rows)
    with replacing(path) as temporary:
        create(temporary, cache.keys.tolist(), spec)
        target = DescriptorCache(temporary, spec, writable=True)
        for block in blocks(np.flatnonzero(cache.done)):
            patches = adaptation.patches(cache.read_patches(block))
            target.restart(block, cache.bytes[block])
            weights = None if cache.weights is None else cache.read_weights(block)
            target.write(block, adaptation.globals_(patches), patches, weights)
    return DescriptorCache(path, spec)


def by_key(cache: DescriptorCache, rows: np.ndarray) -> np.ndarray:
    """Rows of a cache in the order of their images' keys, which does not depend on when they were described."""
    return rows[np.argsort(cache.keys[rows], kind="stable")]


def fit_to(cache: DescriptorCache, rows: np.ndarray) -> Adaptation:
    """Fit to images of a cache, (D,) rows, or to `MOST_IMAGES` of them, evenly chosen; their order does not matter.

    Raises CacheError for descriptors that are not finite numbers.
    """
    rows = by_key(cache, rows)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST_IMAGES, len(rows))).astype(int))]
    log.info("adapting to %d database images", len(chosen))
    patches = cache.read_patches(chosen)
    cache.require_numbers(chosen, patches)
    return Adaptation.fit(patches)


def _global_dim(dim: int) -> int:
    """Numbers of a VLAD descriptor: never as many as a patch descriptor has."""
    return GLOBAL_DIM + (dim == GLOBAL_DIM)


def blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Rows (N,), `BLOCK` at a time."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
