"""Teachers of torch.hub, from a repository in a folder."""

import json

import numpy as np
import pytest
import torch
from commands import refused
from layouts import as_numpy
from tiny import SMALL

from vpr.description.describe import global_descriptors
from vpr.description.image_files import ImageFiles
from vpr.distill import __main__ as distill
from vpr.distill.msls_data import training_photos

pytestmark = pytest.mark.slow

HUBCONF = """
import torch

dependencies = ["torch"]


class Net(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()
        torch.manual_seed(5)
        self.layer = torch.nn.Conv2d(3, dim, 5, 3)

    def forward(self, images):
        return 3 * self.layer(images).mean((2, 3))


def net(dim=16):
    '''A network.'''
    return Net(dim)


def maps():
    return torch.nn.Conv2d(3, 8, 3)


def broken():
    raise RuntimeError("no weights here\\nand more")


def number():
    return 3
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "hubconf.py").write_text(HUBCONF)
    return "repository"


def arguments(tree, out, repository, entry, *more):
    usual = ["--data", tree, "--out", out, "--grid", "3", *SMALL, "--teacher", f"hub:{repository}:{entry}"]
    return [str(argument) for argument in (*usual, "--teacher-size", 24, *more)]


def test_a_student_of_a_hub_model_is_that_of_its_descriptors(tiny_tree, tmp_path, repository):
    assert distill.main(arguments(tiny_tree, tmp_path / "a", repository, "net", "--trust-teacher")) == 0
    names = training_photos(tiny_tree, (), ("amsterdam",))[0].paths.tolist()
    model = distill_model(repository)
    images = ImageFiles(tiny_tree, names, (24, 24), "bilinear")
    path = as_numpy(tmp_path, names, global_descriptors(model, images, torch.device("cpu")))
    options = ["--data", tiny_tree, "--teacher", path, "--out", tmp_path / "b", "--grid", "3", *SMALL]
    assert distill.main([str(option) for option in options]) == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert len(config["run"]["taught_by"]["fingerprint"]) == 16 and not (tmp_path / "a" / "teacher").exists()


def distill_model(repository):
    """The network by hand, with the input that the field gives such models."""
    network = torch.hub.load(repository, "net", source="local", trust_repo=True)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    class Normalised(torch.nn.Module):
        def forward(self, images):
            from vpr.models.descriptors import Descriptors

            normalised = ((images.float() / 255 - mean) / std).contiguous()  # not channels last
            return Descriptors(torch.nn.functional.normalize(network(normalised)), None)

    return Normalised()


def test_arguments_of_the_entry_are_passed_on_as_numbers(tiny_tree, tmp_path, repository):
    more = ["--trust-teacher", "--teacher-arguments", "dim=9", "--distillation", "relational"]
    assert distill.main(arguments(tiny_tree, tmp_path / "run", repository, "net", *more)) == 0
    (cache,) = (tmp_path / "run" / "cache").glob("teacher-*.h5")
    from vpr.cache import DescriptorCache

    descriptors = DescriptorCache(cache).globals_[DescriptorCache(cache).done == 1]  # of the photos that were drawn
    assert descriptors.shape[1] == 9 and len(descriptors) > 8
    assert np.allclose(np.linalg.norm(descriptors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("entry", "more", "words"),
    [
        ("net", [], "is third-party code, which can do anything on this machine; read it, and pass --trust to run it"),
        ("nothing", ["--trust-teacher"], "cannot be loaded (RuntimeError: Cannot find callable nothing in hubconf"),
        ("broken", ["--trust-teacher"], "cannot be loaded (RuntimeError: no weights here); check its hubconf.py"),
        ("maps", ["--trust-teacher"], "returns (2, 8, 22, 22) for 2 images, not descriptors (B, C)"),
        ("number", ["--trust-teacher"], "returns int, not a network"),
        ("net", ["--trust-teacher", "--teacher-size", "2"], "fails on images of 2 pixels"),
        ("net", ["--trust-teacher", "--teacher-arguments", "dim"], "give name=value,name=value"),
        ("net", ["--trust-teacher", "--teacher-arguments", "size=3"], "unexpected keyword argument 'size'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(tiny_tree, tmp_path, repository, capsys, entry, more, words):
    assert words in refused(capsys, distill.main, *arguments(tiny_tree, tmp_path / "run", repository, entry, *more))
    assert not (tmp_path / "run").exists()


def test_a_repository_that_cannot_be_fetched_is_one_line(tiny_tree, tmp_path, capsys, monkeypatch, seams):
    seams.replace("torch.hub.urlopen", lambda *rest: (_ for _ in ()).throw(OSError("no route")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    words = refused(capsys, distill.main, *arguments(tiny_tree, tmp_path / "run", "x/y", "net", "--trust-teacher"))
    assert "hub:x/y:net cannot be loaded" in words and "the first time needs an internet connection" in words
    assert "names no model" in refused(
        capsys, distill.main, *arguments(tiny_tree, tmp_path / "run", "x", "")[:-2], "--teacher", "hub:net"
    )
