"""Parameter groups of small networks, against values worked out by hand."""

from dataclasses import replace

import pytest
import torch

from vpr.base.errors import VprError
from vpr.distill.settings import TrainConfig
from vpr.distill.training.parameter_groups import LR_SCALE, parameter_groups
from vpr.models.netvlad import NetVLAD
from vpr.models.settings import ModelConfig, TeacherConfig
from vpr.models.structural import StructuralModel

VIT = ModelConfig("vit_tiny_patch16_224", dim=8, grid=2, image_size=32)
TRUNK = ModelConfig("tf_efficientnet_lite0", stage=3, head="whitening", dim=8, grid=2, image_size=32)


def scales(model, **options):
    """The learning rate scale of each trained parameter, by name."""
    groups = parameter_groups(model, replace(TrainConfig(), **options))
    by_parameter = {id(parameter): group[LR_SCALE] for group in groups for parameter in group["params"]}
    assert len(by_parameter) == sum(len(group["params"]) for group in groups)
    return {name: by_parameter[id(value)] for name, value in model.named_parameters() if id(value) in by_parameter}


def test_by_default_all_parameters_have_scale_one():
    model = StructuralModel(VIT)
    assert scales(model) == {name: 1.0 for name, _ in model.named_parameters()}


def test_layers_learn_more_slowly_far_from_the_end():
    scale = scales(StructuralModel(VIT), layer_decay=0.5, backbone_rate=0.8)
    assert scale["head.weight"] == 1.0
    assert scale["backbone.blocks.11.attn.qkv.weight"] == scale["backbone.norm.weight"] == 0.8
    assert scale["backbone.blocks.9.mlp.fc1.bias"] == pytest.approx(0.8 * 0.5**2)
    assert scale["backbone.pos_embed"] == scale["backbone.patch_embed.proj.weight"] == pytest.approx(0.8 * 0.5**12)


def test_frozen_blocks_and_the_stem_are_not_trained():
    model = StructuralModel(VIT)
    scale = scales(model, frozen_blocks=10)
    trained = {name.split(".")[2] for name in scale if name.startswith("backbone.blocks.")}
    assert trained == {"10", "11"} and "backbone.pos_embed" not in scale and "head.weight" in scale
    assert {name for name, value in model.named_parameters() if value.requires_grad} == set(scale)
    assert set(scales(StructuralModel(VIT), backbone_rate=0.0)) == {"head.weight", "head.bias"}


def test_trunks_have_the_layers_of_their_network():
    scale = scales(StructuralModel(TRUNK), frozen_blocks=1, layer_decay=0.5)
    assert not any(name.startswith(("backbone.network.conv_stem", "backbone.network.blocks.0")) for name in scale)
    assert any(name.startswith("backbone.network.blocks.2") for name in scale)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (lambda: StructuralModel(VIT), {"frozen_blocks": 13}, "--frozen-blocks 13: the backbone has 12 layers"),
        (lambda: NetVLAD(TeacherConfig()), {"layer_decay": 0.9}, "need a backbone of timm"),
    ],
)
def test_missing_layers_are_reported(model, options, words):
    torch.manual_seed(0)
    with pytest.raises(VprError, match=words):
        parameter_groups(model(), replace(TrainConfig(), **options))
