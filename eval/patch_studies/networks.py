"""The networks of a study by depth: models of run folders, and timm networks."""

from pathlib import Path
from typing import Any

import timm
import torch

from vpr.base.errors import VprError
from vpr.description.model_spec import PatchModel
from vpr.eval.patch_studies.depth import Network
from vpr.models.backbone import create_network, load_weights
from vpr.models.imagenet import input_statistics
from vpr.models.settings import IMAGENET
from vpr.models.structural import StructuralModel

USUAL_SIDE = 224  # pixels; for a network without a size of its own


def run_network(label: str, model: PatchModel) -> Network:
    """The network of a structural model, with its head. Raises VprError for the model of others."""
    if not isinstance(model, StructuralModel):
        raise VprError(f"{label}: only networks of timm can be studied by depth", thing=label, remedy="pass another")
    return Network(label, model, model, model.config.image_size, model.crop)


def timm_network(name: str, weights: str, image_size: int, seed: int, device: torch.device) -> Network:
    """A timm network by name; its label names its weights.

    weights: 'imagenet', a file, or empty for random weights by the seed. image_size: pixels; 0 takes the default of the
    network. Raises VprError for an unknown name, and for weights that are missing or do not fit.
    """
    default = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    side = image_size or (default.input_size[-1] if default and default.architecture else USUAL_SIDE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_network(name, side)
    if weights:
        load_weights(model, name, weights)
    mean, std = (part.to(device) for part in input_statistics(model, name, weights))
    model = model.to(device).eval()
    source = "random weights" if not weights else "ImageNet" if weights == IMAGENET else Path(weights).name

    def describe(images: torch.Tensor) -> Any:
        return model.forward_features((images.float() / 255 - mean) / std)

    return Network(f"{name} ({source})", model, describe, side)
