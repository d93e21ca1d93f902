"""The networks of a study by depth: models of run folders, and timm's by name."""

from pathlib import Path
from typing import Any

import timm
import torch

from vpr.eval.depth import Network
from vpr.models.backbone import create_network, load_weights
from vpr.models.imagenet import input_statistics
from vpr.models.settings import IMAGENET
from vpr.models.structural import StructuralModel

USUAL_SIDE = 224  # pixels, of a network that does not say what it was made for


def of_run(label: str, model: StructuralModel) -> Network:
    """The network of a structural model, with its head."""
    return Network(label, model, model, model.config.image_size, model.crop)


def of_name(name: str, weights: str, image_size: int, seed: int, device: torch.device) -> Network:
    """A timm network by name, which its label says the weights of.

    weights: 'imagenet', a file, or nothing for random ones by the seed. image_size: pixels; 0 takes the size that the
    network was made for. Raises VprError for an unknown name, and for weights that are missing or do not fit.
    """
    made_for = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    side = image_size or (made_for.input_size[-1] if made_for and made_for.architecture else USUAL_SIDE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_network(name, side)
    if weights:
        load_weights(model, name, weights)
    mean, std = (part.to(device) for part in input_statistics(model, name, weights))
    model = model.to(device).eval()
    said = "random weights" if not weights else "ImageNet" if weights == IMAGENET else Path(weights).name

    def describe(images: torch.Tensor) -> Any:
        return model.forward_features((images.float() / 255 - mean) / std)

    return Network(f"{name} ({said})", model, describe, side)
