"""The output of a model."""

from typing import NamedTuple

import torch


class Descriptors(NamedTuple):
    """Descriptors of a batch of B images; unit vectors."""

    global_descriptor: torch.Tensor  # (B, C)
    patch_descriptors: torch.Tensor | None  # (B, P, C), rows of the grid first; None from the teacher
    weights: torch.Tensor | None = None  # (B, P) patch weights, rows sum to 1; from rollout, or learnt
