"""Trunks: timm networks cut after a stage; the features are a map of patches."""

import re
from typing import Any

import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.models.folding import fold_batch_norm

STRIDE = 16  # pixels per patch of the default stage


class Trunk(nn.Module):
    """Normalised images (B, 3, H, W) to a map of features (B, D, h, w) with D = ``num_features``.

    Stages are numbered like the network's own modules: ``blocks.4`` of an EfficientNet is stage 5, and ``layer3`` of a
    ResNet is stage 3. Batch normalisation keeps its statistics, also in training, and is folded into the convolutions
    (`vpr.models.folding`).
    """

    def __init__(self, network: Any, stage: int = 0) -> None:
        """Cut the timm network after the stage; 0: after the last one with a stride of at most `STRIDE` pixels.

        Raises VprError for an unknown stage, and for a network that does not return features by stage.
        """
        super().__init__()
        if not hasattr(network, "forward_intermediates"):
            problem = f"{type(network).__name__} does not return features by stage"
            raise VprError(problem, thing="--stage", remedy="leave --stage out")
        levels = stages_of(network)
        self.stage = stage or default_stage(network)
        if self.stage not in levels:
            problem = f"{type(network).__name__} has no stage {stage}"
            raise VprError(problem, thing="--stage", remedy=f"pass --stage {_join_numbers(levels)}")
        self.level = levels[self.stage]
        network.prune_intermediate_layers([self.level], prune_norm=True, prune_head=True)
        self.network = network
        self.num_features: int = _info(network)[self.level]["num_chs"]
        self.pretrained_cfg = network.pretrained_cfg
        fold_batch_norm(self)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """The same as `forward`; timm calls it by this name."""
        features: torch.Tensor = self(images)
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        options = {"indices": [self.level], "intermediates_only": True, "output_fmt": "NCHW", "stop_early": True}
        features: torch.Tensor = self.network.forward_intermediates(images, **options)[0]
        return features

    def train(self, mode: bool = True) -> "Trunk":
        """Set the mode; batch normalisation always stays in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def stages_of(network: Any) -> dict[int, int]:
    """The stage numbers of a network, each with its level in timm's list of features."""
    numbers = [(level, re.search(r"(\.|^[a-z]+)(\d+)$", info["module"])) for level, info in enumerate(_info(network))]
    named = {level: int(found[2]) + (found[1] == ".") for level, found in numbers if found and found[0] != "act1"}
    return {stage: level for level, stage in named.items()}


def default_stage(network: Any) -> int:
    """The last stage with a stride of at most `STRIDE` pixels; if there is no such stage, the last one."""
    info, levels = _info(network), stages_of(network)
    fine = [stage for stage, level in levels.items() if info[level]["reduction"] <= STRIDE]
    return max(fine or levels, default=0)


def is_cut_by_default(network: Any) -> bool:
    """Whether the features get coarser from stage to stage, as in convolutional networks."""
    info = _info(network)
    strides = {info[level]["reduction"] for level in stages_of(network).values()}
    return hasattr(network, "forward_intermediates") and len(strides) > 1


def _info(network: Any) -> list[dict[str, Any]]:
    info = getattr(network, "feature_info", [])
    return info.info if hasattr(info, "info") else info


def _join_numbers(levels: dict[int, int]) -> str:
    return ", ".join(map(str, sorted(levels))) or "none"
