"""Batches of photos, drawn step by step from the seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

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

    Without mined photos, places are drawn at random. With ``mined``, half of the batches are hard: their places look
    similar to a random one. In the mode ``tuples`` every batch consists of mined tuples.
    """

    def __init__(
        self, places: Places, shape: BatchShape, seed: int, by_condition: bool = False, tuples: bool = False
    ) -> None:
        """by_condition: draw photos taken by night or sideways more often."""
        self.places, self.shape, self.seed, self.tuples = places, shape, seed, tuples
        self.probabilities = self._probabilities() if by_condition else None  # of each of `Places.anchors`
        self.steps = range(0)
        self.mined: np.ndarray | None = None  # (M, 1 + k): anchor and similar anchors; or tuples (M, images)

    @classmethod
    def from_config(cls, places: Places, config: TrainConfig) -> BatchSampler:
        """The sampler that the training options describe."""
        shape = BatchShape(config.places, config.images_per_place)
        return cls(places, shape, config.seed, config.sampling == "conditions", config.mining == "tuples")

    def _probabilities(self) -> np.ndarray:
        photos, anchors = self.places.photos, self.places.anchors
        weights = sampling_weights(photos.night[anchors], photos.sideways[anchors])
        return np.asarray(weights / weights.sum())

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
        anywhere = rng.choice(self.places.anchors, 50 * count, p=self.probabilities)
        if self.tuples or self.mined is None or rng.random() < 0.5:
            return self.places.draw_batch(anywhere, self.shape, rng)
        first, *similar = rng.choice(self.mined)
        return self.places.draw_batch([first, *rng.permutation(similar), *anywhere], self.shape, rng)

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"mined": None if self.mined is None else torch.from_numpy(self.mined)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.mined = None if state["mined"] is None else state["mined"].cpu().numpy()
