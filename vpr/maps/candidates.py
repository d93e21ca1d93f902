"""The candidates of photos in a map: search by global descriptors, then re-ranking by transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vpr.description.batches import ImageDescriptors
from vpr.retrieval.confidence import ELSEWHERE_M, GEOMETRY_WEIGHT, Curve, separations
from vpr.retrieval.fusion import NO_CANDIDATE, add_geometry, reorder, weighted_sum
from vpr.retrieval.index import Index, LocalIndex
from vpr.retrieval.rerank import ImagesInMemory, require_patches
from vpr.retrieval.settings import Calibration

MEMORY_MB = 512  # maximum memory for the patches of candidates
SHARPNESS = 3.0  # chosen on the held-out city of mini-MSLS; 0.5, 1, 2, 5 and 8 were not better


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of Q photos, best first; all arrays are (Q, K).

    A photo may have fewer than K candidates: its last columns are padded.
    """

    rows: np.ndarray  # int64, photos of the map; padded with -1
    global_similarity: np.ndarray  # S_global; padded with -inf
    structural: np.ndarray  # S_struct; padded with -inf
    scores: np.ndarray  # S_global + w * S_struct, with geometry if it was asked for, descending; padded with -inf
    places: np.ndarray  # (Q, K, 3) metres; padded with NaN
    geometry: np.ndarray | None = None  # `PatchGeometry.score` of those that were ordered by it; others are -inf
    not_searched: int = 0  # photos of the map in shards that did not answer
    place_m: float = ELSEWHERE_M  # size of a place: photos farther apart show different places

    @classmethod
    def join(cls, parts: Sequence[Candidates]) -> Candidates:
        """The candidates of several batches, one after another."""
        width = max(part.rows.shape[1] for part in parts)  # an index may find fewer candidates
        padding = {"rows": NO_CANDIDATE, "global_similarity": -np.inf, "structural": -np.inf, "scores": -np.inf}
        padding["places"] = np.nan
        if parts[0].geometry is not None:
            padding["geometry"] = -np.inf
        arrays = {
            name: np.concatenate([_pad(getattr(part, name), width, value) for part in parts])
            for name, value in padding.items()
        }
        not_searched = max(part.not_searched for part in parts)
        return cls(**arrays, not_searched=not_searched, place_m=parts[0].place_m)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, photos: slice) -> Candidates:
        """The candidates of some of the photos."""
        names = ("rows", "global_similarity", "structural", "scores", "places", "geometry")
        arrays = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(self, **{name: array[photos] for name, array in arrays.items()})

    @cached_property
    def separations(self) -> np.ndarray:
        """The separation of each candidate by S_struct, and by geometry if it is known, (Q, K).

        See `vpr.retrieval.confidence.answer_separation`.
        """
        own = separations(self.structural, self.places, self.place_m)
        if self.geometry is None:
            return own
        return own + GEOMETRY_WEIGHT * separations(self.geometry, self.places, self.place_m)

    def probabilities(self, curve: Curve) -> np.ndarray:
        """The probability of each candidate that it is the right place, (Q, K); 0 for padding."""
        return np.where(self.rows >= 0, curve(self.separations), 0.0)

    @cached_property
    def has_rivals(self) -> np.ndarray:
        """Whether a photo has candidates elsewhere than the first one, (Q,) bool."""
        return np.asarray((np.linalg.norm(self.places - self.places[:, :1], axis=2) > self.place_m).any(1))

    @cached_property
    def weights(self) -> np.ndarray:
        """The weights of the candidates in a position, (Q, K): exp(`SHARPNESS` * z), which is 1 for the first.

        z is the score minus that of the first candidate, in standard deviations of all scores of the photo. Padding has
        the weight 0.
        """
        scores = self.scores.astype(np.float64)  # with float32, mean places would be wrong by half a metre
        result = np.zeros(scores.shape)
        for weights, row, present in zip(result, scores, self.rows >= 0):
            if present.any():
                spread = max(row[present].std(), 1e-9)
                weights[present] = np.exp(SHARPNESS * (row[present] - row[0]) / spread)
        return result


def _pad(array: np.ndarray, width: int, value: float) -> np.ndarray:
    """An array (Q, K, ...) as (Q, width, ...), padded with a value."""
    missing = [(0, 0), (0, width - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
    return np.pad(array, missing, constant_values=value)


@dataclass(frozen=True, eq=False)
class CandidateFinder:
    """Finds the candidates of photos in a map: search by global descriptors, then re-ranking by patches."""

    calibration: Calibration
    photos: LocalIndex  # all photos of the map
    places: np.ndarray  # (N, 3) of the photos, metres
    place_m: float  # size of a place on the map

    @property
    def index(self) -> Index:
        """The index to search."""
        return self.photos

    def find(
        self, described: ImageDescriptors, depth: int, shortlist: np.ndarray | None = None, geometry: int = 0
    ) -> Candidates:
        """The candidates of photos, at most ``depth`` for each, re-ranked.

        described: descriptors of the photos before adaptation. shortlist (Q, K): candidates from another model, padded
        with -1 at the end of a row; None searches the map. No photo gets a candidate that its shortlist lacks.
        geometry: number of first candidates whose order also goes by geometry, see `add_geometry`. Raises CacheError
        for descriptors with NaN or infinity.
        """
        return self.find_adapted(self.adapt(described), depth, shortlist, geometry)

    def read(self, photos: np.ndarray) -> ImageDescriptors:
        """The descriptors of some photos of the map (b,), after adaptation, as `find_adapted` takes them."""
        return self.photos.images.read(photos, self.calibration.config().needs_weights)

    def find_adapted(
        self, adapted: ImageDescriptors, depth: int, shortlist: np.ndarray | None = None, geometry: int = 0
    ) -> Candidates:
        """As `find`, for descriptors after adaptation."""
        if shortlist is None:
            similar, rows = self.index.search(adapted.globals_, depth)
        else:
            rows = shortlist[:, :depth]
            similar = self.photos.entries.cosines(adapted.globals_, rows)
        width = max(1, int((rows >= 0).sum(1).max(initial=0)))  # an index may find fewer candidates
        similar, rows = similar[:, :width], rows[:, :width]
        config, weight = self.calibration.config(memory_mb=MEMORY_MB, geometry=geometry), self.calibration.weight
        compared = self.index.compare(ImagesInMemory(adapted), rows, config, weight=weight)
        structural = compared.structural
        scores = np.where(rows >= 0, weighted_sum(similar, structural, weight), -np.inf)
        if compared.geometry is not None:
            there = np.where(rows[..., None] >= 0, self.places[rows], np.nan)
            scores = add_geometry(scores, compared.geometry, geometry, there, self.place_m)
        ordered, similar, structural = (reorder(side, scores) for side in (rows, similar, structural))
        places = np.where(ordered[..., None] >= 0, self.places[ordered], np.nan)
        by_geometry = None if compared.geometry is None else reorder(compared.geometry, scores)
        sides = ordered, similar, structural, reorder(scores, scores), places, by_geometry
        return Candidates(*sides, place_m=self.place_m)

    def adapt(self, described: ImageDescriptors) -> ImageDescriptors:
        """The descriptors of photos with the adaptation of the map, float32."""
        patches, adaptation = require_patches(described).astype(np.float32), self.photos.images.adaptation
        if adaptation is None:
            return ImageDescriptors(described.globals_, patches, described.weights)
        return ImageDescriptors(*adaptation.adapt(described.globals_, patches), described.weights)
