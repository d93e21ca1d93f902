"""Augmentation: the size of the images, and random numbers per group."""

from typing import get_args

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from vpr.distill.sampling.augmentation import augment, augmentation, split_batch
from vpr.distill.settings import Augmentation


def pictures(side):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, side, side), np.uint8))


@pytest.mark.parametrize("kind", get_args(Augmentation))
def test_crops_of_larger_images_have_the_size(kind):
    groups = list(enumerate(split_batch(5)))
    changed = augment(pictures(16), groups, augmentation(kind, (14, 14)), 3)
    assert changed.shape == (5, 3, 14, 14) and changed.dtype == torch.uint8
    assert torch.equal(changed, augment(pictures(16), groups[::-1], augmentation(kind, (14, 14)), 3))


def test_without_augmentation_the_centre_is_cropped():
    groups, transform = list(enumerate(split_batch(5))), augmentation("none", (14, 14))
    assert torch.equal(augment(pictures(16), groups, transform, 0), pictures(16)[:, :, 1:15, 1:15])
    assert torch.equal(augment(pictures(14), groups, transform, 0), pictures(14))


def test_a_group_has_random_numbers_by_its_number():
    positions = np.array([3, 0]), np.array([1, 4, 2])
    changed = augment(pictures(9), [(5, positions[0]), (7, positions[1])], v2.RandomHorizontalFlip(), 2)
    for number, group in zip((5, 7), positions):
        torch.manual_seed(2 * (1 << 20) + number)
        assert torch.equal(changed[group], v2.RandomHorizontalFlip()(pictures(9)[group]))
