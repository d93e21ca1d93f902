"""Backbones from timm: built by name, given weights, asked for their input statistics."""

import difflib
import importlib
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import vpr.models.cvt
import vpr.models.mini_vit  # noqa: F401  timm knows both by name from here on
from vpr.base.errors import VprError
from vpr.models.imagenet import load_imagenet
from vpr.models.settings import IMAGENET, ModelConfig
from vpr.models.trunk import Trunk, is_cut_by_default
from vpr.models.weights import load_state, read_weights


def create_backbone(config: ModelConfig, fill: bool = True) -> Any:
    """The timm model of the configuration, without its classifier, cut after its stage.

    fill: start from the weights that the configuration names. Raises VprError for an unknown name or stage, for weights
    that are missing or do not fit, and for a class token that the model lacks.
    """
    network = create_network(config.backbone, config.image_size)
    if config.weights and fill:
        load_weights(network, config.backbone, config.weights)
    if config.pooling == "cls" and not getattr(network, "num_prefix_tokens", 0):
        raise VprError(f"{config.backbone} has no class token; pass --pooling avg")
    network.reset_classifier(0)
    return Trunk(network, config.stage) if config.stage or is_cut_by_default(network) else network


def create_network(backbone: str, image_size: int) -> Any:
    """A timm model by name, from random weights, its classifier included; errors as `create_backbone`."""
    if not timm.is_model(backbone):
        close = difflib.get_close_matches(backbone, timm.list_models(), 5, 0.4)
        near = f"near it: {', '.join(close)}" if close else "timm.list_models() lists those that it has"
        raise VprError(f"timm has no model {backbone!r}; {near}")
    try:
        try:
            return timm.create_model(backbone, img_size=image_size)
        except TypeError:  # convolutional models take any size and no such argument
            return timm.create_model(backbone)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise VprError(f"--backbone {backbone} at {image_size} px: {error}") from error


def load_weights(network: Any, backbone: str, weights: str) -> None:
    """Fill a whole network from ImageNet or from a file, whose classifier may differ or be missing.

    Raises VprError for weights that are missing or do not fit.
    """
    if weights == IMAGENET:
        load_imagenet(network, backbone)
        return
    source = Path(weights)
    network.reset_classifier(0)
    load_state(network, _fitted(network, read_weights(source)), source)


def _fitted(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as timm itself fits them to the model: other people's names, position embeddings of another size."""
    fit = getattr(importlib.import_module(type(model).__module__), "checkpoint_filter_fn", None)
    return weights if fit is None else fit(weights, model)
