"""A teacher's descriptors of the training photos, the targets of distillation, by the numbers of the photos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from lightning_fabric import Fabric

from vpr.base.progress import progress
from vpr.cache import DescriptorCache
from vpr.description.cache_filling import image_states, open_or_create
from vpr.description.describe import reproducible_descriptors
from vpr.description.image_files import ImageFiles
from vpr.description.model_spec import cache_spec
from vpr.distill.training.parallel import share_rows
from vpr.models.hub import HubModel
from vpr.models.netvlad import NetVLAD

log = logging.getLogger("vpr")

PASS = 1024  # photos described at once in a pass over all photos


class TeacherDescriptors(Protocol):
    """Descriptors of C numbers."""

    dim: int  # C

    def of(self, photos: np.ndarray) -> np.ndarray:
        """The descriptors of the photos with these numbers (B,), (B, C) float32. All processes ask for the same."""


class GivenDescriptors:
    """Descriptors that exist already, (N, C) float32."""

    def __init__(self, descriptors: np.ndarray) -> None:
        self.descriptors, self.dim = descriptors, int(descriptors.shape[1])

    def of(self, photos: np.ndarray) -> np.ndarray:
        """As `TeacherDescriptors.of`."""
        found: np.ndarray = self.descriptors[photos]
        return found


class DrawnDescriptors:
    """The descriptors of a network, which describes a photo when it is asked for first.

    They are kept in a cache file, or in memory without one. A photo in the file is described again if its image has
    changed since. What a photo gets does not depend on the other photos, nor on what the file had before.
    """

    def __init__(
        self, model: NetVLAD | HubModel, root: Path, paths: np.ndarray, fabric: Fabric, cache: Path | None
    ) -> None:
        """paths: of the N photos, relative to the root. cache: None if the processes cannot share a file.

        Raises CacheError for a cache that is damaged or of another model.
        """
        self.model, self.fabric, self.dim = model, fabric, model.dim
        self.images = ImageFiles.for_model(root, paths, model)
        self._known = np.zeros(len(paths), bool)  # photos that were asked for; the same in all processes
        self._cache: DescriptorCache | None = None
        self._rows = np.arange(len(paths))  # of each photo, in the cache or in memory
        self._described = self._known.copy()  # photos that the cache has from before
        if cache is None:
            self._descriptors = np.zeros((len(paths), self.dim), np.float32)  # takes memory only if it is written
        else:
            self._cache = self._open(cache)
            self._descriptors = self._cache.globals_

    def _open(self, path: Path) -> DescriptorCache:
        """The cache, with a row for every photo."""
        spec, paths = cache_spec(self.model), self.images.paths
        if self.fabric.is_global_zero:
            open_or_create(path, paths, spec, sparse=True)
        self.fabric.barrier()
        cache = DescriptorCache(path, spec, writable=True)
        self._rows = cache.find(paths)
        self._described = cache.done[self._rows] != 0
        self.fabric.barrier()  # before a process writes
        count = np.count_nonzero(self._described)
        rest = "" if count == len(paths) else "; a photo that it lacks is described before the step that uses it"
        log.info("teacher: %d of %d photos are in %s%s", count, len(paths), path, rest)
        return cache

    def of(self, photos: np.ndarray) -> np.ndarray:
        """As `TeacherDescriptors.of`. Raises ImageError for a photo that cannot be read."""
        new = np.unique(photos[~self._known[photos]])
        if len(new):
            missing = self.fabric.broadcast(self._missing(new))
            if len(missing):
                self._describe(missing)
            self._known[new] = True
        rows = self._rows[photos]
        found = np.asarray(self._descriptors[rows])
        if self._cache is not None:
            self._cache.require_numbers(rows, found)
        return found

    def describe_all(self) -> None:
        """Describe all photos, before they are asked for."""
        numbers = np.arange(len(self.images))
        title = "describing by the teacher" if self.fabric.is_global_zero else None
        with progress(total=len(numbers), title=title, unit="photo") as bar:
            for start in range(0, len(numbers), PASS):
                bar.update(len(self.of(numbers[start : start + PASS])))

    def _missing(self, new: np.ndarray) -> np.ndarray:
        """Those of the photos (n,) that the cache lacks, or whose image has changed."""
        old = new[self._described[new]]
        if self._cache is None or not len(old):
            return new
        states, _ = image_states(self.images.root, self._paths(old))
        current = old[~states.has_changed(self._cache, self._rows[old])]
        return np.setdiff1d(new, current)

    def _describe(self, missing: np.ndarray) -> None:
        """Describe the photos (n,), each process some of them, and keep their descriptors."""
        described = share_rows(self.fabric, missing, 1, self._describe_own)
        if self._cache is None:
            self._descriptors[missing] = described

    def _describe_own(self, photos: np.ndarray) -> np.ndarray:
        """Describe photos (n,), and write them into the cache if there is one."""
        cache, rows = self._cache, self._rows[photos]
        if cache is not None:
            states, _ = image_states(self.images.root, self._paths(photos))
            cache.allocate(rows)
            cache.restart(rows, states.sizes, states.times)
        described = reproducible_descriptors(self.model, self.images, photos.tolist(), self.fabric.device)
        if cache is not None:
            cache.write(rows, described, np.empty((len(rows), 0, cache.spec.dim), np.float16))
        return described

    def _paths(self, photos: np.ndarray) -> list[str]:
        paths: Sequence[str] | np.ndarray = self.images.paths
        return [str(paths[photo]) for photo in photos.tolist()]
