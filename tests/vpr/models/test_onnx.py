"""Networks as ONNX files: equal descriptors, and the choice of the engine."""

import copy
import dataclasses
import logging
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training import CONFIG, Pictures, trainer_of

from vpr.base.errors import VprError
from vpr.description.describe import evaluation_mode, global_descriptors
from vpr.models.engine import DescribingEngine, make_network
from vpr.models.loading import load_student, load_teacher
from vpr.models.netvlad import NetVLAD
from vpr.models.onnx_graph import (
    architecture_of,
    build_network,
    export_onnx,
    largest_difference,
    serialize,
)
from vpr.models.onnx_network import VARIABLE, open_session
from vpr.models.settings import ModelConfig, TeacherConfig
from vpr.models.structural import StructuralModel

CPU = torch.device("cpu")
SMALL = ModelConfig(dim=8, grid=2, image_size=32)


def a_network(config=SMALL, seed=0):
    torch.manual_seed(seed)
    model = StructuralModel(config).eval()
    for name, value in model.named_buffers():  # summaries are fitted to photos, and empty without them
        if name.startswith("summary."):
            value.copy_(torch.rand_like(value))
    return model


@pytest.fixture(autouse=True, scope="module")
def graphs(tmp_path_factory):
    """The folder of kept graphs."""
    with pytest.MonkeyPatch.context() as own:
        own.setenv("VPR_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        own.delenv(VARIABLE, raising=False)
        yield Path(os.environ["VPR_CACHE_DIR"]) / "graphs"


def difference(model, other=None):
    """The largest difference of descriptors between a model and the exported one, or another one exported."""
    return largest_difference(model, open_session(serialize(build_network(other or model)), 1), 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(dim=8, grid=3, image_size=64, backbone="resnet18"),  # the grid does not divide the features
        ModelConfig(dim=8, grid=2, image_size=64, backbone="resnet18", pooling="gem"),
        ModelConfig(dim=8, grid=2, image_size=64, backbone="tf_efficientnet_lite0", head="whitening", pooling="vlad",
                    clusters=4, global_dim=6),
        ModelConfig(dim=8, grid=2, image_size=64, backbone="tf_efficientnet_lite0", head="whitening", pooling="layout",
                    global_dim=6),
        ModelConfig(dim=8, grid=2, image_size=64, backbone="deit_tiny_patch16_224", pooling="cls"),
    ],
    ids=["resnet", "gem", "vlad", "layout", "transformer"],
)  # fmt: skip
def test_an_exported_network_is_the_network(tmp_path, config):
    model = a_network(config)
    assert export_onnx(model, tmp_path / "a.onnx", {}) < 2e-6
    images = np.random.default_rng(1).integers(0, 256, (5, 3, *model.input_size), np.uint8)
    with torch.no_grad():
        wanted = model(torch.from_numpy(images))
    session = open_session((tmp_path / "a.onnx").read_bytes(), 1)
    for count in (1, 5):
        found = session.run(["global", "patches"], {"images": images[:count]})
        np.testing.assert_allclose(found[0], wanted.global_descriptor[:count].numpy(), atol=5e-6)
        np.testing.assert_allclose(found[1], wanted.patch_descriptors[:count].numpy(), atol=5e-6)


@pytest.mark.parametrize("load", [load_student, load_teacher])
def test_the_built_in_networks_are_exported_from_the_graphs_in_the_box(load, graphs):
    model = load(Path("builtin"), CPU)
    assert difference(model) < 2e-6 and not (graphs / f"{architecture_of(model)}.onnx").exists()


def test_the_engine_describes_as_the_network_does():
    model = a_network()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        wanted = model(images)
    engine = make_network(model)
    for one in (engine, copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))):
        for a, b in zip(one(images.numpy()), wanted[:2], strict=True):
            np.testing.assert_allclose(a, b.numpy(), atol=5e-6)


def test_a_graph_is_kept_without_weights_and_takes_those_of_any_model(graphs, monkeypatch):
    first, second = a_network(seed=0), a_network(seed=1)
    assert difference(first) < 2e-6
    path = graphs / f"{architecture_of(first)}.onnx"
    weights = sum(value.numel() for value in first.parameters())
    assert path.stat().st_size < weights  # of four bytes each
    assert str(Path(__file__).parents[3]).encode() not in path.read_bytes(), "no folder of this machine is in it"
    before = path.stat().st_mtime_ns
    assert difference(second) < 2e-6 and difference(first, second) > 0.1
    with torch.no_grad():
        first.head.weight.mul_(-1)
    assert difference(first) < 2e-6 and path.stat().st_mtime_ns == before


def test_a_damaged_graph_is_exported_again(graphs):
    model = a_network()
    assert difference(model) < 2e-6
    path = graphs / f"{architecture_of(model)}.onnx"
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"\x08\x0a no network"):
        path.write_bytes(content)
        assert difference(model) < 2e-6 and len(path.read_bytes()) == len(whole)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"grid": 1}, False),
        ({"dim": 6}, False),
        ({"image_size": 48}, False),
        ({"head": "whitening"}, False),
        ({}, True),
    ],
)
def test_another_architecture_has_another_graph(change, same):
    other = a_network(dataclasses.replace(SMALL, **change), seed=1)
    assert (architecture_of(other) == architecture_of(a_network())) == same


@pytest.mark.parametrize(
    ("engine", "variable", "device", "chosen", "words"),
    [
        ("auto", "", "cpu", True, "engine: ONNX Runtime"),
        ("onnx", "torch", "cpu", True, "engine: ONNX Runtime"),
        ("torch", "", "cpu", False, ""),
        ("auto", "torch", "cpu", False, ""),
        ("auto", "", "meta", False, ""),
    ],
)
def test_the_engine_is_chosen_and_logged(caplog, monkeypatch, engine, variable, device, chosen, words):
    if variable:
        monkeypatch.setenv(VARIABLE, variable)
    with caplog.at_level(logging.INFO, "vpr"):
        found = DescribingEngine(engine, torch.device(device)).network(a_network())
    assert (found is not None) == chosen and words in caplog.text and (words or not caplog.text)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_training_describes_with_the_weights_of_the_moment(monkeypatch, tmp_path, caplog, ema):
    monkeypatch.setenv(VARIABLE, "onnx")
    images, described = Pictures(), []

    def score(model):
        with evaluation_mode(model):
            wanted = model(images.images).global_descriptor.numpy()
        described.append(global_descriptors(model, images, CPU))
        np.testing.assert_allclose(described[-1], wanted, atol=1e-5)
        assert np.abs(described[-1] - wanted).max() > 0, "torch rounds in other places"
        return {"score": 0.5, "recall@1": 0.5}

    trainer = trainer_of(images, dataclasses.replace(CONFIG, validate_every=4, ema=ema))
    with caplog.at_level(logging.INFO, "vpr"):
        trainer.train(tmp_path / "checkpoint.pt", score=score)
    assert len(described) == 3 and np.abs(described[0] - described[1]).max() > 1e-3
    assert caplog.text.count("engine: ONNX Runtime") == 1
    assert trainer.model.engine is None and (trainer.ema is None or trainer.ema.module.engine is None)


def test_other_weights_are_noticed():
    model, engine = a_network(), DescribingEngine("onnx", CPU)
    first = engine.network(model)
    assert engine.network(model) is first
    with torch.no_grad():
        next(parameter for parameter in model.backbone.parameters() if parameter.ndim > 1).mul_(1.5)
    second = engine.network(model)
    assert second is not first and largest_difference(model, open_session(second.network, 1), 3) < 1e-5
    assert largest_difference(model, open_session(first.network, 1), 3) > 1e-3
    model.load_state_dict(a_network(seed=1).state_dict())
    assert largest_difference(model, open_session(engine.network(model).network, 1), 3) < 1e-5


def test_photos_are_described_inside_the_callers_inference_mode():
    model, pictures = a_network(), Pictures()
    expected = global_descriptors(model, pictures, CPU)
    model.engine = DescribingEngine("onnx", CPU)
    with torch.inference_mode():
        found = global_descriptors(model, pictures, CPU)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_network_that_gains_nothing_by_onnx_runtime_is_run_by_torch(caplog):
    teacher = NetVLAD(TeacherConfig(backbone="vgg16", clusters=2, dim=4, image_height=32, image_width=32), fill=False)
    with caplog.at_level(logging.INFO, "vpr"):
        assert DescribingEngine("auto", CPU).network(teacher.eval()) is None
    assert "engine: torch (ONNX Runtime is not faster for this network)" in caplog.text
    assert DescribingEngine("onnx", CPU).network(teacher) is not None


def test_an_unknown_engine_is_named():
    with pytest.raises(VprError, match="there is no engine 'tensorrt'; pass one of auto, onnx, torch"):
        DescribingEngine("tensorrt", CPU)


def test_numbers_that_are_none_are_a_difference():
    model = a_network()

    class Session:
        def run(self, names, inputs):
            with torch.no_grad():
                described = model(torch.from_numpy(inputs["images"]))
            return [described.global_descriptor.numpy(), np.full(described.patch_descriptors.shape, np.nan)]

    assert not largest_difference(model, Session(), 2) <= 1


@pytest.mark.slow
def test_a_file_has_the_same_bytes_whatever_was_kept(graphs, tmp_path, monkeypatch):
    model = a_network()
    for number in range(3):
        if number < 2:
            monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / str(number)))
        export_onnx(model, tmp_path / f"{number}.onnx", {})
    contents = {(tmp_path / f"{number}.onnx").read_bytes() for number in range(3)}
    assert len(contents) == 1


def test_what_changes_no_graph_is_not_in_its_name():
    first = a_network()
    others = [dataclasses.replace(SMALL, crop="centre"), dataclasses.replace(SMALL, train_size=16)]
    assert {architecture_of(StructuralModel(config)) for config in others} == {architecture_of(first)}
    assert architecture_of(StructuralModel(dataclasses.replace(SMALL, pooling="gem"))) != architecture_of(first)
    teacher = NetVLAD(TeacherConfig(clusters=4, dim=8))
    name = architecture_of(teacher)
    teacher.whitened = not teacher.whitened
    assert architecture_of(teacher) != name


def test_an_unknown_engine_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(VprError, match="VPR_ENGINE is 'fast'; set it to one of auto, onnx, torch"):
        DescribingEngine("auto", CPU).network(a_network())


class Unexportable(StructuralModel):
    """A network whose result depends on a number of the image, which no graph holds."""

    def forward(self, images):
        return super().forward(images * int(images.float().mean() > 0))


def test_a_network_that_cannot_be_exported_is_run_by_torch(caplog):
    model = Unexportable(SMALL).eval()
    with caplog.at_level(logging.INFO, "vpr"):
        assert DescribingEngine("auto", CPU).network(model) is None
    assert "engine: torch (the network cannot be exported to ONNX (" in caplog.text
    with pytest.raises(VprError, match="ONNX Runtime cannot be used: the network cannot be exported") as caught:
        DescribingEngine("onnx", CPU).network(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript", "onnx_ir"])
def test_without_a_package_the_engine_is_torch(monkeypatch, caplog, package):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with caplog.at_level(logging.INFO, "vpr"):
        assert DescribingEngine("auto", CPU).network(a_network()) is None
    assert "engine: torch (" in caplog.text and package in caplog.text


def test_a_network_that_differs_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"before")
    monkeypatch.setattr("vpr.models.onnx_graph.TOLERANCE", -1.0)
    with pytest.raises(VprError, match="differs from the model by up to"):
        export_onnx(a_network(), tmp_path / "a.onnx", {})
    assert (tmp_path / "a.onnx").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
