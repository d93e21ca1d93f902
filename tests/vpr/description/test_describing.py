"""Passes of torch: how many images each takes, and that their number changes no descriptor."""

import numpy as np
import pytest
import torch
from torch import nn

from vpr.description.describe import PASS_PIXELS, describe_batch, images_per_pass
from vpr.models.descriptors import Descriptors


class PassCounter(nn.Module):
    """Descriptors of each image's pixels, and the number of images in each pass."""

    def __init__(self, patches=True, weights=False):
        super().__init__()
        self.sizes, self.patches, self.weights = [], patches, weights

    def forward(self, images):
        self.sizes.append(len(images))
        means = images.float().mean((2, 3))
        patches = images[:, :, :2, :2].float().flatten(2).transpose(1, 2)
        return Descriptors(means, patches if self.patches else None, means if self.weights else None)


@pytest.mark.parametrize("patches, weights", [(True, True), (True, False), (False, False)])
def test_large_images_are_described_in_several_passes(patches, weights):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 3, 480, 640), np.uint8))
    model = PassCounter(patches, weights)
    whole = describe_batch(model, None, images, torch.device("cpu"))
    assert model.sizes == [2, 2, 2, 2, 1]
    alone = [describe_batch(model, None, images[[number]], torch.device("cpu")) for number in range(9)]
    for part, parts in zip(whole, zip(*alone)):
        assert part is None if parts[0] is None else np.array_equal(part, np.concatenate(parts))
    assert (whole.patches is not None, whole.weights is not None) == (patches, weights)


def test_small_images_are_described_together_and_a_huge_one_alone():
    assert images_per_pass(160, 160) == 32
    assert images_per_pass(10_000, 10_000) == 1
    assert images_per_pass(480, 640) * 480 * 640 <= PASS_PIXELS
