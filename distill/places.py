"""Batches of places: images taken within a few metres of one another, and places far enough apart to tell apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from vpr.base.errors import VprError


@dataclass(frozen=True)
class Photos:
    """The training photos of all cities, queries and database together."""

    paths: np.ndarray  # (N,) str, relative to the dataset's root
    utm: np.ndarray  # (N, 2) float64, metres
    city: np.ndarray  # (N,) int
    heading: np.ndarray  # (N,) float32, degrees clockwise from north; NaN where unknown
    night: np.ndarray  # (N,) bool; False where unknown
    sideways: np.ndarray  # (N,) bool, the camera looks sideways; False where unknown


@dataclass(frozen=True)
class Guard:
    """Which photos show the same place."""

    positive_radius_m: float = 10.0
    negative_radius_m: float = 25.0  # photos nearer than this are never negatives
    heading_deg: float = 60.0  # positives look in about the same direction, where the direction is known

    def masks(
        self, photos: Photos, batch: np.ndarray, others: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positive and negative pairs of photos (B,) with others (N,), or with themselves: two (B, N) bool, no overlap.

        A photo is no pair with itself.
        """
        others = batch if others is None else others
        distance = np.linalg.norm(photos.utm[batch][:, None] - photos.utm[others][None], axis=2)
        same_city = photos.city[batch][:, None] == photos.city[others][None]
        near = same_city & (distance <= self.positive_radius_m) & (batch[:, None] != others[None])
        facing = self.facing(photos.heading[batch][:, None], photos.heading[others][None])
        return near & facing, ~(same_city & (distance <= self.negative_radius_m))

    def facing(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether two headings (degrees) differ by at most heading_deg; unknown headings agree with all."""
        turn = np.abs((first - second + 180) % 360 - 180)
        return np.isnan(turn) | (turn <= self.heading_deg)


class Places:
    """Photos joined to the photos of the same place; draws batches.

    Raises VprError when no photo has a partner within the positive radius.
    """

    def __init__(self, photos: Photos, guard: Guard) -> None:
        self.photos, self.guard = photos, guard
        pairs = np.concatenate([self._pairs(np.flatnonzero(photos.city == city)) for city in np.unique(photos.city)])
        pairs = pairs[guard.facing(photos.heading[pairs[:, 0]], photos.heading[pairs[:, 1]])]
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[np.lexsort((both[:, 1], both[:, 0]))]
        self._offsets = np.searchsorted(both[:, 0], np.arange(len(photos.paths) + 1))
        self._partners = both[:, 1]
        self.anchors = np.flatnonzero(np.diff(self._offsets))
        if not len(self.anchors):
            raise VprError(
                f"no two training photos lie within {guard.positive_radius_m} m of each other, or are of one class; "
                "check the cities' UTM, or the classes"
            )

    def _pairs(self, rows: np.ndarray) -> np.ndarray:
        tree = cKDTree(self.photos.utm[rows])
        return rows[tree.query_pairs(self.guard.positive_radius_m, output_type="ndarray")]

    @cached_property
    def cells(self) -> np.ndarray:
        """(N,) int64 the cell of each photo, a square as wide as the negative radius: a class for losses that want one.

        Photos of a place on both sides of a border have different classes.
        """
        squares = np.floor(self.photos.utm / self.guard.negative_radius_m).astype(np.int64)
        of_city = np.column_stack([self.photos.city, squares])
        return np.unique(of_city, axis=0, return_inverse=True)[1].reshape(-1)

    def partners(self, photo: int) -> np.ndarray:
        """The photos of the same place as this one."""
        return self._partners[self._offsets[photo] : self._offsets[photo + 1]]

    def draw(self, candidates: Iterator[int], shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """A batch of photos, places * images of them: the first candidates that lie outside one another's guard, each
        with partners drawn at random (repeated when it has too few)."""
        places, images = shape
        chosen: list[int] = []
        for photo in candidates:
            if all(self._apart(photo, other) for other in chosen):
                chosen.append(photo)
            if len(chosen) == places:
                break
        batch = []
        for photo in chosen:
            partners = self.partners(photo)
            extra = rng.choice(partners, images - 1, replace=len(partners) < images - 1)
            batch += [photo, *extra]
        return np.array(batch)

    def _apart(self, first: int, second: int) -> bool:
        photos = self.photos
        if photos.city[first] != photos.city[second]:
            return True
        return bool(np.linalg.norm(photos.utm[first] - photos.utm[second]) > self.guard.negative_radius_m)


def sampling_weights(*members: np.ndarray) -> np.ndarray:
    """The official MSLS weights for drawing training images, (N,) float64, not normalised: 1, plus N / (number of
    members) for the members (N,) bool of each rare condition.

    >>> sampling_weights(np.array([True, False, False, False])).tolist()
    [5.0, 1.0, 1.0, 1.0]
    """
    weights = np.ones(len(members[0]))
    for member in members:
        weights[member] += len(member) / max(1, member.sum())
    return weights


class BatchPlan:
    """The batches of steps [start, stop): a sampler for a DataLoader, a pure function of seed and step.

    Once descriptors are known, by ``mined``: half of the batches are hard, their places being the photos whose
    descriptors are nearest to a random one's; or with ``tuples`` every batch is made of mined tuples.
    """

    def __init__(
        self, places: Places, shape: tuple[int, int], seed: int, by_condition: bool = False, tuples: bool = False
    ) -> None:
        """shape: places in a batch, images of each. by_condition: draw more often by night and sideways."""
        self.places, self.shape, self.seed, self.tuples = places, shape, seed, tuples
        self.shares = self._shares() if by_condition else None
        self.steps = range(0)
        self.mined: np.ndarray | None = None  # (M, 1 + k): photos, each followed by the nearest; or tuples (M, images)

    def _shares(self) -> np.ndarray:
        photos, anchors = self.places.photos, self.places.anchors
        weights = sampling_weights(photos.night[anchors], photos.sideways[anchors])
        return weights / weights.sum()

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield self.batch(step).tolist()

    def batch(self, step: int) -> np.ndarray:
        """The photos of one step's batch, (places * images,), fewer where places run out."""
        rng = np.random.default_rng([self.seed, step])
        if self.tuples and self.mined is not None and len(self.mined):
            return rng.choice(self.mined, self.shape[0], replace=len(self.mined) < self.shape[0]).ravel()
        anywhere = rng.choice(self.places.anchors, 50 * self.shape[0], p=self.shares)
        if self.tuples or self.mined is None or rng.random() < 0.5:
            return self.places.draw(iter(anywhere), self.shape, rng)
        first, *near = rng.choice(self.mined)
        return self.places.draw(iter([first, *rng.permutation(near), *anywhere]), self.shape, rng)
