"""Batches of photos with known pairs, and random descriptors."""

import torch
from torch.nn import functional

from vpr.distill.losses.pairs import Pairs, PhotoBatch

PLACE = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])
NEITHER = [(0, 5), (5, 0), (3, 7), (7, 3)]  # too near for negatives, too far apart for positives


def random_descriptors(count=8, seed=0):
    """Unit vectors (count, 6) float64."""
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, 6, generator=generator), dim=1).double()


def photo_batch(place=PLACE, neither=()):
    """Photos 0, 1, ... whose pairs follow their places, without negatives among the pairs that are neither."""
    same = place[:, None] == place[None]
    positive, negative = same & ~torch.eye(len(place), dtype=torch.bool), ~same
    for pair in neither:
        negative[pair] = False

    def find_pairs(anchors, references):
        return Pairs(positive[anchors][:, references], negative[anchors][:, references])

    return PhotoBatch(torch.arange(len(place)), place, find_pairs)
