"""The study of partial transport, on places and on class labels."""

import json

import numpy as np
import pytest
from commands import evaluate
from PIL import Image

from vpr.eval import partial

pytestmark = pytest.mark.slow


def studied(tmp_path, *arguments):
    out = tmp_path / "study"
    given = ["--out", out, "--masses", "1,0.5", "--device", "cpu", *arguments]
    assert partial.main([str(argument) for argument in given]) == 0
    assert np.asarray(Image.open(out / "partial.png")).std() > 5 and (out / "partial.csv").read_text().count("\n") == 4
    return json.loads((out / "partial.json").read_text())["results"]


def test_each_mass_is_what_evaluation_gives(tiny_tree, distilled_run, tmp_path):
    rows = studied(tmp_path, "--data", tiny_tree, "--run", distilled_run, "--weight", "3")
    assert list(rows) == ["not re-ranked", "mass 1", "mass 0.5"]
    for mass in ("1", "0.5"):
        found = evaluate(tiny_tree, distilled_run, tmp_path, "--rerank", "--weight", "3", "--mass", mass)["results"]
        expected = {name: value for name, value in found["rerank"].items() if name in rows["mass 1"]}
        assert rows[f"mass {mass}"] == pytest.approx(expected)
    assert rows["mass 1"] != rows["mass 0.5"]


def test_labels_too(tiny_set, tmp_path):
    rows = studied(tmp_path, "--retrieval", "--data", tiny_set, "--run", "builtin")
    assert set(rows["mass 1"]) >= {"p@1", "rp", "map@r"} and rows["mass 1"] != rows["mass 0.5"]
