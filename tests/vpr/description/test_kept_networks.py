"""Kept networks: a run is described without torch by what was made from it, and by nothing else."""

import json
import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, load_file, save, save_file

import vpr
from vpr.base.errors import VprError
from vpr.description import kept_networks
from vpr.description.describer import KeptDescriber
from vpr.description.kept_networks import DIGEST_BYTES, NAME, keep, open_kept
from vpr.description.network_describer import NetworkDescriber
from vpr.models.builtin import FOLDER
from vpr.models.engine import network_of
from vpr.models.onnx_network import VARIABLE
from vpr.models.recorded import student_config

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A run folder with the weights in the box, its network after it described a photo, and the descriptors."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    shutil.copytree(FOLDER, folder)
    with pytest.MonkeyPatch.context() as own:
        own.delenv(VARIABLE, raising=False)
        run = vpr.load(folder, "cpu")
        assert isinstance(run.describer, NetworkDescriber)
        return folder, run, run.describe(PIXELS)


@pytest.fixture
def folder(described, tmp_path, monkeypatch):
    """A copy of this folder, to change."""
    monkeypatch.delenv(VARIABLE, raising=False)
    return Path(shutil.copytree(described[0], tmp_path / "run"))


def kept(folder):
    return folder / "cache" / NAME


def open_network(folder):
    return open_kept(folder, student_config(folder))


def rewrite(path, **changes):
    """Write a kept file with other arrays, and the checksum of these."""
    content = save({**load(path.read_bytes()[DIGEST_BYTES:]), **changes})
    path.write_bytes(kept_networks.hashlib.sha256(content).digest() + content)


def test_the_second_time_a_run_is_described_by_the_kept_network(described, folder, caplog):
    _, first, expected = described
    run = vpr.load(folder, "cpu")
    assert isinstance(run.describer, KeptDescriber) and run.spec == first.spec and run.config == first.config
    with caplog.at_level(logging.INFO, "vpr"):
        for _ in range(2):
            found = run.describe(PIXELS)
    assert np.array_equal(found.globals_, expected.globals_) and np.array_equal(found.patches, expected.patches)
    assert (found.globals_.dtype, found.patches.dtype) == (np.float32, np.float16)
    assert caplog.text.count("engine: ONNX Runtime") == 1
    assert run.device == torch.device("cpu") and run.network.engine.name == "auto"
    before = kept(folder).stat().st_mtime_ns
    made = network_of(run.network)  # what fills a cache
    assert made is not None and made.network == network_of(first.network).network
    assert kept(folder).stat().st_mtime_ns == before, "it is neither made nor kept again"


def test_a_model_that_is_changed_in_memory_describes_with_its_new_weights(described, folder):
    run = vpr.load(folder, "cpu")
    before = run.spec
    with torch.no_grad():
        run.network.head.weight.mul_(-1)
    found, expected = run.describe(PIXELS), described[2]
    assert run.spec != before and float(np.sum(found.patches * expected.patches, dtype=np.float32)) < 50
    assert open_network(folder).spec == before, "the changed one is not kept"


def test_an_unreadable_photo_is_left_out(described, folder):
    found, problems = vpr.load(folder, "cpu").describe_readable([b"no photo", PIXELS])
    assert list(problems) == [0] and "cannot be decoded" in problems[0]
    np.testing.assert_allclose(found.globals_, described[2].globals_, atol=1e-5)


def test_another_engine_or_device_does_without_it(folder, monkeypatch):
    assert isinstance(vpr.load(folder, "cpu", "torch").describer, NetworkDescriber)
    monkeypatch.setenv(VARIABLE, "torch")
    assert isinstance(vpr.load(folder, "cpu").describer, NetworkDescriber)


def test_a_network_of_other_weights_or_settings_is_not_used(folder, monkeypatch):
    assert open_network(folder) is not None
    config = json.loads((folder / "config.json").read_text())
    config["run"]["model"]["crop"] = "centre"
    whole = (folder / "config.json").read_text()
    (folder / "config.json").write_text(json.dumps(config))
    assert open_network(folder) is None
    (folder / "config.json").write_text(whole)
    weights = load_file(folder / "model.safetensors")
    weights["head.bias"] = weights["head.bias"] + np.float32(1e-6)
    save_file(weights, folder / "model.safetensors")
    assert open_network(folder) is None


def test_a_network_of_other_code_or_packages_is_not_used(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_networks, "PACKAGES", ("torch", "timm"))
    assert open_network(folder) is None
    monkeypatch.undo()
    monkeypatch.delenv(VARIABLE)
    assert open_network(folder) is not None
    code = Path(shutil.copytree(kept_networks.CODE, tmp_path / "models"))
    with (code / "structural.py").open("a") as file:
        file.write("# changed\n")
    monkeypatch.setattr(kept_networks, "CODE", code)
    assert open_network(folder) is None


def test_a_damaged_network_is_not_used_and_said(folder, caplog):
    path = kept(folder)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    with caplog.at_level(logging.INFO, "vpr"):
        for content in (b"", whole[:middle], flipped):
            path.write_bytes(content)
            assert open_network(folder) is None
    assert [f"{path} cannot be used and is made again (" in message for message in caplog.messages] == [True] * 3


def test_a_network_that_describes_otherwise_is_not_used(folder, caplog):
    """As on a processor, or by an ONNX Runtime, that computes something else."""
    path = kept(folder)
    parts = load(path.read_bytes()[DIGEST_BYTES:])
    rewrite(path, **{"global": parts["global"] + np.float32(5e-5)})
    assert open_network(folder) is not None
    with caplog.at_level(logging.INFO, "vpr"):
        for wrong in (np.float32(1e-3), np.float32(np.nan)):
            rewrite(path, **{"global": parts["global"] + wrong})
            assert open_network(folder) is None
    assert caplog.text.count("it differs from torch by up to") == 2


def test_a_damaged_network_is_made_again(described, folder):
    kept(folder).write_bytes(b"")
    found = vpr.load(folder, "cpu").describe(PIXELS)
    assert np.array_equal(found.patches, described[2].patches) and open_network(folder) is not None


def test_the_network_of_a_changed_model_is_not_kept(described, folder):
    """A model that was changed after it was loaded is not the model of its folder."""
    _, run, _ = described
    made = open_network(folder).network
    kept(folder).unlink()
    weight = run.network.head.weight
    with torch.no_grad():
        weight.mul_(-1)
    keep(folder, run.spec, run.network, made)
    assert not kept(folder).exists()
    with torch.no_grad():
        weight.mul_(-1)
    keep(folder, run.spec, run.network, made)
    assert open_network(folder).spec == run.spec


def test_without_onnx_runtime_torch_describes_and_says_so(folder, monkeypatch, caplog):
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with caplog.at_level(logging.INFO, "vpr"):
        run = vpr.load(folder, "cpu")
        run.describe(PIXELS)
    assert isinstance(run.describer, NetworkDescriber)
    assert "engine: torch (onnxruntime is not installed)" in caplog.text


def test_a_run_that_changed_since_it_was_loaded_has_no_network(folder):
    run = vpr.load(folder, "cpu")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "head.bias": weights["head.bias"] + 1}, folder / "model.safetensors")
    with pytest.raises(VprError, match="has changed since it was loaded; load it again"):
        assert run.network


def test_the_network_of_a_read_only_run_is_kept_in_the_users_cache(described, folder, tmp_path, monkeypatch):
    _, run, _ = described
    made = open_network(folder).network
    shutil.rmtree(folder / "cache")
    (folder / "cache").write_text("no folder")  # nothing can be written inside, not even by root
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "user"))
    assert open_network(folder) is None
    keep(folder, run.spec, run.network, made)
    assert len(os.listdir(tmp_path / "user" / "descriptors")) == 1 and open_network(folder) is not None
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    assert open_network(other) is None
