"""CvT-13 behind timm's interface: what transformers computes, from its own weights file."""

import sys

import pytest
import torch

from vpr.base.errors import VprError
from vpr.models.backbone import create_backbone
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return transformers.CvtForImageClassification(transformers.CvtConfig()).eval()


def test_tokens_are_those_of_transformers(classifier, tmp_path):
    path = tmp_path / "cvt.pth"
    torch.save(classifier.state_dict(), path)
    network = create_backbone(ModelConfig("cvt_13", weights=str(path), pooling="cls")).eval()
    images = torch.randn(2, 3, 112, 96)
    with torch.no_grad():
        tokens, found = network.forward_features(images), classifier(images, output_hidden_states=True)
        assert torch.equal(classifier.classifier(tokens[:, 0]), found.logits)
        assert tokens.shape == (2, 1 + 7 * 6, 384) and network.num_prefix_tokens == 1
        last = found.hidden_states[-1].flatten(2).transpose(1, 2)
        assert torch.equal(tokens[:, 1:], classifier.layernorm(last))


def test_it_is_found_with_its_tag_and_wants_imagenets_input():
    model = StructuralModel(ModelConfig("cvt_13.ms_in1k", image_size=32, grid=2))
    assert model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_it_is_one_line_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(VprError, match=r"cvt_13 needs another package: pip install 'vpr-ot\[cvt\]'"):
        create_backbone(ModelConfig("cvt_13"))
