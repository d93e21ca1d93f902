"""Backbones from timm: created by name, with weights from ImageNet or a file."""

import difflib
import importlib
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import vpr.models.cvt
import vpr.models.mini_vit  # noqa: F401  registers both with timm
from vpr.base.errors import VprError
from vpr.models.imagenet import load_imagenet
from vpr.models.settings import IMAGENET, ModelConfig
from vpr.models.trunk import Trunk, is_cut_by_default
from vpr.models.weights import load_state, read_weights


def create_backbone(config: ModelConfig, fill: bool = True) -> Any:
    """The timm model of the configuration, without its classifier, cut after its stage.

    fill: load the weights that the configuration names. Raises VprError for an unknown name or stage, for weights that
    are missing or do not fit, and for ``--pooling cls`` if the model has no class token.
    """
    network = create_network(config.backbone, config.image_size)
    if config.weights and fill:
        load_weights(network, config.backbone, config.weights)
    if config.pooling == "cls" and not getattr(network, "num_prefix_tokens", 0):
        raise VprError(f"{config.backbone} has no class token", thing="--pooling", remedy="pass --pooling avg")
    network.reset_classifier(0)
    return Trunk(network, config.stage) if config.stage or is_cut_by_default(network) else network


def create_network(backbone: str, image_size: int) -> Any:
    """A timm model by name with random weights and its classifier; errors as `create_backbone`."""
    if not timm.is_model(backbone):
        close = difflib.get_close_matches(backbone, timm.list_models(), 5, 0.4)
        remedy = f"similar names: {', '.join(close)}" if close else "timm.list_models() lists all models"
        raise VprError(f"timm has no model {backbone!r}", thing=backbone, remedy=remedy)
    try:
        try:
            return timm.create_model(backbone, img_size=image_size)
        except TypeError:  # convolutional models take any size, and have no such argument
            return timm.create_model(backbone)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise VprError(f"--backbone {backbone} at {image_size} px: {error}", thing="--backbone") from error


def load_weights(network: Any, backbone: str, weights: str) -> None:
    """Load ImageNet weights or a weights file into a network. The classifier in a file may differ or be missing.

    Raises VprError for weights that are missing or do not fit.
    """
    if weights == IMAGENET:
        load_imagenet(network, backbone)
        return
    source = Path(weights)
    network.reset_classifier(0)
    load_state(network, _convert(network, read_weights(source)), source)


def _convert(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights converted by timm's own filter: names of other projects, position embeddings of another size."""
    fit = getattr(importlib.import_module(type(model).__module__), "checkpoint_filter_fn", None)
    return weights if fit is None else fit(weights, model)
