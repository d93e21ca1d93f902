"""Positive and negative pairs of photos. A neutral pair is neither: its distance is between the two radii."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

# Row and column numbers (K,) int64 of pairs or triplets: (anchor, positive, anchor, negative) or
# (anchor, positive, negative). pytorch-metric-learning calls it ``indices_tuple``.
Indices = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Pairs:
    """Which pairs of A anchors and N references are positive, and which are negative."""

    positive: torch.Tensor  # (A, N) bool
    negative: torch.Tensor  # (A, N) bool; no pair is both

    def indices(self) -> Indices:
        """All pairs: (anchor, positive, anchor, negative), sorted by anchor, then by reference."""
        return *self.positive.nonzero(as_tuple=True), *self.negative.nonzero(as_tuple=True)


@dataclass(frozen=True)
class PhotoBatch:
    """The photos of a batch of B images."""

    photos: torch.Tensor  # (B,) int64 photo numbers
    classes: torch.Tensor  # (B,) int64 classes, for losses with one proxy per class
    find_pairs: Callable[[torch.Tensor, torch.Tensor], Pairs]  # the pairs of photos (A,) with photos (N,)

    def pairs(self) -> Pairs:
        """The pairs within the batch, (B, B)."""
        return self.find_pairs(self.photos, self.photos)

    def same_photo(self, references: torch.Tensor) -> torch.Tensor:
        """(B, N) bool: the pairs of a photo of the batch and the same photo among photos (N,)."""
        return self.photos[:, None] == references[None]
