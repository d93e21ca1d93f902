"""Descriptors from elsewhere as shortlist and as teacher: what the same descriptors give that are computed here."""

import numpy as np
import pytest
import torch
from commands import evaluate, refused
from layouts import LAYOUTS, as_hloc, as_numpy
from tiny import SMALL

from vpr.datasets.msls import Protocol, load
from vpr.description.describe import global_descriptors
from vpr.description.image_files import ImageFiles
from vpr.distill import __main__ as distill
from vpr.distill.msls_data import training_photos
from vpr.eval import msls
from vpr.models.loading import load_teacher

pytestmark = pytest.mark.slow


def described(teacher_run, root, names):
    """The teacher's descriptors of images, as somebody would have computed them."""
    model = load_teacher(teacher_run, torch.device("cpu"))
    images = ImageFiles.for_model(root, names, model)
    return global_descriptors(model, images, torch.device("cpu"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_shortlist_by_descriptors_is_the_teachers_own(tiny_tree, distilled_run, teacher_run, tmp_path, layout):
    protocols = Protocol(), Protocol(task="seq2seq", seq_length=3)
    files = [load(tiny_tree, protocol).retrieval_set.image_files() for protocol in protocols]
    names = np.unique(np.concatenate(files)).tolist()
    path = layout(tmp_path, names, described(teacher_run, tiny_tree, names))
    here, there = (
        evaluate(tiny_tree, distilled_run, tmp_path, "--rerank", "--shortlist", shortlist)
        for shortlist in ("teacher", path)
    )
    assert there["results"] == here["results"] and there["fusion"].keys() == here["fusion"].keys()
    for name, value in here["fusion"].items():  # cosines by other code
        assert there["fusion"][name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)
    sequences = ["--task", "seq2seq", "--seq-length", "3", "--rerank"]
    here, there = (
        evaluate(tiny_tree, distilled_run, tmp_path, *sequences, "--shortlist", shortlist)
        for shortlist in ("teacher", path)
    )
    assert there["results"] == here["results"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_student_taught_by_descriptors_is_the_one_that_the_model_taught(
    tiny_tree, distilled_run, teacher_run, tmp_path, layout
):
    names = training_photos(tiny_tree, (), ("amsterdam",))[0].paths.tolist()
    path, out = layout(tmp_path, names, described(teacher_run, tiny_tree, names)), tmp_path / "run"
    arguments = ["--data", tiny_tree, "--teacher", path, "--out", out, "--grid", "3", *SMALL]
    assert distill.main([str(argument) for argument in arguments]) == 0
    assert (out / "model.safetensors").read_bytes() == (distilled_run / "model.safetensors").read_bytes()
    assert not (out / "teacher").exists()


def test_what_is_missing_is_said_before_the_work(tiny_tree, distilled_run, tmp_path, capsys):
    names = training_photos(tiny_tree, (), ("amsterdam",))[0].paths.tolist()
    rng = np.random.default_rng(0)
    path = as_hloc(tmp_path, names[1:], rng.standard_normal((len(names) - 1, 16)))
    options = ["--data", tiny_tree, "--teacher", path, "--out", tmp_path / "run", "--grid", "3", *SMALL]
    assert f"lacks 1 of {len(names)} images, the first is {names[0]}" in refused(capsys, distill.main, *options)
    assert not (tmp_path / "run" / "config.json").exists()
    usual = ["--data", tiny_tree, "--run", distilled_run, "--device", "cpu"]
    assert "lacks" in refused(capsys, msls.main, *usual, "--shortlist", path)
    short = as_numpy(tmp_path, names, rng.standard_normal((len(names), 9)))
    assert "have 9 dimensions, the student's 16" in refused(capsys, distill.main, *options, "--teacher", short)
