"""What a shard holds of a map. Its process imports this, and none of the networks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vpr.base.files import cache_folder
from vpr.cache import CacheSpec, DescriptorCache
from vpr.cluster.errors import ClusterError
from vpr.description.adaptation import Adaptation
from vpr.maps import index as indices
from vpr.maps.candidates import Comparer
from vpr.maps.store import DESCRIPTORS, State
from vpr.retrieval.settings import Fixed


@dataclass(frozen=True)
class OnCpu:
    """How a shard compares patches."""

    fixed: Fixed
    device: torch.device = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class MapPart:
    """Which photos of a map a shard holds: those from start to stop."""

    folder: Path  # of the map, from the root: the same on every machine
    state: State
    spec: CacheSpec
    start: int
    stop: int
    rows: np.ndarray  # (stop - start,) of these photos in the descriptor cache
    keys: str  # their digest
    adaptation: Adaptation | None
    fixed: Fixed

    def open(self) -> Comparer:
        """Its files as memory maps; raises VprError or OSError where they are not there, or are no longer the map's."""
        if State.of(self.folder) != self.state:
            raise ClusterError(f"{self.folder} is another map by now; give the command again")
        first = int(self.rows.min())
        cache = DescriptorCache(self.folder / DESCRIPTORS, self.spec, part=slice(first, int(self.rows.max()) + 1))
        if self.rows.max() - first >= len(cache) or digest_of_keys(cache.keys[self.rows - first]) != self.keys:
            raise ClusterError(f"{cache.path} holds other photos than before; give the command again")
        globals_ = np.load(self.folder / self.state.files["globals"][0], mmap_mode="r", allow_pickle=False)
        search = self._search(globals_[self.start : self.stop])
        return Comparer(OnCpu(self.fixed), cache, self.rows - first, search, self.adaptation, np.zeros((0, 3)))

    def _search(self, globals_: np.ndarray) -> indices.Search:
        """The index that fits the number of its photos; one that is a file is kept in this machine's cache folder."""
        kind = indices.kind_for(len(globals_))
        if kind == "flat":
            return indices.Search(globals_, kind, None)
        path = cache_folder("shards") / f"{self.state.files['globals'][1][:16]}-{self.start}-{self.stop}-{kind}.faiss"
        if not path.is_file():
            indices.build(globals_, kind, path)
        return indices.Search(globals_, kind, path)


def digest_of_keys(keys: np.ndarray) -> str:
    """What tells some images from others."""
    return hashlib.sha256("\n".join(keys).encode(errors="surrogateescape")).hexdigest()
