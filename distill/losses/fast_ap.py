"""FastAP, on pairs that may be neither positive nor negative; pytorch-metric-learning's loss takes labels only."""

import torch

from vpr.distill.losses.pairs import Pairs

BINS = 10


def fast_ap(squared_distances: torch.Tensor, pairs: Pairs, weights: torch.Tensor) -> torch.Tensor:
    """One minus the average precision of an anchor's positives among its pairs, from histograms of squared distances
    (Cakir et al., CVPR 2019, equation 7); the weighted mean over anchors with a positive, a scalar.

    squared_distances: (B, B) in [0, 4]. weights: (B,) of the anchors.
    """
    centres = torch.linspace(0.0, 4.0, BINS + 1, device=weights.device, dtype=weights.dtype).view(-1, 1, 1)
    pulse = torch.relu(1 - torch.abs(squared_distances - centres) / (4.0 / BINS))  # (BINS + 1, B, B)
    positives = torch.t((pulse * pairs.positive).sum(2))  # (B, BINS + 1)
    others = torch.t((pulse * pairs.negative).sum(2))
    reached, all_reached = positives.cumsum(1), (positives + others).cumsum(1)
    product, counts = positives * reached, pairs.positive.sum(1)
    filled, anchors = (product > 0) & (all_reached > 0), counts > 0
    if not filled.any():
        return squared_distances.sum() * 0
    precision = torch.zeros_like(positives)
    precision[filled] = product[filled] / all_reached[filled]
    return ((1 - precision.sum(1)[anchors] / counts[anchors]) * weights[anchors]).mean()
