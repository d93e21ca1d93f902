"""Entries of torch.hub as teachers: what a photo gets does not depend on the other photos of its batch."""

from pathlib import Path

import pytest
import torch

from vpr.base.errors import VprError
from vpr.models.hub import load_hub
from vpr.models.settings import HubOptions

HUBCONF = """
import torch


class Net(torch.nn.Module):
    def __init__(self, share):
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.share = torch.nn.Conv2d(3, 8, 4, 4), share

    def forward(self, images):
        found = self.layer(images).amax((2, 3))
        return found + self.share * found.mean(0)


def correlated():
    return Net(1.0)


def separate():
    return Net(0.0)


def zeros():
    network = Net(0.0)
    network.layer.requires_grad_(False)
    network.layer.weight.zero_()
    network.layer.bias.zero_()
    return network


def squeezed():
    network = Net(0.0)
    network.register_forward_hook(lambda module, inputs, output: output.squeeze())
    return network
"""


def teacher(folder, entry):
    (folder / "hubconf.py").write_text(HUBCONF)
    return load_hub(Path(f"hub:{folder}:{entry}"), HubOptions(trust=True, teacher_size=16), torch.device("cpu"))


@pytest.mark.parametrize("entry", ["correlated", "separate"])
def test_a_teachers_descriptor_does_not_depend_on_the_other_photos(tmp_path, entry):
    model = teacher(tmp_path, entry)
    images = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    with torch.inference_mode():
        together = model(images).global_descriptor
        alone = torch.cat([model(image[None]).global_descriptor for image in images])
    assert model.dim == 8
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert ("one by one" in model.origin) == (entry == "correlated")


def test_a_teachers_descriptor_of_zeros_is_refused(tmp_path):
    model = teacher(tmp_path, "zeros")
    with pytest.raises(VprError, match="returns a descriptor of zeros for a photo; check its weights"):
        model(torch.zeros(2, 3, 16, 16))


def test_a_teacher_without_a_batch_for_one_photo_is_refused(tmp_path):
    with pytest.raises(VprError, match=r"returns \(8,\) for 1 images, not descriptors \(B, C\)"):
        teacher(tmp_path, "squeezed")
