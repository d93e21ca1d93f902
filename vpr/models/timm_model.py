"""Networks of timm as runs without training: their patches and, once these are adapted to a database, VLAD of them."""

from __future__ import annotations

import dataclasses
import logging
import re

import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.models.backbone import network_settings
from vpr.models.model_name import ModelName
from vpr.models.published.adapter import GRID
from vpr.models.settings import IMAGENET, ModelConfig
from vpr.models.structural import StructuralModel

log = logging.getLogger("vpr")

LARGEST, USUAL = 384, 322  # pixels: a network made for more gets the usual size of DINOv2 in place recognition


def open_timm(name: ModelName, device: torch.device) -> StructuralModel:
    """The structural model of a network of timm, in evaluation mode. Its head changes nothing.

    Before adaptation the global descriptor is the mean of the patches. Raises VprError for an unknown network, for
    weights that are missing or do not fit, and for a grid that is finer than the features.
    """
    config = ModelConfig(
        backbone=name.name,
        weights=name.where or IMAGENET,
        head="whitening",
        pooling="avg",
        dim=1,
        grid=1,
        image_size=name.size or default_size(name.name),
    )
    model = StructuralModel(config).eval().requires_grad_(False)
    side, dim = model.features_side(), int(model.backbone.num_features)
    if name.grid > side:
        problem = f"{name}: a grid of {name.grid} is finer than the {side} patches per side"
        raise VprError(problem, thing=name, remedy="give a smaller grid, or a larger size")
    model.config = dataclasses.replace(config, dim=dim, grid=name.grid or min(GRID, side))
    model.head = _identity(dim)
    pooled = "" if model.config.grid == side else f" pooled to {model.config.grid}"
    log.info("%s: not trained; %d pixels, %d patches per side%s", name, config.image_size, side, pooled)
    return model.to(device)


def default_size(backbone: str) -> int:
    """The input size of a network, pixels: that of its weights, or `USUAL`, in whole patches, for large ones."""
    height = int((network_settings(backbone).get("input_size") or (3, 224, 224))[1])
    patch = re.search(r"patch(\d+)", backbone)
    unit = int(patch[1]) if patch else 1
    return height if height <= LARGEST else USUAL // unit * unit


def _identity(dim: int) -> nn.Linear:
    """A head that returns its input."""
    head = nn.Linear(dim, dim).requires_grad_(False)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    return head
