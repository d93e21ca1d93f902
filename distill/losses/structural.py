"""The structural loss, and the differentiable S_struct that it and the metric loss use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vpr.distill.losses.pairs import Pairs
from vpr.distill.settings import StructuralConfig
from vpr.models.descriptors import Descriptors
from vpr.transport import marginal_weights, solve

PAIRS_AT_ONCE = 2048  # of images; with more, the backward pass solves each part a second time, to save memory


@dataclass(frozen=True)
class PatchBatch:
    """The patches of B images, and the vectors that their marginals depend on."""

    patches: torch.Tensor  # (B, P, C) unit vectors
    global_descriptors: torch.Tensor  # (B, C) unit vectors, without gradient

    @classmethod
    def from_descriptors(cls, described: Descriptors) -> PatchBatch:
        """With the global descriptors, or with the mean patches if global descriptors have another length.

        Raises ValueError for a model without patch descriptors.
        """
        patches, global_descriptors = described.patch_descriptors, described.global_descriptor.detach()
        if patches is None:
            raise ValueError("the structural loss needs a model with patch descriptors")
        if global_descriptors.shape[1] != patches.shape[2]:
            global_descriptors = F.normalize(patches.detach().mean(1), dim=-1)
        return cls(patches, global_descriptors)

    def similarities(
        self, first: torch.Tensor, second: torch.Tensor, mass: float, config: StructuralConfig
    ) -> torch.Tensor:
        """S_struct of pairs of images (N,), given by their numbers in the batch, with complement marginals, (N,)."""
        # index_select, unlike indexing, sums repeated gradients in a fixed order: a seed gives the same weights
        first_patches, second_patches = (self.patches.index_select(0, side) for side in (first, second))
        guides = self.global_descriptors[first], self.global_descriptors[second]
        return solve(
            first_patches @ second_patches.transpose(1, 2),
            *marginal_weights("complement", first_patches, second_patches, *guides),
            epsilon=config.epsilon,
            mass=mass,
            tolerance=0,
            max_iterations=config.sinkhorn_iterations,
            backend="torch",
        ).score


@dataclass(frozen=True)
class ProcessRank:
    """The number of a process, and how many processes there are."""

    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class StructuralSample:
    """Anchors, each with one positive and some negatives; numbers of images in the batch."""

    anchors: torch.Tensor  # (A,)
    others: torch.Tensor  # (A, 1 + n): a positive, then negatives
    valid: torch.Tensor  # (A, 1 + n) bool; an anchor may have fewer than n negatives

    def part(self, process: ProcessRank) -> StructuralSample:
        """Every ``world_size``-th anchor, beginning with that of the process's rank."""
        rows = slice(process.rank, None, process.world_size)
        return StructuralSample(self.anchors[rows], self.others[rows], self.valid[rows])


def sample_pairs(pairs: Pairs, negatives: int) -> StructuralSample:
    """For each anchor with a positive and a negative: a random positive, and up to ``negatives`` random negatives.

    Negatives are random, because the hardest ones look more similar than a positive in other weather. With these the
    loss falls fastest if all scores become equal, and S_struct learns nothing.
    """
    anchors = (pairs.positive.any(1) & pairs.negative.any(1)).nonzero().flatten()
    positive, negative = pairs.positive[anchors], pairs.negative[anchors]
    drawn = [_draw(positive, 1), _draw(negative, min(negatives, negative.shape[1]))]
    others, keys = torch.cat([side.indices for side in drawn], 1), torch.cat([side.values for side in drawn], 1)
    return StructuralSample(anchors, others, keys >= 0)


def _draw(mask: torch.Tensor, count: int) -> torch.return_types.topk:
    """Random columns of a mask (A, N), (A, count); those that are not in the mask have the value -1."""
    return torch.rand_like(mask, dtype=torch.float32).masked_fill(~mask, -1).topk(count)


def structural_loss(
    described: Descriptors, pairs: Pairs, config: StructuralConfig, process: ProcessRank = ProcessRank()
) -> torch.Tensor:
    """Cross-entropy of an anchor's S_struct with a positive against that with negatives; the mean over anchors.

    Each process takes a part of the anchors. Its loss is scaled so that the mean over processes is the loss of the
    whole batch. No gradient flows through the marginals. Raises ValueError for a model without patch descriptors.
    """
    batch = PatchBatch.from_descriptors(described)
    mass = draw_mass(config)  # drawn by every process, so that all have the same mass
    sample = sample_pairs(pairs, config.structural_negatives)
    part = sample.part(process)
    if not len(part.anchors):
        return batch.patches.sum() * 0
    first, second = part.anchors.repeat_interleave(part.others.shape[1]), part.others.flatten()
    scores = batch.similarities(first, second, mass, config).view(part.others.shape)
    share = len(part.anchors) * process.world_size / max(1, len(sample.anchors))
    return share * positive_cross_entropy(scores.masked_fill(~part.valid, -torch.inf), config.structural_temperature)


def positive_cross_entropy(scores: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of the first column against the others, a scalar.

    scores (A, 1 + n): S_struct of each anchor with its positive, then with n negatives.
    """
    return F.cross_entropy(scores / temperature, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


def draw_mass(config: StructuralConfig) -> float:
    """The transported mass of a step, uniform between ``structural_mass`` and 1; no random number is used if that
    is 1."""
    return 1.0 if config.structural_mass == 1 else 1 - (1 - config.structural_mass) * float(torch.rand(()))


def combined_similarity(
    described: Descriptors, config: StructuralConfig, pairs_at_once: int = PAIRS_AT_ONCE
) -> torch.Tensor:
    """(S_global + S_struct) / 2 of all pairs of a batch, (B, B); each pair is solved once, and the diagonal is 1.

    The distance of the paper's second stage (Zhang et al., BMVC 2022).
    """
    batch, descriptors = PatchBatch.from_descriptors(described), described.global_descriptor
    count, device = len(descriptors), descriptors.device
    first, second = torch.triu_indices(count, count, 1, device=device)
    parts, mass = list(zip(first.split(pairs_at_once), second.split(pairs_at_once))), draw_mass(config)
    if len(parts) > 1:
        scores = [checkpoint(batch.similarities, *part, mass, config, use_reentrant=False) for part in parts]
    else:
        scores = [batch.similarities(*part, mass, config) for part in parts]
    upper = batch.patches.new_zeros(count, count).index_put((first, second), torch.cat(scores))
    diagonal = torch.eye(count, device=device)
    return (descriptors @ descriptors.T + upper + upper.T + diagonal) / 2
