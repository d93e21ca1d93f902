"""Attention rollout against a loop over layers, heads and tokens; the networks that have none."""

import numpy as np
import pytest
import torch

from vpr.base.errors import VprError
from vpr.models.rollout import RolloutModel
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel


def vit(**settings):
    torch.manual_seed(0)
    usual = {"backbone": "vit_tiny_patch16_224", "pooling": "cls", "dim": 8, "grid": 2, "image_size": 64}
    return StructuralModel(ModelConfig(**{**usual, **settings})).eval()


def pictures(size=64):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 3, size, size), dtype=np.uint8))


def softmax(scores):
    values = [np.exp(score - max(scores)) for score in scores]
    return np.array([value / sum(values) for value in values])


def naive(network, images):
    """The rolled-out attention (B, N, N) in float64, from the tokens that enter each layer."""
    tokens, entering = [], []
    hooks = [block.norm1.register_forward_hook(lambda *found: entering.append(found[2])) for block in network.blocks]
    with torch.no_grad():
        network.forward_features(images)
    for hook in hooks:
        hook.remove()
    for image in range(len(images)):
        rolled = None
        for block, given in zip(network.blocks, entering):
            attn = block.attn
            own = (given[image].double() @ attn.qkv.weight.double().T + attn.qkv.bias.double()).detach().numpy()
            count, width = len(own), attn.num_heads * attn.head_dim
            fused = np.zeros((count, count))
            for head in range(attn.num_heads):
                part = slice(head * attn.head_dim, (head + 1) * attn.head_dim)
                query, key = own[:, :width][:, part], own[:, width : 2 * width][:, part]
                fused += np.array([softmax([attn.scale * (q @ k) for k in key]) for q in query]) / attn.num_heads
            dropped = np.argsort(fused.ravel())[: int(0.1 * count * count)]
            fused.ravel()[dropped] = 0
            mixed = (fused + np.eye(count)) / 2
            mixed = np.array([row / row.sum() for row in mixed])
            rolled = mixed if rolled is None else mixed @ rolled
        tokens.append(rolled)
    return np.array(tokens)


@pytest.mark.parametrize("stage", [0, 5])
def test_the_class_tokens_row_pooled_to_the_grid(stage):
    model, images = vit(stage=stage, pooling="avg" if stage else "cls"), pictures()
    with torch.inference_mode():
        found, usual = RolloutModel(model)(images), model(images)
    network = model.backbone.network if stage else model.backbone
    assert len(network.blocks) == (stage or 12)
    row = naive(network, (images.float() / 255 - model.mean) / model.std)[:, 0, 1:].reshape(3, 4, 4)
    expected = row.reshape(3, 2, 2, 2, 2).mean((2, 4)).reshape(3, 4)
    np.testing.assert_allclose(found.weights, expected / expected.sum(1, keepdims=True), atol=1e-5)
    assert torch.equal(found.patch_descriptors, usual.patch_descriptors) and usual.weights is None
    assert torch.equal(found.global_descriptor, usual.global_descriptor)


def test_without_a_class_token_all_rows_count_alike():
    model, images = vit(backbone="vit_mini_patch16_112", pooling="avg", image_size=112, grid=7), pictures(112)
    with torch.inference_mode():
        found = RolloutModel(model)(images).weights
    mean = naive(model.backbone, (images.float() / 255 - model.mean) / model.std).mean(1)
    np.testing.assert_allclose(found, mean / mean.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("backbone", ["vit_small_patch14_reg4_dinov2", "deit_tiny_distilled_patch16_224"])
def test_further_tokens_are_no_patches(backbone):
    model = vit(backbone=backbone, image_size=56 if "14" in backbone else 64, grid=4)
    with torch.inference_mode():
        found = RolloutModel(model)(pictures(model.config.image_size)).weights
    assert found.shape == (3, 16) and torch.allclose(found.sum(1), torch.ones(3)) and (found > 0).all()


def test_nothing_is_left_behind():
    model = vit()
    with torch.inference_mode():
        RolloutModel(model)(pictures())
    assert not any(block.attn._forward_pre_hooks for block in model.backbone.blocks)
    assert RolloutModel(model.train()).training and not RolloutModel(model.eval()).training


@pytest.mark.parametrize(
    "backbone", ["resnet10t", "swin_tiny_patch4_window7_224", "vit_small_patch16_dinov3", "cvt_13"]
)
def test_other_networks_have_none(backbone):
    size = 224 if "swin" in backbone else 64
    with pytest.raises(VprError, match=f"{backbone} has no attention rollout: .*pass other --marginals"):
        RolloutModel(vit(backbone=backbone, pooling="avg", image_size=size))
