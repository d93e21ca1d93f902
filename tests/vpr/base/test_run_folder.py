"""Run folders: refused, complete and interrupted runs."""

import json
import subprocess
from importlib.metadata import version

import pytest
import torch

from vpr.base import run_folder
from vpr.base.errors import VprError
from vpr.models.weights import save_weights

CONFIG = {"command": "x", "train": {"steps": 5, "seed": 0}, "cities": ("a", "b")}


def finish(out, model, metrics):
    run_folder.finish_run(out, lambda path: save_weights(model, path), metrics)


def finished(out, config=CONFIG):
    """A complete run of a very small network."""
    run_folder.start_run(out, config, overwrite=False)
    finish(out, torch.nn.Linear(2, 1), {"recall": 1.0})
    return out


def test_a_run_is_started_then_gone_on_with_then_complete(tmp_path):
    out = tmp_path / "deep" / "run"
    assert not run_folder.start_run(out, CONFIG, overwrite=False)
    (out / "checkpoint.pt").touch()
    assert not run_folder.start_run(out, CONFIG, overwrite=False) and (out / "checkpoint.pt").exists()
    finish(out, torch.nn.Linear(2, 1), {"recall": 1.0})
    assert run_folder.start_run(out, CONFIG, overwrite=False)
    assert run_folder.read_metrics(out) == {"recall": 1.0}
    recorded = json.loads((out / "config.json").read_text())
    assert recorded["run"] == run_folder.read_config(out) == json.loads(json.dumps(CONFIG))
    assert recorded["revision"] and recorded["versions"]["torch"] == version("torch")


@pytest.mark.parametrize("lost", ["model.safetensors", "metrics.json"])
def test_a_run_without_weights_or_metrics_is_not_complete(tmp_path, lost):
    out = finished(tmp_path / "run")
    (out / lost).unlink()
    assert not run_folder.start_run(out, CONFIG, overwrite=False)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({**CONFIG, "train": {"steps": 6, "seed": 0}}, r"\(train.steps\)"),
        ({**CONFIG, "train": {"steps": 6, "seed": 1}, "cities": ("a",)}, r"\(cities, train.seed, train.steps\)"),
        ({**CONFIG, "new": None}, r"\(new\)"),
        ({**CONFIG, "train": None}, r"\(train\)"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, changed, named):
    out = finished(tmp_path / "run")
    with pytest.raises(VprError, match=f"run with other settings {named}") as error:
        run_folder.start_run(out, changed, overwrite=False)
    assert (error.value.thing, error.value.remedy) == (str(out), "pass --overwrite or another --out")
    assert run_folder.start_run(out, CONFIG, overwrite=False)


def test_overwrite_starts_over_but_goes_on_with_what_was_interrupted(tmp_path):
    out = finished(tmp_path / "run")
    assert not run_folder.start_run(out, CONFIG, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["config.json"]
    (out / "checkpoint.pt").touch()
    assert not run_folder.start_run(out, CONFIG, overwrite=True) and (out / "checkpoint.pt").exists()
    assert not run_folder.start_run(out, {**CONFIG, "command": "y"}, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["config.json"]
    assert run_folder.read_config(out)["command"] == "y"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [("thesis.tex", "mine"), ("config.json", "{}"), ("config.json", "[1"), ("config.json", '{"run": 3}')],
)
def test_folders_that_are_no_runs_are_left_alone(tmp_path, name, content, overwrite):
    (tmp_path / name).write_text(content)
    with pytest.raises(VprError) as error:
        run_folder.start_run(tmp_path, CONFIG, overwrite)
    assert "pass another" in error.value.remedy
    assert (tmp_path / name).read_text() == content and len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_start_left_behind_does_not_count(tmp_path):
    (tmp_path / ".config.json.123.tmp").touch()
    assert not run_folder.start_run(tmp_path, CONFIG, overwrite=False)


def test_the_revision_is_not_that_of_a_checkout_around_an_installed_copy(tmp_path, monkeypatch):
    someone = ["-c", "user.name=a", "-c", "user.email=a"]
    for command in (["init", "-q"], [*someone, "commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(run_folder, "ROOT", tmp_path / "site-packages")
    assert run_folder.revision().startswith(("vpr ", "unknown"))
    monkeypatch.setattr(run_folder, "ROOT", tmp_path)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout
    assert head.startswith(run_folder.revision())
