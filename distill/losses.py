"""The losses that no library has, as pure functions; every one is held against a naive loop in the tests."""

import torch
from torch.nn import functional as F


def regression(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of student and teacher descriptors, both (B, C): sum over C, mean over B."""
    return (student - teacher).square().sum(1).mean()


def relational(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Relational distillation (Park et al., CVPR 2019): smooth L1 between the two batches' pairwise distances, each
    divided by its mean, plus smooth L1 between their angles. student (B, C), teacher (B, D); C and D may differ."""
    return F.smooth_l1_loss(_distances(student), _distances(teacher)) + F.smooth_l1_loss(
        _angles(student), _angles(teacher)
    )


def _distances(descriptors: torch.Tensor) -> torch.Tensor:
    distances = F.pdist(descriptors)
    return distances / distances.mean().clamp(min=1e-9)


def _angles(descriptors: torch.Tensor) -> torch.Tensor:
    """Cosines of the angles at j between i and k, (B, B, B) with j first."""
    directions = F.normalize(descriptors[None] - descriptors[:, None], dim=-1)
    return directions @ directions.transpose(1, 2)


def structural(scores: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of the positive's structural similarity against the negatives'.

    scores (A, 1 + n): S_struct of each anchor with its positive, first, and with n negatives; scalar.
    """
    return F.cross_entropy(scores / temperature, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


def keep(patches: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Mean over images and patches of 1 - cosine with the same patch before training; both (B, P, C) unit vectors."""
    return 1 - (patches * before).sum(-1).mean()
