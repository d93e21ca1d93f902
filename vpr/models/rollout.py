"""Attention rollout: how much each patch of an image counts in what a vision transformer says of the whole image.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020. The attention itself is computed by timm as
always; hooks compute its weights once more, from the same queries and keys, and only while they are asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers import Attention
from timm.models import VisionTransformer
from torch import nn
from torch.nn import functional

from vpr.base.errors import VprError
from vpr.models.descriptors import Descriptors
from vpr.models.structural import StructuralModel
from vpr.models.trunk import Trunk

DROPPED = 0.1  # share of a layer's weights, the lowest, that count as zero


class WithRollout(nn.Module):
    """A structural model whose descriptors come with the weights of the patches; otherwise as the model itself."""

    def __init__(self, model: nn.Module) -> None:
        """Raises VprError for a network whose attention is not from every token to every other in each layer."""
        super().__init__()
        self.network = transformer_of(model)
        self.model = model
        self.train(model.training)

    def forward(self, images: torch.Tensor) -> Descriptors:
        with followed(self.network) as layers:
            described = self.model(images)
        assert isinstance(self.model, StructuralModel)
        rolled, prefix = layers[-1], self.network.num_prefix_tokens
        row = rolled[:, 0] if self.network.cls_token is not None else rolled.mean(1)
        return described._replace(weights=pooled(row[:, prefix:], self.model.config.grid))


def transformer_of(model: nn.Module) -> VisionTransformer:
    """The vision transformer inside a structural model; raises VprError where there is none that has a rollout."""
    backbone: Any = getattr(model, "backbone", None)
    network = backbone.network if isinstance(backbone, Trunk) else backbone
    plain = isinstance(network, VisionTransformer)
    if not plain or not all(type(getattr(block, "attn", None)) is Attention for block in network.blocks):
        name = model.config.backbone if isinstance(model, StructuralModel) else type(model).__name__
        raise VprError(
            f"{name} has no attention rollout: timm's plain vision transformers have it, such as "
            "deit_small_patch16_224 and vit_small_patch14_dinov2; pass other --marginals"
        )
    return network


@contextmanager
def followed(network: VisionTransformer) -> Iterator[list[torch.Tensor]]:
    """Inside, each forward pass leaves the rollout up to its last layer, (B, N, N), as the only item of the list."""
    layers: list[torch.Tensor] = []

    attentions: list[Any] = [block.attn for block in network.blocks]

    def layer(module: nn.Module, arguments: Any) -> None:
        mixed = residual(attention(module, arguments[0]))
        layers[:] = [mixed if module is attentions[0] else mixed @ layers[0]]

    hooks = [module.register_forward_pre_hook(layer) for module in attentions]
    try:
        yield layers
    finally:
        for hook in hooks:
            hook.remove()


def attention(module: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The weights of timm's ``Attention``, its heads averaged: tokens (B, N, D) to (B, N, N) float32, rows of sum 1."""
    batch, count, _ = tokens.shape
    both = module.qkv(tokens).reshape(batch, count, 3, module.num_heads, module.head_dim).permute(2, 0, 3, 1, 4)
    query, key = module.q_norm(both[0]).float(), module.k_norm(both[1]).float()
    return (module.scale * query @ key.transpose(-2, -1)).softmax(-1).mean(1)


def residual(weights: torch.Tensor) -> torch.Tensor:
    """A layer's weights (B, N, N), the lowest `DROPPED` of each image's taken out, with the residual: (A + I) / 2, each
    row divided by its sum."""
    flat = weights.flatten(1)
    lowest = flat.topk(int(DROPPED * flat.shape[1]), largest=False, sorted=False).indices
    kept = flat.scatter(1, lowest, 0.0).view_as(weights)
    mixed = (kept + torch.eye(weights.shape[1], device=weights.device)) / 2
    return mixed / mixed.sum(-1, keepdim=True)


def pooled(weights: torch.Tensor, grid: int) -> torch.Tensor:
    """Weights of a square of patches (B, side * side), pooled to the grid as patch descriptors are: (B, P), sum 1."""
    side = round(weights.shape[1] ** 0.5)
    found = functional.adaptive_avg_pool2d(weights.view(-1, 1, side, side), grid).flatten(1)
    return found / found.sum(1, keepdim=True).clamp(min=1e-12)
