"""Learnt weights of patches, as a part of a model."""

import numpy as np
import pytest
import torch

from vpr.base.errors import VprError
from vpr.description.model_spec import cache_spec
from vpr.models.engine import make_network
from vpr.models.patch_weights import SPAN, PatchWeights
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel, resize_model

CPU = torch.device("cpu")


def trained(dim=8):
    """A network with random weights in its last layer, which is zero at first."""
    torch.manual_seed(0)
    weights = PatchWeights(dim)
    torch.nn.init.normal_(weights.out.weight, std=2)
    return weights


def model_of(**settings):
    torch.manual_seed(1)
    model = StructuralModel(ModelConfig(dim=8, grid=3, image_size=48, patch_weights=True, **settings)).eval()
    model.set_patch_weights(trained())
    return model


def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(2)), dim=-1)


@pytest.mark.parametrize("patches", [1, 3, 50])
def test_rows_have_sum_1_within_the_span(patches):
    found = trained()(unit(4, patches, 8)).detach()
    torch.testing.assert_close(found.sum(1), torch.ones(4))
    assert (found > 0).all() and float((found.amax(1) / found.amin(1)).max()) <= np.exp(2 * SPAN) + 1e-3
    torch.testing.assert_close(PatchWeights(8)(unit(4, patches, 8)), torch.full((4, patches), 1 / patches))


def test_a_weight_goes_with_its_patch_and_its_image():
    patches, weights = unit(3, 12, 8), trained()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(weights(patches[:, order]), weights(patches)[:, order])
    torch.testing.assert_close(weights(patches[1:2]), weights(patches)[1:2])


@pytest.mark.parametrize("settings", [{}, {"head": "whitening", "pooling": "vlad", "clusters": 4, "global_dim": 6}])
def test_a_model_gives_them_by_every_engine(settings):
    model = model_of(**settings)
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        wanted = model(images)
    found = make_network(model)(images.numpy())
    assert len(found) == 3
    for ours, theirs in zip(found, wanted):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_they_are_a_part_of_what_a_cache_is_made_from():
    model = model_of()
    spec = cache_spec(model)
    assert spec.weights
    with torch.no_grad():
        model.patch_weights.out.bias += 1
    assert cache_spec(model).fingerprint != spec.fingerprint
    with pytest.raises(VprError, match="no attention rollout|learnt weights"):
        cache_spec(model, rollout=True)
    model.set_patch_weights(None)
    assert not cache_spec(model).weights and not model.config.patch_weights


def test_they_follow_to_another_input_size():
    model = model_of(backbone="tf_efficientnet_lite0")
    other = resize_model(model, 64, 4)
    assert torch.equal(other.patch_weights.out.weight, model.patch_weights.out.weight)
