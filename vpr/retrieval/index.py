"""The index: database entries, searched by global descriptors, and images, compared by patches.

An entry is an image, or a sequence of images. `LocalIndex` is on this machine. `vpr.cluster.shards.ShardedIndex` is
spread over the processes of a cluster. Evaluation, maps and the service use either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vpr.retrieval.rerank import CPU, CachedImages, Images, Similarities, compare_images
from vpr.retrieval.search import Searchable
from vpr.retrieval.settings import RerankConfig
from vpr.retrieval.vector_index import VectorIndex

if TYPE_CHECKING:
    import torch


class Index(Searchable, Protocol):
    """Entries to search and images to compare."""

    def compare(
        self,
        queries: Images,
        candidates: np.ndarray,
        config: RerankConfig,
        *,
        weight: float = 1.0,
        title: str | None = None,
    ) -> Similarities:
        """As `compare_images`; candidates (Q, K) are image numbers, padded with -1."""
        ...


@dataclass(frozen=True, eq=False)
class LocalIndex:
    """An index on this machine."""

    entries: VectorIndex
    images: CachedImages
    device: str | torch.device = CPU  # for the comparison of patches

    def search(self, queries: np.ndarray, depth: int, entries: slice | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As `Searchable.search`."""
        return self.entries.search(queries, depth, entries)

    def compare(
        self,
        queries: Images,
        candidates: np.ndarray,
        config: RerankConfig,
        *,
        weight: float = 1.0,
        title: str | None = None,
    ) -> Similarities:
        """As `Index.compare`."""
        return compare_images(queries, self.images, candidates, config, weight=weight, device=self.device, title=title)
