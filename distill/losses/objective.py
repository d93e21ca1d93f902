"""The training objective: the weighted sum of the configured losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vpr.distill.losses.distillation import patch_drift, regression, relational
from vpr.distill.losses.metric_loss import MetricLoss
from vpr.distill.losses.pairs import PhotoBatch
from vpr.distill.losses.structural import ProcessRank, combined_similarity, structural_loss
from vpr.distill.settings import DistillationConfig, StructuralConfig
from vpr.models.descriptors import Descriptors


@dataclass(frozen=True)
class Targets:
    """The data of a batch of B images that the losses need besides its descriptors."""

    photos: PhotoBatch
    teacher: torch.Tensor | None = None  # (B, C) teacher descriptors
    initial_patches: torch.Tensor | None = None  # (B, P, C) patch descriptors of the untrained model
    progress: float = 0.0  # completed share of the steps, in [0, 1)
    process: ProcessRank = ProcessRank()  # this process


class Objective(nn.Module):
    """The configured losses, as named and weighted terms."""

    def __init__(
        self,
        metric_loss: MetricLoss,
        structural: StructuralConfig | None = None,
        distillation: DistillationConfig | None = None,
    ) -> None:
        """structural: for models with patches. distillation: for students with a teacher."""
        super().__init__()
        self.metric_loss, self.structural, self.distillation = metric_loss, structural, distillation

    def forward(self, described: Descriptors, targets: Targets) -> dict[str, torch.Tensor]:
        """The weighted loss terms, scalars, by name."""
        descriptors, patches = described.global_descriptor, described.patch_descriptors
        structural, distillation = self._active_structural(targets.progress), self.distillation
        cosines = None
        if structural is not None and structural.structural_in == "metric":
            cosines = combined_similarity(described, structural)
        terms: dict[str, torch.Tensor] = {}
        terms[self.metric_loss.config.loss] = self.metric_loss(descriptors, targets.photos, cosines)
        if targets.teacher is not None and distillation is not None:
            loss = regression if distillation.distillation == "regression" else relational
            terms["distillation"] = distillation.distillation_weight * loss(descriptors, targets.teacher)
        if targets.initial_patches is not None and distillation is not None and patches is not None:
            terms["keep"] = distillation.keep_weight * patch_drift(patches, targets.initial_patches)
        if structural is not None and structural.structural_in == "own":
            term = structural_loss(described, targets.photos.pairs(), structural, targets.process)
            terms["structural"] = structural.structural_weight * term
        return terms

    def _active_structural(self, progress: float) -> StructuralConfig | None:
        """The structural settings; None if their weight is 0, or before the step at which they begin."""
        config = self.structural
        if config is None or not config.structural_weight or progress < config.structural_from:
            return None
        return config
