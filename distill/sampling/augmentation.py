"""Augmentation of training batches by torchvision, with new random numbers for every few images."""

from collections.abc import Iterable

import numpy as np
import torch
from torchvision.transforms import v2

from vpr.distill.settings import Augmentation

MAX_GROUPS = 1 << 20  # per batch, so that no two batches share a seed
GROUP_SIZE = 2  # images that share random numbers: a transform takes about as long for two small images as for one


def augmentation(kind: Augmentation, size: tuple[int, int]) -> v2.Transform:
    """The transform of uint8 images (..., 3, H, W) of at least the size, to (..., 3, height, width).

    light: small changes of crop and colour. medium: also greyscale, blur and contrast. Hue is not changed: it takes as
    long as everything else together, and makes little difference. heavy: also crops down to 40 %, strong colour and
    sharpening, which differ between renderings and photographs. objects: crops down to 40 % and mirroring, as in image
    retrieval; streets are not mirrored.
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


def split_batch(size: int) -> list[np.ndarray]:
    """Positions in a batch, in groups of about `GROUP_SIZE` images that share random numbers.

    The images of a group are far apart in the batch. Images of one place stand side by side, so they get different
    random numbers.
    """
    count = max(1, size // GROUP_SIZE)
    return [np.arange(start, size, count) for start in range(count)]


def augment(
    images: torch.Tensor, groups: Iterable[tuple[int, np.ndarray]], transform: v2.Transform, seed: int
) -> torch.Tensor:
    """Apply the transform to a batch (B, 3, H, W), group by group.

    groups: the number and the positions of each group; every image is in one group. The random numbers of a group
    depend on the seed and its number.
    """
    changed, order = [], []
    for number, positions in groups:
        torch.default_generator.manual_seed(seed * MAX_GROUPS + number)
        changed.append(transform(images[positions]))
        order.append(positions)
    return torch.cat(changed)[np.argsort(np.concatenate(order))]
