"""The training objective: which losses, how much of each, from when on."""

from dataclasses import dataclass

import torch

from distill import losses
from distill.settings import DistillationConfig, ObjectiveConfig
from vpr.models.descriptors import Descriptors
from vpr.transport import marginal_weights, solve


@dataclass(frozen=True)
class Labels:
    """What the losses know of a batch of B images."""

    positive: torch.Tensor  # (B, B) bool
    negative: torch.Tensor  # (B, B) bool
    teacher: torch.Tensor | None  # (B, C) teacher descriptors
    progress: float  # share of the steps done, in [0, 1)


class Objective:
    """The sum of the configured losses, as a table of weighted terms."""

    def __init__(self, config: ObjectiveConfig, distillation: DistillationConfig | None = None) -> None:
        self.config, self.distillation = config, distillation

    def __call__(self, described: Descriptors, batch: Labels) -> dict[str, torch.Tensor]:
        """The weighted loss terms, scalars, by name."""
        config = self.config
        descriptors = described.global_descriptor
        if config.loss == "in-batch":
            terms = {"in-batch": losses.in_batch(descriptors, batch.positive, batch.negative, config.temperature)}
        else:
            terms = {
                "triplet": losses.triplet(descriptors, batch.positive, batch.negative, config.margin, config.negatives)
            }
        if batch.teacher is not None:
            loss = losses.regression if self.distillation.distillation == "regression" else losses.relational
            terms["distillation"] = self.distillation.distillation_weight * loss(descriptors, batch.teacher)
        if described.patch_descriptors is not None and config.structural_weight:
            if batch.progress >= config.structural_from:
                terms["structural"] = config.structural_weight * self._structural(described, batch)
        return terms

    def _structural(self, described: Descriptors, batch: Labels) -> torch.Tensor:
        config = self.config
        anchors, others = structural_pairs(batch.positive, batch.negative, config.structural_negatives)
        patches, globals_ = described.patch_descriptors, described.global_descriptor.detach()
        first, second = anchors.repeat_interleave(others.shape[1]), others.flatten()
        # index_select, unlike indexing, adds up repeated gradients in a fixed order: a seed gives the same weights
        sides = [patches.index_select(0, side) for side in (first, second)]
        similarity = sides[0] @ sides[1].transpose(1, 2)
        marginals = marginal_weights("complement", *sides, globals_[first], globals_[second])
        result = solve(
            similarity,
            *marginals,
            epsilon=config.epsilon,
            tolerance=0,
            max_iterations=config.sinkhorn_iterations,
            backend="torch",
        )
        return losses.structural(result.score.view(others.shape), config.structural_temperature)


def structural_pairs(
    positive: torch.Tensor, negative: torch.Tensor, negatives: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Anchors (A,) with a positive and negatives, and for each one positive followed by some of its negatives, all at
    random, (A, 1 + negatives).

    The hardest negatives would not do: while they look more alike than a positive in other weather, the loss falls
    fastest by making all scores equal, and S_struct stays there.
    """
    anchors = (positive.any(1) & (negative.sum(1) >= negatives)).nonzero().flatten()
    chosen = torch.multinomial(positive[anchors].float(), 1)
    return anchors, torch.cat([chosen, torch.multinomial(negative[anchors].float(), negatives)], 1)
