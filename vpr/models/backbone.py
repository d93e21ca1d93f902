"""Backbones from timm: built by name, given weights, asked for their input statistics."""

import importlib
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import vpr.models.mini_vit  # noqa: F401  timm knows it by name from here on
from vpr.base.errors import VprError
from vpr.models.settings import ModelConfig
from vpr.models.weights import load_state, read_weights


def create_backbone(config: ModelConfig) -> nn.Module:
    """The timm model of the configuration, without its classifier.

    Raises VprError for an unknown name, for weights that are missing or do not fit, and for a class token that the
    model lacks.
    """
    if not timm.is_model(config.backbone):
        close = timm.list_models(f"*{config.backbone.split('_')[0]}*")[:5]
        near = f"near it: {', '.join(close)}" if close else "timm.list_models() lists those that it has"
        raise VprError(f"timm has no model {config.backbone!r}; {near}")
    asked: dict[str, Any] = {"pretrained": config.pretrained, "num_classes": 0}
    try:
        try:
            model = timm.create_model(config.backbone, img_size=config.image_size, **asked)
        except TypeError:  # convolutional models take any size and no such argument
            model = timm.create_model(config.backbone, **asked)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise VprError(f"--backbone {config.backbone} at {config.image_size} px: {error}") from error
    if config.weights:
        source = Path(config.weights)
        load_state(model, _fitted(model, read_weights(source)), source)
    if config.pooling == "cls" and not getattr(model, "num_prefix_tokens", 0):
        raise VprError(f"{config.backbone} has no class token; pass --pooling avg")
    return model


def _fitted(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as timm itself fits them to the model: other people's names, position embeddings of another size."""
    fit = getattr(importlib.import_module(type(model).__module__), "checkpoint_filter_fn", None)
    return weights if fit is None else fit(weights, model)


def channel_statistic(backbone: nn.Module, statistic: str) -> torch.Tensor:
    """The backbone's input mean or standard deviation, shape (3, 1, 1), in [0, 1]."""
    config = getattr(backbone, "pretrained_cfg", None) or {}
    value = config.get(statistic) or (0.5, 0.5, 0.5)
    return torch.tensor(value).view(3, 1, 1)
