"""Models: NetVLAD against loops and scikit-learn, other people's checkpoints, any timm backbone, weights files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.utils.data import Dataset
from torchvision.models import vgg16

from vpr.base.errors import VprError
from vpr.description.model_spec import cache_spec
from vpr.distill.teacher import WhiteningConfig, whiten
from vpr.models.loading import load_teacher
from vpr.models.netvlad import NetVLAD, NetVLADPool, TeacherConfig
from vpr.models.structural import ModelConfig, StructuralModel
from vpr.models.weights import fingerprint, save_weights

CPU = torch.device("cpu")


def noise(count, size, seed=0):
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


class InMemory(Dataset):
    """Images that are there already."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def random_pool(clusters=3, channels=5):
    torch.manual_seed(0)
    pool = NetVLADPool(clusters, channels)
    torch.nn.init.normal_(pool.centroids)
    return pool


def test_netvlad_pooling_against_a_naive_loop():
    pool, features = random_pool(), torch.randn(2, 5, 4, 3)
    weight, centroids = pool.conv.weight.detach().numpy()[:, :, 0, 0], pool.centroids.detach().numpy()
    for image, pooled in zip(features.numpy(), pool(features).detach().numpy()):
        residuals = np.zeros((3, 5))
        for row in range(4):
            for column in range(3):
                x = image[:, row, column] / np.linalg.norm(image[:, row, column])
                share = np.exp(weight @ x) / np.exp(weight @ x).sum()
                for k in range(3):
                    residuals[k] += share[k] * (x - centroids[k])
        residuals /= np.linalg.norm(residuals, axis=1, keepdims=True)
        np.testing.assert_allclose(pooled, residuals.ravel() / np.linalg.norm(residuals), atol=1e-5)


def test_netvlad_starts_with_the_nearest_cluster_at_100_times_the_second():
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((200, 5)).astype(np.float32)
    samples /= np.linalg.norm(samples, axis=1, keepdims=True)
    pool = NetVLADPool(3, 5)
    pool.initialise(samples[:3], samples)
    logits = np.sort(pool.conv(torch.from_numpy(samples)[:, :, None, None]).detach().numpy()[:, :, 0, 0], axis=1)
    assert np.mean(logits[:, 2] - logits[:, 1]) == pytest.approx(np.log(100), rel=1e-3)
    assert (pool.centroids.detach().numpy() == samples[:3]).all()


@pytest.mark.parametrize(("whitening", "scaled"), [(1.0, True), (0.0, False)])
def test_whitening_is_scikit_learns_pca_then_unit_length(whitening, scaled):
    torch.manual_seed(0)
    model = NetVLAD(TeacherConfig(clusters=4, dim=6, image_height=32, image_width=32)).eval()
    torch.nn.init.normal_(model.pool.centroids, std=0.1)
    images = noise(40, (32, 32))
    with torch.inference_mode():
        pooled = model(images).global_descriptor.numpy()
    assert pooled.shape[1] == 4 * model.pool.centroids.shape[1]
    whiten(model, InMemory(images), WhiteningConfig(whitening=whitening), CPU)
    with torch.inference_mode():
        found = model(images).global_descriptor.numpy()
    expected = PCA(6, whiten=scaled, random_state=0).fit(pooled).transform(pooled)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_whitening_needs_more_images_than_dimensions():
    model = NetVLAD(TeacherConfig(clusters=2, dim=6, image_height=32, image_width=32))
    with pytest.raises(VprError, match="pass a smaller --dim"):
        whiten(model, InMemory(noise(6, (32, 32))), WhiteningConfig(), CPU)


def patch_netvlad_weights(clusters=4, dim=8):
    """A state_dict with the keys of the Patch-NetVLAD project's checkpoints."""
    torch.manual_seed(0)
    weights = {f"encoder.{name}": value for name, value in vgg16(weights=None).features[:-2].state_dict().items()}
    weights |= {"pool.conv.weight": torch.randn(clusters, 512, 1, 1), "pool.centroids": torch.randn(clusters, 512)}
    return weights | {"WPCA.0.weight": torch.randn(dim, clusters * 512, 1, 1), "WPCA.0.bias": torch.randn(dim)}


@pytest.mark.slow
def test_a_patch_netvlad_checkpoint_is_a_teacher(tmp_path):
    weights = patch_netvlad_weights()
    torch.save({"num_pcs": 8, "state_dict": weights}, tmp_path / "mapillary_WPCA8.pth.tar")
    model = load_teacher(tmp_path / "mapillary_WPCA8.pth.tar", CPU)
    assert model.input_size == (480, 640) and model.interpolation == "bilinear" and not model.training
    others = [NetVLAD(replace(model.config, interpolation=way)) for way in ("bilinear", "bicubic")]
    for other in others:
        other.load_state_dict(model.state_dict())
    assert [cache_spec(other) == cache_spec(model) for other in others] == [True, False]
    images = noise(1, (64, 96))
    with torch.inference_mode():
        found = model(images).global_descriptor
        encoder = vgg16(weights=None).features[:-2]
        encoder.load_state_dict({name[8:]: value for name, value in weights.items() if name.startswith("encoder.")})
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        features = encoder((images / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        pool = NetVLADPool(4, 512)
        pool.load_state_dict({"conv.weight": weights["pool.conv.weight"], "centroids": weights["pool.centroids"]})
        expected = pool(features) @ weights["WPCA.0.weight"][:, :, 0, 0].T + weights["WPCA.0.bias"]
    assert found.shape == (1, 8)
    np.testing.assert_allclose(found, expected / expected.norm(), atol=1e-5)


@pytest.mark.slow
def test_a_checkpoint_without_whitening_or_of_another_network_is_refused(tmp_path):
    torch.save({"state_dict": {"pool.centroids": torch.zeros(4, 512)}}, tmp_path / "a.pth.tar")
    with pytest.raises(VprError, match="not a NetVLAD checkpoint with whitening: it lacks WPCA.0.bias, WPCA.0.weight"):
        load_teacher(tmp_path / "a.pth.tar", CPU)
    weights = patch_netvlad_weights()
    del weights["encoder.28.weight"]
    torch.save(weights, tmp_path / "b.pth.tar")
    with pytest.raises(VprError, match="b.pth.tar lacks encoder.28.weight"):
        load_teacher(tmp_path / "b.pth.tar", CPU)


def test_the_fingerprint_knows_weights_and_details():
    model = torch.nn.Linear(3, 2)
    before = fingerprint(model, "a", 1)
    assert before == fingerprint(model, "a", 1) and len(before) == 16
    assert before != fingerprint(model, "a", 2)
    with torch.no_grad():
        model.bias[0] += 1e-6
    assert before != fingerprint(model, "a", 1)


def test_the_cache_spec_knows_size_grid_and_pooling():
    specs = set()
    for settings in ({}, {"grid": 2}, {"image_size": 192}, {"pooling": "cls"}, {"crop": "centre"}):
        torch.manual_seed(0)
        usual = {"dim": 8, "grid": 3, "image_size": 160, "backbone": "test_vit"}
        specs.add(cache_spec(StructuralModel(ModelConfig(**{**usual, **settings}))))
    assert len({spec.fingerprint for spec in specs}) == 5 and {spec.patches for spec in specs} == {4, 9}


# Tokens (B, N, D) with and without a class token, maps (B, h, w, D), maps (B, D, h, w).
BACKBONES = [("test_vit", 160), ("vit_mini_patch16_112", 64), ("swin_s3_tiny_224", 224), ("resnet10t", 64)]


@pytest.mark.parametrize(("backbone", "size"), BACKBONES)
@pytest.mark.parametrize("grid", [3, 5])
def test_any_timm_backbone_gives_unit_vectors(backbone, size, grid):
    torch.manual_seed(0)
    model = StructuralModel(ModelConfig(backbone=backbone, dim=12, grid=grid, image_size=size)).eval()
    images = noise(2, (size, size))
    with torch.inference_mode():
        found, alone = model(images), model(images[1:])
    assert found.global_descriptor.shape == (2, 12) and found.patch_descriptors.shape == (2, grid**2, 12)
    for vectors in (found.global_descriptor, found.patch_descriptors):
        np.testing.assert_allclose(vectors.norm(dim=-1), 1, atol=1e-5)
    np.testing.assert_allclose(found.patch_descriptors[1:], alone.patch_descriptors, atol=1e-4)


@pytest.mark.parametrize(("backbone", "size"), BACKBONES)
def test_patches_are_rows_of_the_grid_first(backbone, size):
    """A change in the top right corner of the picture changes the patch at the end of the first row the most."""
    torch.manual_seed(0)
    model = StructuralModel(ModelConfig(backbone=backbone, dim=12, grid=2, image_size=size)).eval()
    images = noise(1, (size, size)).repeat(2, 1, 1, 1)
    images[1, :, : size // 3, -(size // 3) :] = 0
    with torch.inference_mode():
        first, second = model(images).patch_descriptors
    assert (first - second).norm(dim=-1).argmax() == 1


def test_the_class_token_is_the_global_descriptor_with_cls_pooling():
    models = []
    for pooling in ("avg", "cls"):
        torch.manual_seed(0)
        models.append(StructuralModel(ModelConfig(backbone="test_vit", dim=12, image_size=160, pooling=pooling)).eval())
    with torch.inference_mode():
        average, token = (model(noise(1, (160, 160))) for model in models)
    assert (average.global_descriptor - token.global_descriptor).abs().max() > 1e-3
    np.testing.assert_allclose(average.patch_descriptors, token.patch_descriptors, atol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet10t", "vit_mini_patch16_112"])
def test_cls_pooling_is_refused_without_a_class_token(backbone):
    with pytest.raises(VprError, match=f"{backbone} has no class token; pass --pooling "):
        StructuralModel(ModelConfig(backbone=backbone, image_size=64, pooling="cls"))


def test_an_unknown_backbone_is_named_with_near_ones():
    with pytest.raises(VprError, match="no model 'resnet9000'"):
        StructuralModel(ModelConfig(backbone="resnet9000"))
    with pytest.raises(VprError, match="no model 'vit_huge_14'; similar names: .*vit_"):
        StructuralModel(ModelConfig(backbone="vit_huge_14"))


def test_a_backbone_that_cannot_take_the_size_or_weights_is_refused(tmp_path):
    with pytest.raises(VprError, match="there are no pretrained weights of vit_mini_patch16_112; leave --weights out"):
        StructuralModel(ModelConfig(weights="imagenet"))
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(VprError, match="a.pth lacks"):
        StructuralModel(ModelConfig(image_size=32, weights=str(tmp_path / "a.pth")))


def test_backbone_weights_of_another_image_size_are_resampled(tmp_path):
    torch.manual_seed(0)
    saved = StructuralModel(ModelConfig(backbone="test_vit", image_size=160)).backbone
    save_weights(saved, tmp_path / "vit.safetensors")
    config = ModelConfig(backbone="test_vit", image_size=96, weights=str(tmp_path / "vit.safetensors"))
    loaded = StructuralModel(config).backbone
    assert loaded.pos_embed.shape != saved.pos_embed.shape
    kept = [name for name in saved.state_dict() if name != "pos_embed"]
    assert all(torch.equal(saved.state_dict()[name], loaded.state_dict()[name]) for name in kept)
