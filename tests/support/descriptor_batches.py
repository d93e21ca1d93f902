"""Descriptors of six random images, two of each place, and what the losses compare them with."""

import torch
from pair_batches import photo_batch
from torch.nn import functional

from vpr.distill.losses.objective import Targets
from vpr.distill.settings import StructuralConfig
from vpr.models.descriptors import Descriptors

STRUCTURAL = StructuralConfig(structural_negatives=2)


def described(global_dim):
    """Global descriptors (6, global_dim) and patch descriptors (6, 4, 5)."""
    generator = torch.Generator().manual_seed(0)
    global_descriptors, patches = (torch.randn(shape, generator=generator) for shape in ((6, global_dim), (6, 4, 5)))
    return Descriptors(functional.normalize(global_descriptors, dim=-1), functional.normalize(patches, dim=-1))


def targets(initial_patches=None, teacher=None, progress=0.5):
    """The targets of the six images."""
    return Targets(photo_batch(torch.arange(6) // 2), teacher, initial_patches, progress)
