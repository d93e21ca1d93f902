"""Models from run folders: the same weights come back, and wrong folders are errors with a remedy."""

import dataclasses
import json

import pytest
import torch

from vpr.base import run_folder
from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.description.model_spec import cache_spec
from vpr.models import loading
from vpr.models.netvlad import NetVLAD
from vpr.models.settings import ModelConfig, TeacherConfig
from vpr.models.structural import StructuralModel
from vpr.models.weights import save_weights

CPU = torch.device("cpu")


def finished_student(out):
    torch.manual_seed(0)
    model = StructuralModel(ModelConfig(dim=8, grid=2, image_size=32)).eval()
    run_folder.start_run(out, {"command": "vpr.scratch", "model": dataclasses.asdict(model.config)}, overwrite=False)
    run_folder.finish_run(out, lambda path: save_weights(model, path), {})
    return model


def test_missing_and_unfinished_runs_are_named_with_the_command(tmp_path):
    missing = str(tmp_path / "nowhere")
    for load, command in ((loading.load_student, "vpr.distill"), (loading.load_teacher, "vpr.teacher")):
        with pytest.raises(VprError, match="no run at") as error:
            load(tmp_path / "nowhere", CPU)
        assert error.value.thing == missing and f"python -m {command} --out {missing}" in error.value.remedy
    finished_student(tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(VprError, match="not finished") as error:
        loading.load_student(tmp_path / "run", CPU)
    assert error.value.thing == str(tmp_path / "run") and "run the command that made it again" in error.value.remedy


def test_a_student_returns_as_it_was(tmp_path):
    model = finished_student(tmp_path / "run")
    loaded = loading.load_student(tmp_path / "run", CPU)
    assert not loaded.training and cache_spec(loaded) == cache_spec(model)
    with pytest.raises(VprError, match="has no teacher") as error:
        loading.load_teacher(tmp_path / "run", CPU)
    assert error.value.remedy.startswith("pass a vpr.teacher run")


def test_a_teacher_is_found_inside_a_run_and_is_no_student(tmp_path):
    model = NetVLAD(TeacherConfig(clusters=2, dim=4, image_height=32, image_width=32)).eval()
    model.whitened = True
    loading.save_teacher(model, tmp_path / "run" / "teacher")
    for source in (tmp_path / "run", tmp_path / "run" / "teacher"):
        loaded = loading.load_teacher(source, CPU)
        assert loaded.whitened and cache_spec(loaded) == cache_spec(model)
    with pytest.raises(VprError, match="not a structural model"):
        loading.load_student(tmp_path / "run" / "teacher", CPU)


def test_a_run_of_another_version_is_refused(tmp_path):
    finished_student(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["run"]["model"]["colour"] = "blue"
    write_json(tmp_path / "run" / "config.json", config)
    with pytest.raises(VprError, match="of another version .*colour"):
        loading.load_student(tmp_path / "run", CPU)
