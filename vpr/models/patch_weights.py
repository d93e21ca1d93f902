"""Learnt weights of patches: how much each patch of an image counts in the transport."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

HIDDEN = 32  # units of the hidden layer
SPAN = 0.75  # the logarithm of a weight, before rows get sum 1, is between -SPAN and SPAN
SIMILAR = 4  # most similar patches of the same image, whose cosines say how rare a patch is


class PatchWeights(nn.Module):
    """Patches (B, P, C) to positive weights (B, P), rows of sum 1: a network of two layers for each patch.

    Its inputs are the patch and two cosines: with the mean of the image's patches, and the mean of those with the
    `SIMILAR` most similar patches of the image.
    """

    span: torch.Tensor  # (), of the logarithm; with 0 all weights are equal

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("span", torch.tensor(SPAN))
        self.hidden, self.out = nn.Linear(dim + 2, HIDDEN), nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Weights (B, P) of patches (B, P, C), unit vectors."""
        mean = F.normalize(patches.mean(1, keepdim=True), dim=-1)
        typical = (patches * mean).sum(-1, keepdim=True)
        cosines = patches @ patches.transpose(1, 2)
        similar = min(SIMILAR, patches.shape[1] - 1)
        nearest = cosines.topk(similar + 1, -1).values[..., 1:].sum(-1, keepdim=True) / max(1, similar)
        hidden = self.hidden(torch.cat([patches, typical, nearest], -1)).relu()
        weights: torch.Tensor = (self.span * self.out(hidden)[..., 0].tanh()).exp()
        return F.normalize(weights, p=1.0, dim=1)
