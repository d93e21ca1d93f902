"""A run with another input size and grid: ``RUN@SIZExGRID``."""

import json
import logging
import shutil

import numpy as np
import pytest
from commands import evaluate, refused
from tiny import SMALL

import vpr
from vpr import extract, map
from vpr.base.errors import VprError
from vpr.description.describer import KeptDescriber
from vpr.distill import __main__ as distill
from vpr.maps.store import State
from vpr.models.builtin import FOLDER
from vpr.models.structural import resize_model

NAMES = [("@64x4", 64, 4), ("@96", 96, 6), ("@160x5", 160, 5)]  # of a run with 160 pixels and a grid of 10


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run whose network takes any input size."""
    return shutil.copytree(FOLDER, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def photos(tiny_tree):
    return sorted(tiny_tree.rglob("*.jpg"))[:3]


@pytest.mark.parametrize(("form", "size", "grid"), NAMES)
def test_the_model_has_the_form_and_the_weights_of_the_run(run_folder, photos, form, size, grid):
    run, other = vpr.load(run_folder, engine="torch"), vpr.load(f"{run_folder}{form}", engine="torch")
    assert (run.config.image_size, run.config.grid) == (160, 10)
    assert (other.config.image_size, other.config.grid) == (size, grid)
    assert other.calibration == run.calibration
    resized = resize_model(run.network, size, grid)
    for name, value in resized.state_dict().items():
        assert np.array_equal(value.numpy(), other.network.state_dict()[name].numpy()), name
    assert other.describe(photos).patches.shape == (3, grid**2, run.config.dim)


def test_only_another_form_is_another_model(run_folder, caplog):
    caplog.set_level(logging.INFO)
    fingerprint = vpr.load(run_folder).spec.fingerprint
    assert vpr.load(f"{run_folder}@160x10").spec.fingerprint == fingerprint
    assert "calibrated with" not in caplog.text
    assert vpr.load(f"{run_folder}@64x3").spec.fingerprint != fingerprint
    assert "calibrated with 160 pixels and 10 patches per side" in caplog.text


def test_a_network_that_is_kept_has_the_form(photos):
    """Each form has a file of its own, which those of other forms leave as it is."""
    names = ("builtin", "builtin@96", "builtin@96x5")
    wanted = {name: vpr.load(name, "cpu", "torch").describe(photos).patches for name in names}
    for name in names:
        vpr.load(name, "cpu", "onnx").describe(photos)
    for name in names:
        run = vpr.load(name, "cpu", "onnx")
        assert isinstance(run.describer, KeptDescriber), name
        assert np.abs(run.describe(photos).patches - wanted[name]).max() < 1e-3, name  # a step of float16


def test_a_map_is_asked_with_the_form_that_made_it(run_folder, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(run_folder.parent)
    walk = tmp_path / "walk"
    walk.mkdir()
    for number, photo in enumerate(photos):
        shutil.copy(photo, walk / f"{number}.jpg")
    (tmp_path / "walk.csv").write_text("file,frame\n" + "".join(f"walk/{n}.jpg,{n}\n" for n in range(3)))
    given = [str(tmp_path / "map"), "add", str(tmp_path / "walk.csv"), "--run", f"{run_folder.name}@64x4"]
    assert map.main(given) == 0
    assert State.of(tmp_path / "map").run == f"{run_folder}@64x4"
    monkeypatch.chdir(tmp_path)
    assert map.main([str(tmp_path / "map"), "add", str(tmp_path / "walk.csv")]) == 0
    assert "0 described" in capsys.readouterr().out
    assert "was made by another model" in refused(capsys, map.main, *given[:3], "--run", run_folder)


def test_an_evaluation_keeps_the_descriptors_of_each_form(tiny_tree, run_folder, tmp_path):
    files = set()
    for form in ("", "@64x4"):
        evaluate(tiny_tree, f"{run_folder}{form}", tmp_path)
        files.add(len(list((run_folder / "cache").glob("*.h5"))))
    assert len(files) == 2


def test_a_folder_may_have_such_a_name(run_folder, tmp_path):
    folder = tmp_path / "run@64x4"
    shutil.copytree(run_folder, folder)
    assert vpr.load(folder).config.image_size == 160
    assert vpr.load(f"{folder}@64x4").config.image_size == 64


def test_a_form_that_cannot_be_is_refused(tiny_tree, run_folder, tmp_path, capsys):
    given = ["--data", tiny_tree, "--cache", tmp_path / "a.h5"]
    for form, words in (
        ("@0", "is out of range"),
        ("@32x9", "a grid of 9 is finer than the"),
        ("@5000", "give @SIZE or @SIZExGRID"),
        ("@64x0", "is out of range"),
    ):
        line = refused(capsys, extract.main, "--run", f"{run_folder}{form}", *given)
        assert words in line and form in line, line
    started = ["--data", tiny_tree, "--start", f"{run_folder}@64x4", "--out", tmp_path / "run", *SMALL]
    line = refused(capsys, distill.main, *started)
    assert f"pass --start {run_folder} --image-size 64 --grid 4" in line
    teacher = ["--data", tiny_tree, "--teacher", f"{run_folder}@64", "--out", tmp_path / "run", *SMALL]
    assert "a teacher has one input size" in refused(capsys, distill.main, *teacher)
    with pytest.raises(VprError, match="no run at .*missing; "):
        vpr.load(tmp_path / "missing@64")


def test_a_network_of_one_input_size_is_refused(run_folder, distilled_run, tmp_path):
    layout = shutil.copytree(run_folder, tmp_path / "layout")
    config = json.loads((layout / "config.json").read_text())
    config["run"]["model"]["pooling"] = "layout"
    (layout / "config.json").write_text(json.dumps(config))
    for run in (layout, distilled_run):
        with pytest.raises(VprError, match="is made for one input size; leave @SIZExGRID out"):
            vpr.load(f"{run}@64x2")
