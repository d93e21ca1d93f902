"""Attention rollout: the weight of each patch in a vision transformer's descriptor of the whole image.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020. timm computes the attention as
usual. Hooks compute its weights once more, from the same queries and keys, only inside `record_rollout`.
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

DROPPED = 0.1  # share of a layer's lowest weights that are set to zero


class RolloutModel(nn.Module):
    """A structural model that also returns the weights of the patches."""

    def __init__(self, model: nn.Module) -> None:
        """Raises VprError if the network is not a plain vision transformer of timm."""
        super().__init__()
        self.network = transformer_of(model)
        self.model = model
        self.train(model.training)

    def forward(self, images: torch.Tensor) -> Descriptors:
        with record_rollout(self.network) as layers:
            described: Descriptors = self.model(images)
        assert isinstance(self.model, StructuralModel)
        rolled, prefix = layers[-1], self.network.num_prefix_tokens
        row = rolled[:, 0] if self.network.cls_token is not None else rolled.mean(1)
        return described._replace(weights=pool_to_grid(row[:, prefix:], self.model.config.grid))


def transformer_of(model: nn.Module) -> VisionTransformer:
    """The vision transformer inside a structural model; raises VprError if the network has no rollout."""
    backbone: Any = getattr(model, "backbone", None)
    network = backbone.network if isinstance(backbone, Trunk) else backbone
    if isinstance(network, VisionTransformer) and all(
        type(getattr(block, "attn", None)) is Attention for block in network.blocks
    ):
        return network
    own_name = getattr(model, "name", type(model).__name__)
    name = model.config.backbone if isinstance(model, StructuralModel) else own_name
    raise VprError(
        f"{name} has no attention rollout: timm's plain vision transformers have it, such as "
        "deit_small_patch16_224 and vit_small_patch14_dinov2",
        thing=name,
        remedy="pass other --marginals",
    )


@contextmanager
def record_rollout(network: VisionTransformer) -> Iterator[list[torch.Tensor]]:
    """Record the rollout of each forward pass: the only item of the list, (B, N, N), up to the last layer."""
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
    """The weights of timm's ``Attention``, averaged over heads: (B, N, D) to (B, N, N) float32, rows sum to 1."""
    batch, count, _ = tokens.shape
    projected = module.qkv(tokens).reshape(batch, count, 3, module.num_heads, module.head_dim).permute(2, 0, 3, 1, 4)
    query, key = module.q_norm(projected[0]).float(), module.k_norm(projected[1]).float()
    weights: torch.Tensor = (module.scale * query @ key.transpose(-2, -1)).softmax(-1).mean(1)
    return weights


def residual(weights: torch.Tensor) -> torch.Tensor:
    """A layer's weights (B, N, N) with the residual connection: (A + I) / 2, rows normalised to sum 1.

    The lowest `DROPPED` of each image's weights are set to zero first.
    """
    flat = weights.flatten(1)
    lowest = flat.topk(int(DROPPED * flat.shape[1]), largest=False, sorted=False).indices
    kept = flat.scatter(1, lowest, 0.0).view_as(weights)
    mixed = (kept + torch.eye(weights.shape[1], device=weights.device)) / 2
    return mixed / mixed.sum(-1, keepdim=True)


def pool_to_grid(weights: torch.Tensor, grid: int) -> torch.Tensor:
    """Weights (B, side * side) of a square of patches, pooled to the grid like patch descriptors: (B, P), sum 1."""
    side = round(weights.shape[1] ** 0.5)
    found = functional.adaptive_avg_pool2d(weights.view(-1, 1, side, side), grid).flatten(1)
    return found / found.sum(1, keepdim=True).clamp(min=1e-12)
