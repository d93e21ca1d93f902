"""The match of two photo files, as scores, JSON and figures."""

import json
import shutil

import numpy as np
import pytest
from commands import refused
from comparing import compare
from PIL import Image

from vpr import match
from vpr.description.cache_filling import fill_cache
from vpr.retrieval.settings import RerankOptions
from vpr.run import load

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tiny_tree, tmp_path):
    """Two photos of the tiny tree, A.jpg and B.jpg."""
    named = [tmp_path / "A.jpg", tmp_path / "B.jpg"]
    for name, photo in zip(named, sorted(tiny_tree.rglob("*.jpg"))[::9]):
        shutil.copy(photo, name)
    return named


def matched(photos, run, tmp_path, *more):
    given = [
        *photos,
        "--run",
        run,
        "--out",
        tmp_path / "m.png",
        "--json",
        tmp_path / "m.json",
        "--device",
        "cpu",
        *more,
    ]
    assert match.main([str(argument) for argument in given]) == 0
    return json.loads((tmp_path / "m.json").read_text())


@pytest.mark.parametrize("mass", [1.0, 0.6])
def test_the_scores_are_those_of_re_ranking(distilled_run, photos, tmp_path, capsys, mass):
    found = matched(photos, distilled_run, tmp_path, "--mass", mass)
    assert np.asarray(Image.open(tmp_path / "m.png")).std() > 5
    run = load(distilled_run, "cpu")
    keys = [photo.name for photo in photos]
    cache = fill_cache(tmp_path / "a.h5", run.network, tmp_path, keys, run.device).cache
    expected = compare(cache, np.array([0]), np.array([[1]]), RerankOptions(mass=mass).config(run.calibration))
    assert found["scores"]["global"] == pytest.approx(float(expected.global_similarity[0, 0]), abs=1e-4)
    assert found["scores"]["structural"] == pytest.approx(float(expected.structural[0, 0]), abs=1e-4)
    score = found["scores"]["global"] + run.calibration.weight * found["scores"]["structural"]
    assert found["scores"]["score"] == pytest.approx(score) and f"score     {score:.4f}" in capsys.readouterr().out
    plan = np.array(found["plan"])
    assert plan.shape == (9, 9) and plan.sum() == pytest.approx(mass, abs=1e-3)
    for pair in found["correspondences"]:
        own, other = (3 * row + column for row, column in (pair["query"], pair["database"]))
        assert pair["mass"] == plan[own, other] == plan[own].max() == plan[:, other].max()


def test_the_same_files_give_the_same_bytes_in_every_format(distilled_run, photos, tmp_path):
    for kind in ("png", "pdf", "svg"):
        outs = [tmp_path / f"{name}.{kind}" for name in ("first", "second")]
        for out in outs:
            matched(photos, distilled_run, tmp_path, "--out", out, "--mass", "0.5")
        assert outs[0].read_bytes() == outs[1].read_bytes()


def test_a_photo_that_lies_on_its_side_is_turned(distilled_run, photos, tmp_path):
    upright = Image.open(photos[0]).resize((90, 60))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    first, second = (
        matched([tmp_path / name, photos[1]], distilled_run, tmp_path) for name in ("upright.png", "turned.png")
    )
    assert first["scores"] == second["scores"]


@pytest.mark.parametrize("size", [(2000, 3), (3, 2000), (1, 1)])
def test_a_photo_of_any_shape_is_drawn(distilled_run, photos, tmp_path, size):
    Image.new("L", size, 90).save(tmp_path / "odd.png")
    matched([tmp_path / "odd.png", photos[1]], distilled_run, tmp_path)
    assert max(Image.open(tmp_path / "m.png").size) < 3200


def test_a_photo_is_not_replaced(distilled_run, photos, capsys):
    line = refused(capsys, match.main, *photos, "--run", distilled_run, "--json", photos[0])
    assert "is an input" in line
