"""From descriptors of photos to candidates of a map: search, and re-ranking by transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vpr.description.describe import Described
from vpr.retrieval.confidence import ELSEWHERE_M, separations
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.index import Index, LocalIndex
from vpr.retrieval.rerank import ImagesInMemory, patches_of
from vpr.retrieval.settings import Calibration

MEMORY_MB = 512  # maximum memory of the candidates' patches
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


@dataclass(frozen=True, eq=False)
class CandidateFinder:
    """Finds the candidates of photos in a map: search by global descriptors, then re-ranking by patches."""

    calibration: Calibration
    photos: LocalIndex  # all photos of the map
    places: np.ndarray  # (N, 3) of the photos, metres

    @property
    def index(self) -> Index:
        """The index that is searched."""
        return self.photos

    def find(self, described: Described, depth: int, shortlist: np.ndarray | None = None) -> Candidates:
        """The candidates of photos, at most ``depth`` for each, re-ranked.

        described: of the photos, not adapted. shortlist (Q, K): photos of the map that another model found; None
        searches the map. Raises CacheError for descriptors that are not finite numbers.
        """
        adapted = self.adapted(described)
        if shortlist is None:
            similar, rows = self.index.search(adapted.globals_, depth)
        else:
            rows = shortlist[:, :depth]
            similar = self.photos.entries.cosines(adapted.globals_, rows)
        width = max(1, int((rows >= 0).sum(1).min(initial=rows.shape[1])))  # an index may find fewer for some photos
        similar, rows = similar[:, :width], np.maximum(rows[:, :width], 0)
        config = self.calibration.config(memory_mb=MEMORY_MB)
        structural = self.index.compare(ImagesInMemory(adapted), rows, config).structural
        scores = weighted_sum(similar, structural, self.calibration.weight)
        ordered, similar, structural = (reorder(side, scores) for side in (rows, similar, structural))
        return Candidates(ordered, similar, structural, reorder(scores, scores), self.places[ordered])

    def adapted(self, described: Described) -> Described:
        """The descriptors of photos, adapted as those of the map; float32."""
        patches, adaptation = patches_of(described).astype(np.float32), self.photos.images.adaptation
        if adaptation is None:
            return Described(described.globals_, patches)
        patches = adaptation.patches(patches)
        return Described(adaptation.globals_(patches), patches)
