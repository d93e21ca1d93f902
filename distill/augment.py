"""Augmentation of training batches: torchvision's transforms, drawn anew for every few images of the batch."""

from collections.abc import Iterable

import numpy as np
import torch
from torchvision.transforms import v2

from vpr.distill.settings import Augmentation

MOST_GROUPS = 1 << 20  # of a batch: seeds of different batches do not meet
GROUP = 2  # images that share one draw: one call of a transform costs about as much for two small images as for one


def augmentation(kind: Augmentation, size: tuple[int, int]) -> v2.Transform:
    """The transform of uint8 images (..., 3, h, w), at least of the size, to (..., 3, height, width).

    light: small shifts of crop and colour. medium: those, and grey, blur and contrast; no hue, which takes as long as
    all the rest and changes little. heavy: also what separates renderings from photographs: crops down to 40 %,
    stronger colour, sharpening. objects: crops down to 40 %, mirrored half of the time, as image retrieval has it;
    streets are not mirrored.
    """
    if kind == "none":
        return v2.CenterCrop(size)
    if kind == "light":
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.7, 1.0), ratio=(0.8, 1.25), antialias=True),
                v2.ColorJitter(0.3, 0.3, 0.3),
            ]
        )
    if kind == "medium":
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.6, 1.0), ratio=(0.75, 1.33), antialias=True),
                v2.ColorJitter(0.4, 0.4, 0.4),
                v2.RandomGrayscale(p=0.15),
                v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 1.2))], p=0.25),
                v2.RandomAutocontrast(p=0.15),
            ]
        )
    if kind == "objects":
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.4, 1.0), ratio=(0.75, 1.33), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.2, 0.2, 0.2),
            ]
        )
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.4, 1.0), ratio=(0.7, 1.4), antialias=True),
            v2.RandomApply([v2.ColorJitter(0.5, 0.5, 0.6, 0.05)], p=0.8),
            v2.RandomGrayscale(p=0.15),
            v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 1.5))], p=0.3),
            v2.RandomApply([v2.RandomAdjustSharpness(3.0, p=1.0)], p=0.2),
            v2.RandomAutocontrast(p=0.15),
        ]
    )


def groups_of(size: int) -> list[np.ndarray]:
    """A batch's places in groups of about `GROUP` images that share a draw. A group takes images from far apart, so
    that the images of one place, which stand side by side, are changed in different ways."""
    count = max(1, size // GROUP)
    return [np.arange(start, size, count) for start in range(count)]


def augment(
    images: torch.Tensor, groups: Iterable[tuple[int, np.ndarray]], transform: v2.Transform, seed: int
) -> torch.Tensor:
    """Apply the transform to a batch (B, 3, H, W), each group, given by its number and its places, with random numbers
    of its own, which follow from the seed and the number. Every image is in one group."""
    changed, order = [], []
    for number, places in groups:
        torch.default_generator.manual_seed(seed * MOST_GROUPS + number)
        changed.append(transform(images[places]))
        order.append(places)
    return torch.cat(changed)[np.argsort(np.concatenate(order))]
