"""The training objective: which losses, how much of each, from when on."""

from dataclasses import dataclass

import torch
from torch import nn

from vpr.distill import losses
from vpr.distill.contrast import Contrast, Known
from vpr.distill.settings import DistillationConfig, StructuralConfig
from vpr.distill.structure import drawn_mass, fused_cosines, patches_and_guides, scores_of
from vpr.models.descriptors import Descriptors


@dataclass(frozen=True)
class Labels:
    """What the losses know of a batch of B images."""

    known: Known  # the photos and their pairs
    teacher: torch.Tensor | None  # (B, C) teacher descriptors
    kept: torch.Tensor | None  # (B, P, C) patch descriptors of the network before training
    progress: float  # share of the steps done, in [0, 1)
    part: tuple[int, int] = (0, 1)  # this process's number and how many there are


class Objective(nn.Module):
    """The sum of the configured losses, as a table of weighted terms."""

    def __init__(
        self,
        contrast: Contrast,
        structural: StructuralConfig | None = None,
        distillation: DistillationConfig | None = None,
    ) -> None:
        """``structural`` is for models with patches, ``distillation`` for students with a teacher."""
        super().__init__()
        self.contrast, self.structural, self.distillation = contrast, structural, distillation

    def forward(self, described: Descriptors, batch: Labels) -> dict[str, torch.Tensor]:
        """The weighted loss terms, scalars, by name."""
        descriptors, structure = described.global_descriptor, self._structure(batch)
        cosines = None
        if structure is not None and structure.structural_in == "metric":
            cosines = fused_cosines(described, structure)
        terms: dict[str, torch.Tensor] = {self.contrast.config.loss: self.contrast(descriptors, batch.known, cosines)}
        if batch.teacher is not None and self.distillation is not None:
            loss = losses.regression if self.distillation.distillation == "regression" else losses.relational
            terms["distillation"] = self.distillation.distillation_weight * loss(descriptors, batch.teacher)
        patches = described.patch_descriptors
        if batch.kept is not None and self.distillation is not None and patches is not None:
            terms["keep"] = self.distillation.keep_weight * losses.keep(patches, batch.kept)
        if structure is not None and structure.structural_in == "own":
            terms["structural"] = structure.structural_weight * structural_loss(described, batch, structure)
        return terms

    def _structure(self, batch: Labels) -> StructuralConfig | None:
        """The settings of structure where it plays a part at this step."""
        structure = self.structural
        if structure is None or not structure.structural_weight or batch.progress < structure.structural_from:
            return None
        return structure


def structural_loss(described: Descriptors, batch: Labels, config: StructuralConfig) -> torch.Tensor:
    """Cross-entropy of S_struct of each anchor with a positive against some negatives, a scalar.

    Of several processes each takes a part of the anchors, and its loss is that part's share of the mean, times the
    processes: the mean over processes is the loss of the batch.

    Marginals go by the global descriptors, or by the mean of the patches where the two differ in length; no gradient
    flows through them. Raises ValueError for a model without patch descriptors.
    """
    patches, guides = patches_and_guides(described)
    mass = drawn_mass(config)  # by every process, so that all have the same
    anchors, others, there = structural_pairs(*batch.known.within(), config.structural_negatives)
    number, processes = batch.part
    share = len(anchors[number::processes]) * processes / max(1, len(anchors))
    anchors, others, there = (side[number::processes] for side in (anchors, others, there))
    if not len(anchors):
        return patches.sum() * 0
    first, second = anchors.repeat_interleave(others.shape[1]), others.flatten()
    scores = scores_of(patches, guides, (first, second), mass, config)
    scores = scores.view(others.shape).masked_fill(~there, -torch.inf)
    return share * losses.structural(scores, config.structural_temperature)


def structural_pairs(
    positive: torch.Tensor, negative: torch.Tensor, negatives: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Anchors (A,) with a positive and a negative, and for each one positive followed by some of its negatives, all at
    random, (A, 1 + n), with whether each is there (A, 1 + n) bool: an anchor may have fewer than the n <= negatives.

    Negatives are drawn at random. With the hardest ones, which look more alike than a positive in other weather, the
    loss falls fastest by making all scores equal, and S_struct learns nothing.
    """
    anchors = (positive.any(1) & negative.any(1)).nonzero().flatten()
    sides = ((positive[anchors], 1), (negative[anchors], min(negatives, negative.shape[1])))
    drawn = [torch.rand_like(side, dtype=torch.float32).masked_fill(~side, -1).topk(count) for side, count in sides]
    return anchors, torch.cat([side.indices for side in drawn], 1), torch.cat([side.values >= 0 for side in drawn], 1)
