"""Which parameters are trained, and at what rate: by hand on small networks."""

from dataclasses import replace

import pytest
import torch

from vpr.base.errors import VprError
from vpr.distill.parts import parameter_groups
from vpr.distill.settings import TrainConfig
from vpr.models.netvlad import NetVLAD
from vpr.models.settings import ModelConfig, TeacherConfig
from vpr.models.structural import StructuralModel

VIT = ModelConfig("vit_tiny_patch16_224", dim=8, grid=2, image_size=32)
TRUNK = ModelConfig("tf_efficientnet_lite0", stage=3, head="whitening", dim=8, grid=2, image_size=32)


def shares(model, **options):
    """The share of each trained parameter, by name."""
    groups = parameter_groups(model, replace(TrainConfig(), **options))
    found = {id(parameter): group["share"] for group in groups for parameter in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups)
    return {name: found[id(value)] for name, value in model.named_parameters() if id(value) in found}


def test_by_default_everything_is_trained_alike():
    model = StructuralModel(VIT)
    assert shares(model) == {name: 1.0 for name, _ in model.named_parameters()}


def test_layers_learn_the_slower_the_further_they_are_from_the_end():
    found = shares(StructuralModel(VIT), layer_decay=0.5, backbone_rate=0.8)
    assert found["head.weight"] == 1.0
    assert found["backbone.blocks.11.attn.qkv.weight"] == found["backbone.norm.weight"] == 0.8
    assert found["backbone.blocks.9.mlp.fc1.bias"] == pytest.approx(0.8 * 0.5**2)
    assert found["backbone.pos_embed"] == found["backbone.patch_embed.proj.weight"] == pytest.approx(0.8 * 0.5**12)


def test_frozen_blocks_and_the_stem_stay_as_they_are():
    model = StructuralModel(VIT)
    found = shares(model, frozen_blocks=10)
    trained = {name.split(".")[2] for name in found if name.startswith("backbone.blocks.")}
    assert trained == {"10", "11"} and "backbone.pos_embed" not in found and "head.weight" in found
    assert {name for name, value in model.named_parameters() if value.requires_grad} == set(found)
    assert set(shares(StructuralModel(VIT), backbone_rate=0.0)) == {"head.weight", "head.bias"}


def test_trunks_have_the_layers_of_their_network():
    found = shares(StructuralModel(TRUNK), frozen_blocks=1, layer_decay=0.5)
    assert not any(name.startswith(("backbone.network.conv_stem", "backbone.network.blocks.0")) for name in found)
    assert any(name.startswith("backbone.network.blocks.2") for name in found)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (lambda: StructuralModel(VIT), {"frozen_blocks": 13}, "--frozen-blocks 13: the backbone has 12 layers"),
        (lambda: NetVLAD(TeacherConfig()), {"layer_decay": 0.9}, "need a network of timm's"),
    ],
)
def test_what_cannot_be_is_refused(model, options, words):
    torch.manual_seed(0)
    with pytest.raises(VprError, match=words):
        parameter_groups(model(), replace(TrainConfig(), **options))
