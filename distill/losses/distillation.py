"""Losses that compare the student with its teacher, or with the untrained student. Pure functions."""

import torch
from torch.nn import functional as F


def regression(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Squared distance of student and teacher descriptors (B, C): sum over C, mean over B."""
    return (student - teacher).square().sum(1).mean()


def relational(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Relational knowledge distillation (Park et al., CVPR 2019): the smooth L1 loss of pairwise distances, divided by
    their mean, plus that of angles.

    student (B, C), teacher (B, D); C and D may differ.
    """
    return F.smooth_l1_loss(_distances(student), _distances(teacher)) + F.smooth_l1_loss(
        _angles(student), _angles(teacher)
    )


def _distances(descriptors: torch.Tensor) -> torch.Tensor:
    distances = F.pdist(descriptors)
    return distances / distances.mean().clamp(min=1e-9)


def _angles(descriptors: torch.Tensor) -> torch.Tensor:
    """Cosines of the angles at j between i and k, (B, B, B) in the order j, i, k."""
    directions = F.normalize(descriptors[None] - descriptors[:, None], dim=-1)
    return directions @ directions.transpose(1, 2)


def patch_drift(patches: torch.Tensor, initial: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - cosine between each patch descriptor and that of the untrained model; unit vectors (B, P, C)."""
    return 1 - (patches * initial).sum(-1).mean()
