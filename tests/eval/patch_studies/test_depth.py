"""Similarity by depth: against naive loops, on networks of every kind."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from vpr.base.errors import VprError
from vpr.description.image_files import ImageFiles
from vpr.eval.patch_studies.depth import (
    HEAD,
    Network,
    as_patches,
    block_outputs,
    find_blocks,
    mean_cosine,
    similarity_by_depth,
)
from vpr.eval.patch_studies.networks import run_network, timm_network
from vpr.models.backbone import create_network
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel

CPU = torch.device("cpu")
BLOCKS = {
    "vit_mini_patch16_112": (112, 2, 49), "vit_tiny_patch16_224": (32, 12, 4), "resnet18": (64, 8, 4),
    "tf_efficientnet_lite0": (64, 16, 4), "swin_tiny_patch4_window7_224": (56, 12, 4), "vgg11": (64, 6, 4),
    "vit_small_patch14_reg4_dinov2": (56, 12, 16),
}  # fmt: skip


def naive(patches):
    """The mean cosine over all pairs, one by one."""
    cosines = [
        float(F.cosine_similarity(patches[i], patches[j], dim=0))
        for i in range(len(patches))
        for j in range(len(patches))
        if i != j
    ]
    return np.mean(cosines)


def test_it_is_the_mean_over_all_pairs():
    patches = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    assert mean_cosine(patches).tolist() == pytest.approx([naive(image) for image in patches], abs=1e-6)
    assert mean_cosine(torch.ones(1, 4, 2)).tolist() == pytest.approx([1])
    assert mean_cosine(torch.tensor([[[1.0, 0], [-1, 0]]])).tolist() == pytest.approx([-1])


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_of_a_network_is_seen_with_its_patches(name):
    side, blocks, last = BLOCKS[name]
    network, seen = create_network(name, side).eval(), {}
    with torch.inference_mode(), block_outputs(network, lambda block, patches: seen.update({block: patches.shape[1]})):
        network.forward_features(torch.zeros(1, 3, side, side))
    assert list(seen) == list(find_blocks(network)) and len(seen) == blocks and list(seen.values())[-1] == last
    assert not any(module._forward_hooks for module in network.modules())


def test_patches_of_every_layout_are_the_same():
    maps = torch.randn(2, 5, 3, 4)
    expected = maps.flatten(2).transpose(1, 2)
    assert torch.equal(as_patches(maps, 0, False), expected)
    assert torch.equal(as_patches(maps.permute(0, 2, 3, 1), 0, True), expected)
    tokens = torch.randn(2, 10, 5)
    assert torch.equal(as_patches(tokens, 1, False), tokens[:, 1:])
    assert torch.equal(as_patches(tokens[:, 1:], 1, False), tokens[:, 1:])  # before the class token comes in


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / f"{number}.png")
    return [f"{number}.png" for number in range(3)]


def test_a_layer_is_averaged_over_images_and_the_head_comes_last(tmp_path, images):
    model = StructuralModel(ModelConfig(dim=8, grid=3)).eval()
    network, files = run_network("a", model), ImageFiles(tmp_path, images, model.input_size)
    layers = similarity_by_depth(network, files, CPU)
    assert [layer.depth for layer in layers] == [0.5, 1.0, 1.5] and layers[-1].layer == HEAD
    batch = torch.stack([files[number] for number in range(3)])
    with torch.inference_mode():
        patches = model(batch).patch_descriptors
        tokens = model.backbone.forward_intermediates((batch / 255 - model.mean) / model.std, intermediates_only=True)
    for layer, expected in zip(layers, [*(part.flatten(2).transpose(1, 2) for part in tokens), patches]):
        by_image = [naive(image) for image in expected]
        assert layer.similarity == pytest.approx(np.mean(by_image), abs=1e-5)
        assert layer.deviation == pytest.approx(np.std(by_image), abs=1e-5)
        assert layer.patches == expected.shape[1]


def test_random_weights_come_from_the_seed_and_are_said(tmp_path, images):
    def measured(seed):
        network = timm_network("vit_mini_patch16_112", "", 112, seed, CPU)
        assert network.label == "vit_mini_patch16_112 (random weights)"
        return similarity_by_depth(network, ImageFiles(tmp_path, images, (112, 112)), CPU)

    state = torch.get_rng_state()
    assert measured(0) == measured(0) != measured(1)
    assert torch.equal(state, torch.get_rng_state())


def test_a_network_without_blocks_is_named(tmp_path, images):
    plain = torch.nn.Flatten()
    with pytest.raises(VprError, match="plain: no blocks"):
        similarity_by_depth(Network("plain", plain, plain, 8), ImageFiles(tmp_path, images, (8, 8)), CPU)
