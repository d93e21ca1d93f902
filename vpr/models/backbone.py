"""Backbones from timm: created by name, with weights from ImageNet or a file."""

import difflib
from pathlib import Path
from typing import Any

import timm

import vpr.models.cvt
import vpr.models.mini_vit  # noqa: F401  registers both with timm
from vpr.base.errors import VprError
from vpr.models.imagenet import fit_weights, load_imagenet, no_retries_without_network
from vpr.models.model_name import HF_HUB
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
    if not is_known(backbone):
        close = difflib.get_close_matches(backbone, timm.list_models(), 5, 0.4)
        remedy = f"similar names: {', '.join(close)}" if close else "timm.list_models() lists all models"
        raise VprError(f"timm has no model {backbone!r}", thing=backbone, remedy=remedy)
    network_settings(backbone)  # raises if they would have to be fetched
    try:
        try:
            return timm.create_model(backbone, img_size=image_size)
        except TypeError:  # convolutional models take any size, and have no such argument
            return timm.create_model(backbone)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise VprError(f"--backbone {backbone} at {image_size} px: {error}", thing="--backbone") from error


def is_known(backbone: str) -> bool:
    """Whether timm may have a model of this name; those on Hugging Face are looked for when they are created."""
    return backbone.startswith(HF_HUB) or timm.is_model(backbone)


def network_settings(backbone: str) -> dict[str, Any]:
    """The settings in timm of the weights of a network, such as ``input_size``; empty if it has none.

    Raises VprError for a network on Hugging Face that is neither on this machine nor within reach.
    """
    if not backbone.startswith(HF_HUB):
        known = timm.get_pretrained_cfg(backbone) if timm.is_model(backbone) else None
        return {} if known is None else dict(vars(known))
    repository = backbone.removeprefix(HF_HUB)
    try:
        with no_retries_without_network():
            settings: dict[str, Any] = timm.models.load_model_config_from_hf(repository)[0]
            return settings
    except Exception as error:  # of the hub's client, which raises many kinds
        raise VprError(
            f"{backbone} is not on this machine ({type(error).__name__})",
            thing=backbone,
            remedy=f"connect to the internet, or put it into the cache of huggingface_hub: hf download {repository}",
        ) from error


def load_weights(network: Any, backbone: str, weights: str) -> None:
    """Load ImageNet weights or a weights file into a network. The classifier in a file may differ or be missing.

    Raises VprError for weights that are missing or do not fit.
    """
    if weights == IMAGENET:
        load_imagenet(network, backbone)
        return
    source = Path(weights)
    network.reset_classifier(0)
    load_state(network, fit_weights(network, read_weights(source)), source)
