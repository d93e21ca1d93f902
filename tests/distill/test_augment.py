"""Augmentation gives images of the size that the model takes, each group changed by a draw of its own."""

from typing import get_args

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from vpr.distill.augment import augment, augmentation, groups_of
from vpr.distill.settings import Augmentation


def pictures(side):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, side, side), np.uint8))


@pytest.mark.parametrize("kind", get_args(Augmentation))
def test_crops_of_larger_images_have_the_size(kind):
    groups = list(enumerate(groups_of(5)))
    found = augment(pictures(16), groups, augmentation(kind, (14, 14)), 3)
    assert found.shape == (5, 3, 14, 14) and found.dtype == torch.uint8
    assert torch.equal(found, augment(pictures(16), groups[::-1], augmentation(kind, (14, 14)), 3))


def test_without_augmentation_it_is_the_middle_or_all():
    groups, transform = list(enumerate(groups_of(5))), augmentation("none", (14, 14))
    assert torch.equal(augment(pictures(16), groups, transform, 0), pictures(16)[:, :, 1:15, 1:15])
    assert torch.equal(augment(pictures(14), groups, transform, 0), pictures(14))


def test_every_group_is_changed_by_its_own_number():
    places = np.array([3, 0]), np.array([1, 4, 2])
    found = augment(pictures(9), [(5, places[0]), (7, places[1])], v2.RandomHorizontalFlip(), 2)
    for number, group in zip((5, 7), places):
        torch.manual_seed(2 * (1 << 20) + number)
        assert torch.equal(found[group], v2.RandomHorizontalFlip()(pictures(9)[group]))
