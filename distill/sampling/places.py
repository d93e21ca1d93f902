"""Training photos, and the places that they show.

Photos of one place are positives of one another. A place is known by identity, as in GSV-Cities and for cells of
position and heading, or by position: photos within a few metres that look in about the same direction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from vpr.base.errors import VprError


@dataclass(frozen=True)
class Photos:
    """The N training photos of all cities, queries and database together.

    If places are known by identity, headings and `Guard.positive_radius_m` do not count.
    """

    paths: np.ndarray  # (N,) str, relative to the dataset's root
    utm: np.ndarray  # (N, 2) float64, metres
    city: np.ndarray  # (N,) int
    heading: np.ndarray  # (N,) float32, degrees clockwise from north; NaN if unknown
    night: np.ndarray  # (N,) bool; False if unknown
    sideways: np.ndarray  # (N,) bool, the camera looks sideways; False if unknown
    place: np.ndarray | None = None  # (N,) int, its place, different in different cities; None if positions decide
    group: np.ndarray | None = None  # (N,) int; all photos of a batch are of one group; None for one group

    def take(self, rows: np.ndarray) -> Photos:
        """Some of the photos, by number."""
        columns: dict[str, Any] = {
            name: None if column is None else column[rows] for name, column in vars(self).items()
        }
        return Photos(**columns)


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
        close, other = same_city & (distance <= self.negative_radius_m), anchors[:, None] != references[None]
        if photos.place is not None:
            same_place = photos.place[anchors][:, None] == photos.place[references][None]
            return np.asarray(same_place & other), ~(close | same_place)
        near = same_city & (distance <= self.positive_radius_m) & other
        facing = self.same_heading(photos.heading[anchors][:, None], photos.heading[references][None])
        return near & facing, ~close

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
        if photos.place is None:
            self._find_pairs()
        else:  # without a list of pairs, of which there may be billions
            order = np.argsort(photos.place, kind="stable")
            numbers, first = np.unique(photos.place[order], return_index=True)
            self._members, self._first = order, np.append(first, len(order))
            self._number = np.searchsorted(numbers, photos.place)  # of each photo's place, from 0
            self.anchors = np.flatnonzero(self.place_sizes > 1)
        if not len(self.anchors):
            raise VprError(
                f"no two training photos lie within {guard.positive_radius_m} m of each other, or are of one class",
                remedy="check the cities' UTM, or the classes",
            )

    def _find_pairs(self) -> None:
        """The positives of each photo, by distance and heading."""
        photos, guard = self.photos, self.guard
        pairs = np.concatenate([self._pairs(np.flatnonzero(photos.city == city)) for city in np.unique(photos.city)])
        pairs = pairs[guard.same_heading(photos.heading[pairs[:, 0]], photos.heading[pairs[:, 1]])]
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[np.lexsort((both[:, 1], both[:, 0]))]
        self._offsets = np.searchsorted(both[:, 0], np.arange(len(photos.paths) + 1))
        self._positives = both[:, 1]
        self.anchors = np.flatnonzero(np.diff(self._offsets))  # photos with a positive

    def _pairs(self, rows: np.ndarray) -> np.ndarray:
        tree = cKDTree(self.photos.utm[rows])
        pairs: np.ndarray = rows[tree.query_pairs(self.guard.positive_radius_m, output_type="ndarray")]
        return pairs

    @cached_property
    def cells(self) -> np.ndarray:
        """The class of each photo for losses with proxies, (N,) int64.

        It is the place if that is known by identity, otherwise a square as wide as the negative radius. Two photos of a
        place have different classes if a border of two squares lies between them.
        """
        if self.photos.place is not None:
            return self._number
        squares = np.floor(self.photos.utm / self.guard.negative_radius_m).astype(np.int64)
        city_squares = np.column_stack([self.photos.city, squares])
        return np.unique(city_squares, axis=0, return_inverse=True)[1].reshape(-1)

    def positives(self, photo: int) -> np.ndarray:
        """The numbers of the positives of a photo."""
        if self.photos.place is not None:
            number = self._number[photo]
            members = self._members[self._first[number] : self._first[number + 1]]
            return np.asarray(members[members != photo])
        return self._positives[self._offsets[photo] : self._offsets[photo + 1]]

    @property
    def place_sizes(self) -> np.ndarray:
        """(N,) int64: the number of photos of each photo's place. Places must be known by identity."""
        return np.asarray(np.diff(self._first)[self._number])

    def draw_batch(self, candidates: Iterable[int], shape: BatchShape, rng: np.random.Generator) -> np.ndarray:
        """The photos of a batch, (places * images,): anchors and their positives, place by place.

        Anchors are the first candidates that are negatives of one another. Positives are drawn at random, and repeated
        if there are too few.
        """
        chosen: list[int] = []
        for photo in candidates:
            if not chosen or self.guard.masks(self.photos, np.array([photo]), np.array(chosen))[1].all():
                chosen.append(photo)
            if len(chosen) == shape.places:
                break
        batch = []
        for photo in chosen:
            positives = self.positives(photo)
            drawn = rng.choice(positives, shape.images - 1, replace=len(positives) < shape.images - 1)
            batch += [photo, *drawn]
        return np.array(batch)
