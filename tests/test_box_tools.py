"""The tools that make the weights in the box."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tools.train_box import commands, fetch_photographs
from tools.whiten import whiten, whiten_head
from vpr.base.errors import VprError
from vpr.models.loading import load_student
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel


def a_network():
    torch.manual_seed(0)
    config = ModelConfig(dim=8, grid=2, image_size=32, head="whitening", pooling="vlad", clusters=4, global_dim=6)
    return StructuralModel(config).eval()


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5])
def test_variances_are_raised_to_minus_the_power(power):
    """The outputs of the head are uncorrelated, and their variances are the former ones to the power 1 - 2 p."""
    model = a_network()
    rng = np.random.default_rng(1)
    raw = rng.standard_normal((300, 4, model.head.in_features)).astype("f4")
    raw /= np.linalg.norm(raw, axis=-1, keepdims=True)

    def covariance():
        with torch.no_grad():
            return np.cov(model.head(torch.from_numpy(raw)).flatten(0, 1).numpy().astype("f8").T)

    before = np.sort(np.linalg.eigvalsh(covariance()))[::-1]
    whiten_head(model, raw, power)
    after = covariance()
    np.testing.assert_allclose(after, np.diag(np.diag(after)), atol=1e-3 * after.max())
    np.testing.assert_allclose(np.diag(after) / after[0, 0], (before / before[0]) ** (1 - 2 * power), rtol=2e-2)


def test_a_whitened_run_keeps_the_trunk_and_the_teacher(tmp_path):
    """Photos of both kinds change the head alone; the built-in run itself stays as it is."""
    rng = np.random.default_rng(0)
    for kind in ("streets", "photographs"):
        (tmp_path / kind).mkdir()
        for number in range(140):  # more than the pooling's 128 numbers
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(tmp_path / kind / f"{number}.jpg")
    builtin = load_student(Path("builtin"), torch.device("cpu")).state_dict()
    whiten(Path("builtin"), [[tmp_path / "streets"], [tmp_path / "photographs"]], 0.25, tmp_path / "run")
    whitened = load_student(tmp_path / "run", torch.device("cpu")).state_dict()
    changed = {name.split(".")[0] for name, value in whitened.items() if not torch.equal(value, builtin[name])}
    assert changed == {"head", "summary"}
    assert (tmp_path / "run" / "teacher" / "model.safetensors").is_file()
    with pytest.raises(VprError, match="is a run already"):
        whiten(Path("builtin"), [[tmp_path / "streets"]], 0.25, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["run"]["whitened_again"] == {"power": 0.25, "photos": [["streets"], ["photographs"]]}


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """Tools of Debian that log what they download, and unpack ``files``. One fails if ``no-TOOL`` exists."""
    tools, files = tmp_path / "bin", tmp_path / "files"
    tools.mkdir()
    files.mkdir()
    does = {"apt-get": f'echo $3 >> {tmp_path}/log; touch "${{3%%=*}}_1_all.deb"', "dpkg-deb": f'cp -r {files} "$3"'}
    for name, line in does.items():
        (tools / name).write_text(f"#!/bin/sh\n[ -e {tmp_path}/no-{name} ] && exit 100\n{line}\n")
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_photographs_of_a_package_are_fetched_once(debian):
    """Of all files of a package only the JPEG files are written; a folder that exists is kept."""
    for name in ("a.jpg", "b.png", "c.jpg"):
        (debian / "files" / name).write_text(name)
    for _ in range(2):
        fetch_photographs("views", "1.0", debian / "packages", debian / "photos" / "views")
    assert [path.name for path in (debian / "photos").iterdir()] == ["views"]
    assert sorted(path.name for path in (debian / "photos" / "views").iterdir()) == ["a.jpg", "c.jpg"]
    assert (debian / "log").read_text() == "views=1.0\n"


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_a_failed_fetch_says_so_and_leaves_no_folder(debian, tool):
    """The next call starts over, because a folder that exists counts as complete."""
    (debian / f"no-{tool}").touch()
    with pytest.raises(VprError, match=f"{tool} failed for .*views"):
        fetch_photographs("views", "1.0", debian / "packages", debian / "photos" / "views")
    assert not list((debian / "photos").iterdir())


def test_a_package_without_photographs_is_refused(debian):
    with pytest.raises(VprError, match="has no JPEG files"):
        fetch_photographs("views", "1.0", debian / "packages", debian / "photos" / "views")
    assert not list((debian / "photos").iterdir())


def test_a_whitened_run_is_kept(tmp_path):
    """The other commands find out by themselves what is complete."""
    assert "tools.whiten" in [command[0] for command in commands(tmp_path, write=False)]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").touch()
    assert "tools.whiten" not in [command[0] for command in commands(tmp_path, write=False)]


def test_every_command_of_the_box_takes_its_options(tmp_path):
    """Each command that trains the box knows the options that it is given."""
    for command in commands(tmp_path / "out", write=True):
        shown = subprocess.run([sys.executable, "-m", command[0], "--help"], capture_output=True, text=True, check=True)
        assert not [option for option in command[1:] if option.startswith("--") and option not in shown.stdout], command
