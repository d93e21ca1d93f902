"""The similarity of the patches of one image, by depth of a network.

It is the mean cosine over all pairs of different patches of a layer (Zhang, Liwicki, Cipolla, BMVC 2022, draw it by
depth). If the patches of an image are similar, transport cannot tell them apart.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from vpr.base.errors import VprError
from vpr.description.describe import decode_in_threads, evaluation_mode
from vpr.description.image_files import ImageFiles
from vpr.models.settings import Crop

BATCH = 16
HEAD = "head"  # the name of the patch descriptors among the layers
CONTAINERS = r"(backbone|network|cvt|encoder|features|stages|blocks|serial_blocks\d|layers|layer\d)$"


@dataclass(frozen=True)
class Network:
    """A network with the images that it takes."""

    label: str
    model: nn.Module
    describe: Callable[[torch.Tensor], Any]  # of uint8 images (B, 3, H, W); `Descriptors` if it has a head
    side: int  # height and width of its images, pixels
    crop: Crop = "resize"  # the part of a photo that it takes


@dataclass(frozen=True)
class Layer:
    """The similarity of the patches of a layer, over some images."""

    layer: str
    depth: float  # its number, from 1, divided by the number of layers; the head is one step deeper
    patches: int  # number of patches of an image
    similarity: float  # mean pairwise cosine, averaged over the images
    deviation: float  # its standard deviation over the images


def mean_cosine(patches: torch.Tensor) -> torch.Tensor:
    """The mean cosine of all pairs of different patches of each image: (B, n, C) to (B,), for n of at least 2.

    The squared length of the sum of n unit vectors is n and twice the sum over all pairs. Zeros have cosine 0.
    """
    unit = F.normalize(patches.float(), dim=-1)
    total, diagonal = unit.sum(1).square().sum(-1), unit.square().sum((1, 2))
    return (total - diagonal) / (patches.shape[1] * (patches.shape[1] - 1))


def similarity_by_depth(network: Network, images: ImageFiles, device: torch.device) -> list[Layer]:
    """The similarity of each block of the network, in order, then of the head if there is one.

    Layers with a single patch are left out. Raises VprError if the network has no blocks with patches.
    """
    batches = [range(start, min(start + BATCH, len(images))) for start in range(0, len(images), BATCH)]
    values: dict[str, list[torch.Tensor]] = {}
    counts: dict[str, int] = {}

    def add(name: str, patches: torch.Tensor) -> None:
        if patches.shape[1] > 1:
            counts[name] = patches.shape[1]
            values.setdefault(name, []).append(mean_cosine(patches).cpu())

    with block_outputs(network.model, add), evaluation_mode(network.model):
        for batch in decode_in_threads(images, batches):
            patches = getattr(network.describe(batch.to(device)), "patch_descriptors", None)
            if patches is not None:
                add(HEAD, patches)
    blocks = [name for name in values if name != HEAD]
    if not blocks:
        raise VprError(f"{network.label}: no blocks with patches were found in this network; leave it out")
    depths = {name: (number + 1) / len(blocks) for number, name in enumerate([*blocks, HEAD])}
    over_images = {name: torch.cat(parts).numpy() for name, parts in values.items()}
    return [
        Layer(name, depths[name], counts[name], float(np.mean(similarity)), float(np.std(similarity)))
        for name, similarity in over_images.items()
    ]


@contextmanager
def block_outputs(model: nn.Module, add: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """A context in which ``add`` gets the name and the patches (B, n, C) of every block that is computed."""
    prefix = max((getattr(part, "num_prefix_tokens", 0) for part in model.modules()), default=0)
    last = any(getattr(part, "output_fmt", None) == "NHWC" for part in model.modules())

    def hook(name: str) -> Callable[..., None]:
        def receive(module: nn.Module, arguments: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.ndim in (3, 4):
                add(name, as_patches(output, prefix, last))

        return receive

    handles = [block.register_forward_hook(hook(name)) for name, block in find_blocks(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def find_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a timm network by name. Networks without repeated blocks (VGG) have the levels that timm names."""
    blocks = dict(_blocks("", model))
    if blocks:
        return blocks
    modules = dict(model.named_modules())
    info: Any = next((part.feature_info for part in modules.values() if hasattr(part, "feature_info")), [])
    return {name: modules[name] for name in (level["module"] for level in info) if name in modules}


def _blocks(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    children = {f"{name}.{child}".lstrip("."): part for child, part in module.named_children()}
    if isinstance(module, nn.Sequential | nn.ModuleList):
        nested = children
    else:
        nested = {child: part for child, part in children.items() if re.search(rf"(^|\.){CONTAINERS}", child)}
    for child, part in nested.items():
        yield from _blocks(child, part)
    if not nested and children and name:
        yield name, module


def as_patches(output: torch.Tensor, prefix: int, last: bool) -> torch.Tensor:
    """The patches (B, n, C) in the output of a block: tokens (B, n, C) or maps (B, C, h, w).

    prefix: number of class and register tokens before the patches, in layers that have them. last: whether maps are
    (B, h, w, C).
    """
    if output.ndim == 4:
        return output.flatten(1, 2) if last else output.flatten(2).transpose(1, 2)
    without = max(output.shape[1] - prefix, 0)
    square = math.isqrt(without) ** 2 == without
    return output[:, prefix:] if square or math.isqrt(output.shape[1]) ** 2 != output.shape[1] else output
