"""Batch normalisation computed by the convolutions: the same features, gradients and stored weights."""

import copy

import pytest
import timm
import torch
from torch import nn

from vpr.models.folding import fold_batch_norm
from vpr.models.trunk import Trunk


def with_statistics(network):
    """Statistics and scales as after a training, in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


class Small(nn.Module):
    """Convolutions with and without a bias; with ``twice`` the output of one goes to two normalisations."""

    def __init__(self, twice=False):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, bias=False)
        self.norm, self.last, self.twice = nn.BatchNorm2d(4), nn.BatchNorm2d(4), twice

    def forward(self, images):
        features = self.one(images)
        middle = self.norm(features).relu() + (features if self.twice else 0)
        return self.last(self.two(middle))


NETWORKS = {"lite": "tf_efficientnet_lite0", "resnet": "resnet10t"}  # one pads its images, the other does not


def same(folded, usual):
    """Features alike, and gradients of the parameters by their names, which are the same."""
    images = torch.randn(2, 3, 64, 64)
    found = [network(images) for network in (folded, usual)]
    for features in found:
        features.square().mean().backward()
    torch.testing.assert_close(*found, rtol=0, atol=1e-5 * float(found[1].detach().abs().max()))
    assert folded.state_dict().keys() == usual.state_dict().keys()
    for (name, own), (_, other) in zip(folded.named_parameters(), usual.named_parameters()):
        largest = float(other.grad.abs().max())
        torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-3 * largest, msg=name)


def test_convolutions_with_and_without_a_bias():
    torch.manual_seed(0)
    usual = with_statistics(Small())
    folded = copy.deepcopy(usual)
    fold_batch_norm(folded)
    same(folded, usual)


@pytest.mark.parametrize("name", NETWORKS)
def test_trunks(name, seams):
    torch.manual_seed(0)
    network = with_statistics(timm.create_model(NETWORKS[name]))
    folded = Trunk(copy.deepcopy(network), 3)
    seams.replace("vpr.models.trunk.fold_batch_norm", lambda network: None)
    same(folded, Trunk(network, 3))


def test_every_normalisation_is_folded():
    network = with_statistics(Small())
    fold_batch_norm(network)
    assert torch.equal(network.norm(images := torch.randn(1, 4, 5, 5)), images)
    assert torch.equal(network.last(images), images)


def test_a_convolution_whose_output_is_used_twice_stays():
    """Also in a new network, whose normalisations change nothing until weights are loaded."""
    network, images = Small(twice=True), torch.randn(2, 3, 16, 16)
    new = {name: value.clone() for name, value in network.state_dict().items()}
    fold_batch_norm(network)
    assert all(torch.equal(value, new[name]) for name, value in network.state_dict().items())
    usual = with_statistics(Small(twice=True))
    network.eval().load_state_dict(usual.state_dict())
    assert torch.equal(network(images), usual(images)) and type(network.one) is nn.Conv2d


@pytest.mark.slow
@pytest.mark.parametrize("name", ["levit_128s", "coatnet_nano_rw_224", "visformer_tiny"])
def test_networks_of_one_input_size_are_built(name, seams):
    network = timm.create_model(name)
    folded = Trunk(copy.deepcopy(network))
    weights = with_statistics(copy.deepcopy(folded)).state_dict()
    seams.replace("vpr.models.trunk.fold_batch_norm", lambda network: None)
    usual = Trunk(network)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        features = [trunk.eval()(images) for trunk in (folded, usual) if trunk.load_state_dict(weights)]
    torch.testing.assert_close(*features, rtol=0, atol=1e-4 * float(features[1].abs().max()))


@torch.no_grad()
def test_a_change_of_the_weights_is_seen_and_a_copy_has_its_own():
    network = with_statistics(Small())
    fold_batch_norm(network)
    images = torch.randn(1, 3, 16, 16)
    before = network(images)
    other = copy.deepcopy(network)
    for value in (network.two.weight, network.last.bias, network.last.running_var):
        value.add_(0.5)
        changed = network(images)
        assert not torch.allclose(changed, before)
        before = changed
    network.two.weight.data = network.two.weight.data * 2
    assert not torch.allclose(network(images), before)
    network.load_state_dict(other.state_dict())
    assert torch.equal(network(images), other(images))


def test_in_training_mode_the_statistics_of_the_batch_count():
    torch.manual_seed(0)
    usual = with_statistics(Small()).train()
    folded = copy.deepcopy(usual)
    fold_batch_norm(folded)
    assert folded.training
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(folded(images), usual(images))
    torch.testing.assert_close(folded.last.running_var, usual.last.running_var)
