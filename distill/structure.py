"""Structural similarity inside the losses: differentiable, of some pairs or of all pairs of a batch."""

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vpr.distill.settings import StructuralConfig
from vpr.models.descriptors import Descriptors
from vpr.transport import marginal_weights, solve

PAIRS = 2048  # solved at a time; where a batch has more, the backward pass computes each part once more


def patches_and_guides(described: Descriptors) -> tuple[torch.Tensor, torch.Tensor]:
    """Patch descriptors (B, P, C), and the unit vectors (B, C) that marginals go by, without gradient: the global
    descriptors, or the mean of the patches where the two differ in length.

    Raises ValueError for a model without patch descriptors.
    """
    patches, guides = described.patch_descriptors, described.global_descriptor.detach()
    if patches is None:
        raise ValueError("the structural loss needs a model with patch descriptors")
    if guides.shape[1] != patches.shape[2]:
        guides = functional.normalize(patches.detach().mean(1), dim=-1)
    return patches, guides


def drawn_mass(config: StructuralConfig) -> float:
    """The mass of a step, at random; nothing is drawn where it is always 1."""
    return 1.0 if config.structural_mass == 1 else 1 - (1 - config.structural_mass) * float(torch.rand(()))


def scores_of(
    patches: torch.Tensor,
    guides: torch.Tensor,
    pairs: tuple[torch.Tensor, torch.Tensor],
    mass: float,
    config: StructuralConfig,
) -> torch.Tensor:
    """S_struct of the pairs of images, first (N,) and second (N,), with complement marginals, (N,).

    patches (B, P, C) and guides (B, C) as `patches_and_guides` gives them.
    """
    # index_select, unlike indexing, adds up repeated gradients in a fixed order: a seed gives the same weights
    own, other = (patches.index_select(0, side) for side in pairs)
    return solve(
        own @ other.transpose(1, 2),
        *marginal_weights("complement", own, other, guides[pairs[0]], guides[pairs[1]]),
        epsilon=config.epsilon,
        mass=mass,
        tolerance=0,
        max_iterations=config.sinkhorn_iterations,
        backend="torch",
    ).score


def fused_cosines(described: Descriptors, config: StructuralConfig) -> torch.Tensor:
    """(S_global + S_struct) / 2 of all pairs of a batch, (B, B); each pair is solved once.

    The pair distance of the paper's second stage (Zhang et al., BMVC 2022). An image with itself has 1.
    """
    patches, guides = patches_and_guides(described)
    count, globals_ = len(patches), described.global_descriptor
    pairs = torch.triu_indices(count, count, 1, device=patches.device)
    parts, mass = [(part[0], part[1]) for part in pairs.split(PAIRS, 1)], drawn_mass(config)
    if len(parts) > 1:
        found = [checkpoint(scores_of, patches, guides, part, mass, config, use_reentrant=False) for part in parts]
    else:
        found = [scores_of(patches, guides, part, mass, config) for part in parts]
    upper = patches.new_zeros(count, count).index_put((pairs[0], pairs[1]), torch.cat(found))
    cosines = globals_ @ globals_.T
    itself = torch.eye(count, device=patches.device)
    return (cosines + upper + upper.T + itself) / 2
