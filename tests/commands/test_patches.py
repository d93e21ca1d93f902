"""The study of patches: similarity by depth, and correspondences."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from vpr.eval import patches
from vpr.eval.patch_studies.correspondence import correspondence
from vpr.retrieval.pairs import match_photos
from vpr.retrieval.settings import TransportOptions
from vpr.run import load

pytestmark = pytest.mark.slow


def studied(out, *arguments):
    given = ["--out", out, "--device", "cpu", "--images", "3", *arguments]
    assert patches.main([str(argument) for argument in given]) == 0
    assert np.asarray(Image.open(out / "patches.png")).std() > 5
    return json.loads((out / "patches.json").read_text())


@pytest.fixture
def pair(tiny_tree, tmp_path):
    """Two photos of the tiny tree."""
    named = tmp_path / "A.jpg", tmp_path / "B.jpg"
    for name, photo in zip(named, sorted(tiny_tree.rglob("*.jpg"))[::9]):
        shutil.copy(photo, name)
    return named


def test_runs_and_networks_beside_one_another(tiny_tree, distilled_run, pair, tmp_path, capsys):
    runs = ["--run", distilled_run, "--run", "builtin", "--model", "vit_mini_patch16_112", "--image-size", "112"]
    more = ["--pair", f"{pair[0]},{pair[1]}", "--patch", "0,2", "--patch", "1,1", "--mass", "0.8"]
    first = studied(tmp_path / "first", "--data", tiny_tree, *runs, *more)
    assert list(first["networks"]) == [str(distilled_run), "builtin", "vit_mini_patch16_112 (random weights)"]
    assert [len(layers) for layers in first["networks"].values()] == [3, 12, 2]
    assert (tmp_path / "first/patches.csv").read_text().count("\n") == 18
    assert "3 images of" in (said := capsys.readouterr().out) and "pair1.png" in said
    run = load(distilled_run, "cpu")
    config = TransportOptions(mass=0.8).config(run.calibration)
    match = match_photos(run.network, pair, config, run.device).match
    found = first["pairs"][0]["correspondences"]
    expected = [correspondence(match, patch).as_json() for patch in ((0, 2), (1, 1))]
    assert found[str(distilled_run)] == json.loads(json.dumps(expected))
    assert [one["patch"] for one in found["builtin"]] == [[1, 8], [5, 5]]  # of a grid of 3, on one of 10
    again = studied(tmp_path / "again", "--data", tiny_tree, *runs, *more)
    assert first == again
    for name in ("patches.png", "patches.csv", "pair1.png"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_any_photos_and_no_run(pair, tmp_path):
    found = studied(tmp_path / "out", "--photos", tmp_path, "--model", "resnet18", "--image-size", "64")
    assert found["images"] == f"2 images of {tmp_path}" and list(found["networks"]) == ["resnet18 (random weights)"]
