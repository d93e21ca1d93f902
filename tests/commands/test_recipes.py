"""Every recipe of students: 4 steps from random weights, at small sizes, and an evaluation."""

import json

import pytest
from commands import evaluate

from vpr.base.recipes import RECIPES, recipes
from vpr.distill import __main__ as distill

pytestmark = pytest.mark.slow

CVT = ["--backbone", "cvt_13"]  # the paper's own
SIZES = {"dinov2": 56}  # four patches of 14 pixels a side


@pytest.mark.parametrize(("name", "more"), [*((name, []) for name in recipes("student")), ("paper", CVT)])
def test_a_recipe_trains_and_is_evaluated(tiny_tree, teacher_run, tmp_path, name, more, capsys):
    small = {"image-size": SIZES.get(name, 64), "train-size": 0, "grid": 4, "places": 3, "images-per-place": 2}
    small |= {"dim": 16, "global-dim": 20, "clusters": 4, "structural-negatives": 3, "steps": 4, "minings": 1}
    options = [word for key, value in small.items() for word in (f"--{key}", str(value))]
    if name != "dinov2":  # slow on a CPU
        options += ["--precision", "32-true"]
    options += [*more, "--recipe", name, "--weights", "", "--teacher", str(teacher_run), "--device", "cpu"]
    options += ["--data", str(tiny_tree), "--out", str(tmp_path / "run")]
    if (RECIPES / "student" / f"{name}.yaml").read_text().count("pooling: vlad"):
        assert distill.main([*options, "--print-config"]) == 0 and "pooling: vlad" in capsys.readouterr().out
    assert distill.main(options) == 0
    losses = json.loads((tmp_path / "run" / "metrics.json").read_text())["losses"]
    assert len(losses) >= 3
    results = evaluate(tiny_tree, tmp_path / "run", tmp_path, "--rerank")["results"]
    assert results["rerank"]["recall@20"] > 0
