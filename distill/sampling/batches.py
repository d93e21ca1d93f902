"""Batches of photos, drawn step by step from the seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from vpr.base.errors import VprError
from vpr.distill.sampling.cells import square_numbers
from vpr.distill.sampling.places import BatchShape, Places
from vpr.distill.settings import TrainConfig


def sampling_weights(*conditions: np.ndarray) -> np.ndarray:
    """The official MSLS weights for drawing training images, (N,) float64, not normalised.

    conditions: for each rare condition, whether an image has it, (N,) bool. The weight of an image is 1, plus
    N / (number of images with the condition) for each condition that it has.

    >>> sampling_weights(np.array([True, False, False, False])).tolist()
    [5.0, 1.0, 1.0, 1.0]
    """
    weights = np.ones(len(conditions[0]))
    for condition in conditions:
        weights[condition] += len(condition) / max(1, condition.sum())
    return weights


class BatchSampler:
    """The batches of the steps in ``steps``, for a DataLoader. A batch depends only on seed, step and mined photos.

    Without mined photos, places are drawn at random: each photo with the same probability, or each place, if places are
    known by identity. If photos have groups, a batch is of one group. With ``mined``, half of the batches are hard:
    their places look similar to a random one. In the mode ``tuples`` every batch consists of mined tuples.
    """

    def __init__(
        self, places: Places, shape: BatchShape, seed: int, by_condition: bool = False, tuples: bool = False
    ) -> None:
        """by_condition: draw photos taken by night or sideways more often. Raises VprError if no group has enough
        places for a batch."""
        self.places, self.shape, self.seed, self.tuples = places, shape, seed, tuples
        self.probabilities = self._probabilities(by_condition)  # of each of `Places.anchors`; None if they are equal
        self.groups = None if places.photos.group is None else self._groups(places.photos.group)
        self.group_shares = None if self.groups is None else self._group_shares(self.groups)
        self.steps = range(0)
        self.mined: np.ndarray | None = None  # (M, 1 + k): anchor and similar anchors; or tuples (M, images)

    @classmethod
    def from_config(cls, places: Places, config: TrainConfig) -> BatchSampler:
        """The sampler that the training options describe."""
        shape = BatchShape(config.places, config.images_per_place)
        return cls(places, shape, config.seed, config.sampling == "conditions", config.mining == "tuples")

    def _probabilities(self, by_condition: bool) -> np.ndarray | None:
        photos, anchors = self.places.photos, self.places.anchors
        weights = sampling_weights(photos.night[anchors], photos.sideways[anchors]) if by_condition else None
        if photos.place is not None:
            weights = (1.0 if weights is None else weights) / self.places.place_sizes[anchors]
        return None if weights is None else np.asarray(weights / weights.sum())

    def _groups(self, group: np.ndarray) -> list[np.ndarray]:
        """The rows of `Places.anchors` of each group with enough places for a batch.

        Cells of one square are never in one batch: they are too near to be negatives of one another.
        """
        anchors, squares = self.places.anchors, square_numbers(self.places.photos)
        order = np.argsort(group[anchors], kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(group[anchors][order])) + 1)
        counts = [len(np.unique(squares[anchors[rows]])) for rows in parts]
        if max(counts) < self.shape.places:
            raise VprError(
                f"a batch of the largest of {len(parts)} groups of cells can have {max(counts)} places, one a square, "
                f"not {self.shape.places}",
                thing="--places",
                remedy=f"pass --places {max(counts)} or less, a smaller --least-photos, or --place-by distance",
            )
        return [rows for rows, count in zip(parts, counts) if count >= self.shape.places]

    def _group_shares(self, groups: list[np.ndarray]) -> np.ndarray:
        """The probability (G,) of drawing each group, such that each place is as likely."""
        assert self.probabilities is not None
        shares = np.array([self.probabilities[rows].sum() for rows in groups])
        return np.asarray(shares / shares.sum())

    def draw_group(self, rng: np.random.Generator) -> np.ndarray | None:
        """The rows of `Places.anchors` of a random group; None without groups. Each place is as likely."""
        if self.groups is None:
            return None
        return self.groups[int(rng.choice(len(self.groups), p=self.group_shares))]

    def _draw(self, rng: np.random.Generator, rows: np.ndarray | None) -> np.ndarray:
        """Random anchors, more than a batch has places. rows: of a group."""
        anchors, probabilities = self.places.anchors, self.probabilities
        if rows is not None and probabilities is not None:
            anchors, probabilities = anchors[rows], probabilities[rows] / probabilities[rows].sum()
        drawn: np.ndarray = rng.choice(anchors, 50 * self.shape.places, p=probabilities)
        return drawn

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield self.batch(step).tolist()

    def batch(self, step: int) -> np.ndarray:
        """The photos of a batch, (places * images,); fewer if there are too few places."""
        rng, count = np.random.default_rng([self.seed, step]), self.shape.places
        if self.tuples and self.mined is not None and len(self.mined):
            return rng.choice(self.mined, count, replace=len(self.mined) < count).ravel()
        anywhere = self._draw(rng, self.draw_group(rng))
        if self.tuples or self.mined is None or rng.random() < 0.5:
            return self.places.draw_batch(anywhere, self.shape, rng)
        first, *similar = rng.choice(self.mined)
        if self.groups is not None:
            anywhere = self._draw(rng, self._group_of(first))
        return self.places.draw_batch([first, *rng.permutation(similar), *anywhere], self.shape, rng)

    def _group_of(self, photo: int) -> np.ndarray:
        """The rows of `Places.anchors` of the group of a mined photo."""
        group, anchors = self.places.photos.group, self.places.anchors
        assert group is not None
        return np.flatnonzero(group[anchors] == group[photo])

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"mined": None if self.mined is None else torch.from_numpy(self.mined)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.mined = None if state["mined"] is None else state["mined"].cpu().numpy()
