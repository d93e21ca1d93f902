"""Training photos, and the places that they show: photos taken within a few metres of one another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from vpr.base.errors import VprError


@dataclass(frozen=True)
class Photos:
    """The N training photos of all cities, queries and database together."""

    paths: np.ndarray  # (N,) str, relative to the dataset's root
    utm: np.ndarray  # (N, 2) float64, metres
    city: np.ndarray  # (N,) int
    heading: np.ndarray  # (N,) float32, degrees clockwise from north; NaN if unknown
    night: np.ndarray  # (N,) bool; False if unknown
    sideways: np.ndarray  # (N,) bool, the camera looks sideways; False if unknown


@dataclass(frozen=True)
class Guard:
    """The distances and angles that make two photos positives or negatives of each other."""

    positive_radius_m: float = 10.0
    negative_radius_m: float = 25.0  # photos nearer than this are never negatives
    heading_deg: float = 60.0  # largest angle between the headings of positives; unknown headings always pass

    def masks(
        self, photos: Photos, anchors: np.ndarray, references: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The positive pairs and the negative pairs of photos (A,) with photos (N,), two (A, N) bool without overlap.

        references: the anchors themselves if left out. A photo is never paired with itself.
        """
        references = anchors if references is None else references
        distance = np.linalg.norm(photos.utm[anchors][:, None] - photos.utm[references][None], axis=2)
        same_city = photos.city[anchors][:, None] == photos.city[references][None]
        near = same_city & (distance <= self.positive_radius_m) & (anchors[:, None] != references[None])
        facing = self.same_heading(photos.heading[anchors][:, None], photos.heading[references][None])
        return near & facing, ~(same_city & (distance <= self.negative_radius_m))

    def same_heading(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether headings (degrees) differ by at most ``heading_deg``; True if one is unknown."""
        turn = np.abs((first - second + 180) % 360 - 180)
        return np.asarray(np.isnan(turn) | (turn <= self.heading_deg))


@dataclass(frozen=True)
class BatchShape:
    """The size of a batch."""

    places: int
    images: int  # per place


class Places:
    """Photos, each with its positives.

    Raises VprError if no photo has a positive.
    """

    def __init__(self, photos: Photos, guard: Guard) -> None:
        self.photos, self.guard = photos, guard
        pairs = np.concatenate([self._pairs(np.flatnonzero(photos.city == city)) for city in np.unique(photos.city)])
        pairs = pairs[guard.same_heading(photos.heading[pairs[:, 0]], photos.heading[pairs[:, 1]])]
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[np.lexsort((both[:, 1], both[:, 0]))]
        self._offsets = np.searchsorted(both[:, 0], np.arange(len(photos.paths) + 1))
        self._positives = both[:, 1]
        self.anchors = np.flatnonzero(np.diff(self._offsets))  # photos with a positive
        if not len(self.anchors):
            raise VprError(
                f"no two training photos lie within {guard.positive_radius_m} m of each other, or are of one class",
                remedy="check the cities' UTM, or the classes",
            )

    def _pairs(self, rows: np.ndarray) -> np.ndarray:
        tree = cKDTree(self.photos.utm[rows])
        pairs: np.ndarray = rows[tree.query_pairs(self.guard.positive_radius_m, output_type="ndarray")]
        return pairs

    @cached_property
    def cells(self) -> np.ndarray:
        """The cell of each photo, (N,) int64: squares as wide as the negative radius, as classes for proxies.

        Two photos of a place have different classes if a border of two squares lies between them.
        """
        squares = np.floor(self.photos.utm / self.guard.negative_radius_m).astype(np.int64)
        city_squares = np.column_stack([self.photos.city, squares])
        return np.unique(city_squares, axis=0, return_inverse=True)[1].reshape(-1)

    def positives(self, photo: int) -> np.ndarray:
        """The numbers of the positives of a photo."""
        return self._positives[self._offsets[photo] : self._offsets[photo + 1]]

    def draw_batch(self, candidates: Iterable[int], shape: BatchShape, rng: np.random.Generator) -> np.ndarray:
        """The photos of a batch, (places * images,): anchors and their positives, place by place.

        Anchors are the first candidates that are negatives of one another. Positives are drawn at random, and repeated
        if there are too few.
        """
        chosen: list[int] = []
        for photo in candidates:
            if all(self._far_apart(photo, other) for other in chosen):
                chosen.append(photo)
            if len(chosen) == shape.places:
                break
        batch = []
        for photo in chosen:
            positives = self.positives(photo)
            drawn = rng.choice(positives, shape.images - 1, replace=len(positives) < shape.images - 1)
            batch += [photo, *drawn]
        return np.array(batch)

    def _far_apart(self, first: int, second: int) -> bool:
        photos = self.photos
        if photos.city[first] != photos.city[second]:
            return True
        return bool(np.linalg.norm(photos.utm[first] - photos.utm[second]) > self.guard.negative_radius_m)
