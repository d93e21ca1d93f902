"""Trunks: any timm network cut after a stage, its features a map of patches."""

import re
from typing import Any

import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.models.folding import fold_batch_norm

STRIDE = 16  # pixels a patch, where the stage is left to us


class Trunk(nn.Module):
    """Images (B, 3, H, W), normalised, to a map of features (B, D, h, w), D being ``num_features``.

    A network's stages carry the numbers of its own modules: ``blocks.4`` of an EfficientNet and ``layer3`` of a ResNet
    are stages 5 and 3. Batch normalisation keeps the statistics it came with, in training too, and is computed by
    the convolutions (`vpr.models.folding`).
    """

    def __init__(self, network: Any, stage: int = 0) -> None:
        """Cut the timm network after the stage, or for 0 after the last one with a stride of at most `STRIDE` pixels.

        Raises VprError for a stage that the network lacks, and for a network that gives no features by stage.
        """
        super().__init__()
        if not hasattr(network, "forward_intermediates"):
            raise VprError(f"{type(network).__name__} gives no features by stage; leave --stage out")
        levels = stages_of(network)
        self.stage = stage or default_stage(network)
        if self.stage not in levels:
            raise VprError(f"{type(network).__name__} has no stage {stage} to cut after; it has {_listed(levels)}")
        self.level = levels[self.stage]
        network.prune_intermediate_layers([self.level], prune_norm=True, prune_head=True)
        self.network = network
        self.num_features: int = _info(network)[self.level]["num_chs"]
        self.pretrained_cfg = network.pretrained_cfg
        fold_batch_norm(self)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """As `forward`, by timm's name."""
        return self(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        options = {"indices": [self.level], "intermediates_only": True, "output_fmt": "NCHW", "stop_early": True}
        return self.network.forward_intermediates(images, **options)[0]

    def train(self, mode: bool = True) -> "Trunk":
        """As usual, but for batch normalisation, which stays as it is."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def stages_of(network: Any) -> dict[int, int]:
    """The numbers of a network's stages, each with its level in timm's list of features."""
    numbers = [(level, re.search(r"(\.|^[a-z]+)(\d+)$", info["module"])) for level, info in enumerate(_info(network))]
    named = {level: int(found[2]) + (found[1] == ".") for level, found in numbers if found and found[0] != "act1"}
    return {stage: level for level, stage in named.items()}


def default_stage(network: Any) -> int:
    """The last stage with a stride of at most `STRIDE` pixels; the last one of all where none has."""
    info, levels = _info(network), stages_of(network)
    fine = [stage for stage, level in levels.items() if info[level]["reduction"] <= STRIDE]
    return max(fine or levels, default=0)


def is_cut_by_default(network: Any) -> bool:
    """Whether the features grow coarser from stage to stage, as those of convolutional networks do."""
    info = _info(network)
    strides = {info[level]["reduction"] for level in stages_of(network).values()}
    return hasattr(network, "forward_intermediates") and len(strides) > 1


def _info(network: Any) -> list[dict[str, Any]]:
    info = getattr(network, "feature_info", [])
    return info.info if hasattr(info, "info") else info


def _listed(levels: dict[int, int]) -> str:
    return ", ".join(map(str, sorted(levels))) or "none"
