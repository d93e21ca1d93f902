"""Miners: they choose the pairs or triplets of a batch that a loss takes.

The miners of pytorch-metric-learning take labels, by which each pair is positive or negative. Here a pair can also be
neutral, so these miners take masks. With masks that come from labels, the result is that of the library. The thresholds
are the library's defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from pytorch_metric_learning import distances, miners
from scipy.sparse.csgraph import connected_components

from vpr.distill.losses.pairs import Indices, Pairs


class PrecomputedCosines(distances.CosineSimilarity):
    """The library's cosine similarity, with a precomputed matrix in place of the descriptors."""

    def __init__(self, cosines: torch.Tensor) -> None:
        super().__init__()
        self.cosines = cosines

    def compute_mat(self, query_emb: torch.Tensor, ref_emb: torch.Tensor) -> torch.Tensor:
        return self.cosines


class PrecomputedDistances(distances.LpDistance):
    """The library's Euclidean distance of unit vectors, from a precomputed matrix of cosines."""

    def __init__(self, cosines: torch.Tensor) -> None:
        super().__init__()
        self.cosines = cosines

    def compute_mat(self, query_emb: torch.Tensor, ref_emb: torch.Tensor) -> torch.Tensor:
        # clamped because the square root has no gradient at 0, the distance of an image to itself
        return (2 - 2 * self.cosines).clamp(min=1e-8).sqrt()


@dataclass(frozen=True)
class Comparison:
    """Anchors and the references that they are comparison with."""

    descriptors: torch.Tensor  # (A, C) of the anchors
    pairs: Pairs  # (A, N)
    same_photo: (
        torch.Tensor
    )  # (A, N) bool: both are the same photo, also if it is repeated in the batch or in the memory
    references: torch.Tensor | None = None  # (N, C) descriptors; None: the anchors themselves
    precomputed: torch.Tensor | None = None  # (A, N) used in place of the cosines of the descriptors

    def cosine_matrix(self) -> torch.Tensor:
        """Cosine similarities (A, N)."""
        distance = distances.CosineSimilarity() if self.precomputed is None else PrecomputedCosines(self.precomputed)
        cosines: torch.Tensor = distance(self.descriptors, self.references)
        return cosines

    def distance_matrix(self) -> torch.Tensor:
        """Euclidean distances of unit vectors (A, N)."""
        distance: torch.Tensor = self.euclidean_distance()(self.descriptors, self.references)
        return distance

    def euclidean_distance(self) -> distances.LpDistance:
        """The distance that the library's losses and miners take."""
        return distances.LpDistance() if self.precomputed is None else PrecomputedDistances(self.precomputed)


Miner = Callable[[Comparison], Indices]


def multi_similarity(comparison: Comparison, epsilon: float = 0.1) -> Indices:
    """Positives at most ``epsilon`` more similar than the anchor's most similar negative, and negatives at most
    ``epsilon`` less similar than its least similar positive (Wang et al., CVPR 2019, equations 10 and 11).

    Neutral pairs are never chosen. They can be the most similar negative of the first rule, and the least similar
    positive of the second. Pairs of a photo with itself do not count.
    """
    cosines, pairs, same_photo = comparison.cosine_matrix(), comparison.pairs, comparison.same_photo
    least_positive = cosines.masked_fill(pairs.negative | same_photo, torch.inf).amin(1, keepdim=True)
    most_negative = cosines.masked_fill(pairs.positive | same_photo, -torch.inf).amax(1, keepdim=True)
    order = cosines.argsort(1)  # as in the library, so that sums are rounded in the same way

    def indices(mask: torch.Tensor) -> Indices:
        anchors, ranks = mask.gather(1, order).nonzero(as_tuple=True)
        return anchors, order[anchors, ranks]

    positive = pairs.positive & (cosines - epsilon < most_negative)
    negative = pairs.negative & (cosines + epsilon > least_positive)
    return *indices(positive), *indices(negative)


def batch_hard(comparison: Comparison) -> Indices:
    """A triplet per anchor: the farthest positive and the nearest negative (Hermans et al., 2017)."""
    distance, pairs = comparison.distance_matrix(), comparison.pairs
    positive = distance.masked_fill(~pairs.positive, -torch.inf).argmax(1)
    negative = distance.masked_fill(~pairs.negative, torch.inf).argmin(1)
    anchors = (pairs.positive.any(1) & pairs.negative.any(1)).nonzero().flatten()
    return anchors, positive[anchors], negative[anchors]


def batch_easy_hard(comparison: Comparison) -> Indices:
    """Two pairs per anchor: the nearest positive, and the nearest negative farther than it (Xuan et al., WACV 2020)."""
    distance, pairs = comparison.distance_matrix(), comparison.pairs
    nearest, positive = distance.masked_fill(~pairs.positive, torch.inf).min(1)
    farther = pairs.negative & (distance > nearest[:, None])
    negative = distance.masked_fill(~farther, torch.inf).argmin(1)
    anchors = (pairs.positive.any(1) & farther.any(1)).nonzero().flatten()
    return anchors, positive[anchors], anchors, negative[anchors]


def triplet_margin(comparison: Comparison, margin: float = 0.2, semi_hard: bool = False) -> Indices:
    """Triplets whose negative is nearer than the positive, or up to ``margin`` farther.

    semi_hard: only negatives that are farther than the positive.
    """
    distance, pairs = comparison.distance_matrix(), comparison.pairs
    anchors, positives = pairs.positive.nonzero(as_tuple=True)
    gap = distance[anchors] - distance[anchors, positives][:, None]  # (number of positive pairs, N)
    hard = pairs.negative[anchors] & (gap <= margin)
    if semi_hard:
        hard &= gap > 0
    number, negatives = hard.nonzero(as_tuple=True)
    return anchors[number], positives[number], negatives


def pair_margin(comparison: Comparison, positive_margin: float = 0.2, negative_margin: float = 0.8) -> Indices:
    """Positive pairs farther apart than one distance, and negative pairs nearer than another."""
    distance, pairs = comparison.distance_matrix(), comparison.pairs
    return Pairs(pairs.positive & (distance > positive_margin), pairs.negative & (distance < negative_margin)).indices()


def distance_weighted(comparison: Comparison) -> Indices:
    """Triplets drawn at random, with negatives evenly distributed over distances (Wu et al., ICCV 2017).

    By the library's miner, which takes no references beside the batch. The connected components of the positive pairs
    are its labels. Triplets with a neutral pair are dropped.
    """
    positive, negative = comparison.pairs.positive, comparison.pairs.negative
    _, components = connected_components(positive.cpu().numpy(), directed=False)
    labels = torch.as_tensor(components, device=positive.device).long()
    anchors, positives, negatives = miners.DistanceWeightedMiner(distance=comparison.euclidean_distance())(
        comparison.descriptors, labels
    )
    kept = positive[anchors, positives] & negative[anchors, negatives]
    return anchors[kept], positives[kept], negatives[kept]


MINERS: dict[str, Miner] = {
    "multi-similarity": multi_similarity,
    "batch-hard": batch_hard,
    "batch-easy-hard": batch_easy_hard,
    "distance-weighted": distance_weighted,
    "triplet-margin": triplet_margin,
    "semi-hard": partial(triplet_margin, semi_hard=True),
    "pair-margin": pair_margin,
}
