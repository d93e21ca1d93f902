"""From descriptors of photos to candidates of a map: search, and re-ranking by transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from vpr.cache import DescriptorCache
from vpr.description.adaptation import Adaptation
from vpr.description.describe import Described
from vpr.retrieval.confidence import ELSEWHERE_M, separations
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.rerank import CachedImages, ImagesInMemory, compare_images, patches_of
from vpr.retrieval.settings import Calibration, RerankConfig

MEMORY_MB = 512  # that the candidates' patches may take
SHARPNESS = 3.0  # fixed on the held-out city of mini-MSLS, as 0.5, 1, 2, 5 and 8 were not better


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of Q photos, best first; all (Q, K)."""

    rows: np.ndarray  # int64 photos of the map
    global_: np.ndarray  # S_global
    structural: np.ndarray  # S_struct
    scores: np.ndarray  # S_global + w S_struct, falling
    places: np.ndarray  # (Q, K, 3) metres
    not_searched: int = 0  # photos of the map that could not be looked at

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Those of several batches, one after another."""
        width = min(part.rows.shape[1] for part in parts)  # an index may find fewer for some
        names = ("rows", "global_", "structural", "scores", "places")
        arrays = {name: np.concatenate([getattr(part, name)[:, :width] for part in parts]) for name in names}
        return cls(**arrays, not_searched=max(part.not_searched for part in parts))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def separations(self) -> np.ndarray:
        """How far each candidate's S_struct stands above the best elsewhere, in standard deviations, (Q, K)."""
        return separations(self.structural, self.places)

    @cached_property
    def tell(self) -> np.ndarray:
        """Whether a photo has candidates elsewhere, from which the first can stand out, (Q,) bool."""
        return (np.linalg.norm(self.places - self.places[:, :1], axis=2) > ELSEWHERE_M).any(1)

    @cached_property
    def weights(self) -> np.ndarray:
        """How much each candidate counts in a position, (Q, K): exp of `SHARPNESS` times its score in standard
        deviations, 1 for the first."""
        scores = self.scores.astype(np.float64)  # in float32 their sum would move a mean of places by half a metre
        spread = np.maximum(scores.std(1, keepdims=True), 1e-9)
        return np.exp(SHARPNESS * (scores - scores[:, :1]) / spread)


class Searcher(Protocol):
    """The search of a map's global descriptors, on one machine or in shards."""

    @property
    def globals_(self) -> np.ndarray: ...
    def __call__(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]: ...
    def cosines(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Comparer:
    """The photos of a map, searched by global descriptors and compared by patches."""

    calibration: Calibration
    device: torch.device  # that compares patches
    cache: DescriptorCache
    rows: np.ndarray  # (N,) of the map's photos in the cache
    search: Searcher
    adaptation: Adaptation | None
    places: np.ndarray  # (N, 3) of the photos, metres

    def find(self, described: Described, depth: int, shortlist: np.ndarray | None = None) -> Candidates:
        """The candidates of photos, at most ``depth`` for each, re-ranked.

        described: of the photos, by the run alone. shortlist (Q, K): photos of the map that another model found; None
        takes those that the search finds. Raises CacheError for descriptors that are not finite numbers.
        """
        adapted = self.adapted(described)
        if shortlist is None:
            similar, rows = self.search(adapted.globals_, depth)
        else:
            rows = shortlist[:, :depth]
            similar = self.search.cosines(adapted.globals_, rows)
        width = max(1, int((rows >= 0).sum(1).min(initial=rows.shape[1])))  # an index may find fewer for some photos
        similar, rows = similar[:, :width], np.maximum(rows[:, :width], 0)
        structural = self.structural(adapted, rows)
        scores = weighted_sum(similar, structural, self.calibration.weight)
        ordered, similar, structural = (reorder(side, scores) for side in (rows, similar, structural))
        return Candidates(ordered, similar, structural, reorder(scores, scores), self.places[ordered])

    def adapted(self, described: Described) -> Described:
        """The descriptors of photos as those of the map are; float32."""
        patches = patches_of(described).astype(np.float32)
        if self.adaptation is None:
            return Described(described.globals_, patches)
        patches = self.adaptation.patches(patches)
        return Described(self.adaptation.globals_(patches), patches)

    def structural(self, own: Described, rows: np.ndarray) -> np.ndarray:
        """S_struct (Q, K) of photos, adapted, and photos of the map (Q, K); -inf for a row of -1."""
        photos = CachedImages(self.cache, self.rows, self.adaptation, self.search.globals_)
        return compare_images(ImagesInMemory(own), photos, rows, self.config, device=self.device).structural

    @property
    def config(self) -> RerankConfig:
        """How patches are compared."""
        return self.calibration.config(memory_mb=MEMORY_MB)
