"""Run folders: what is refused, what is complete, what goes on; and what every command shares."""

import argparse
import dataclasses
import json
import logging
import subprocess
import sys
from importlib.metadata import version
from typing import Literal

import pytest
import torch

from vpr import runs
from vpr.command import fill, log_to, make_parser, option, run
from vpr.errors import VprError
from vpr.files import replacing, write_json
from vpr.models.netvlad import NetVLAD, TeacherConfig
from vpr.models.structural import ModelConfig, StructuralModel

CPU = torch.device("cpu")
CONFIG = {"command": "x", "train": {"steps": 5, "seed": 0}, "cities": ("a", "b")}


def finished(out, config=CONFIG):
    """A complete run of a very small network."""
    runs.start_run(out, config, overwrite=False)
    runs.finish_run(out, torch.nn.Linear(2, 1), {"recall": 1.0})
    return out


def finished_student(out):
    torch.manual_seed(0)
    model = StructuralModel(ModelConfig(dim=8, grid=2, image_size=32)).eval()
    runs.start_run(out, {"command": "vpr.scratch", "model": dataclasses.asdict(model.config)}, overwrite=False)
    runs.finish_run(out, model, {})
    return model


def test_a_run_is_started_then_gone_on_with_then_complete(tmp_path):
    out = tmp_path / "deep" / "run"
    assert not runs.start_run(out, CONFIG, overwrite=False)
    (out / "checkpoint.pt").touch()
    assert not runs.start_run(out, CONFIG, overwrite=False) and (out / "checkpoint.pt").exists()
    runs.finish_run(out, torch.nn.Linear(2, 1), {"recall": 1.0})
    assert runs.start_run(out, CONFIG, overwrite=False)
    assert runs.read_metrics(out) == {"recall": 1.0}
    recorded = json.loads((out / "config.json").read_text())
    assert recorded["run"] == runs.read_config(out) == json.loads(json.dumps(CONFIG))
    assert recorded["revision"] and recorded["versions"]["torch"] == version("torch")


@pytest.mark.parametrize("lost", ["model.safetensors", "metrics.json"])
def test_a_run_without_weights_or_metrics_is_not_complete(tmp_path, lost):
    out = finished(tmp_path / "run")
    (out / lost).unlink()
    assert not runs.start_run(out, CONFIG, overwrite=False)


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
    with pytest.raises(VprError, match=f"run with other settings {named}; pass --overwrite or another --out"):
        runs.start_run(out, changed, overwrite=False)
    assert runs.start_run(out, CONFIG, overwrite=False)


def test_overwrite_starts_over_but_goes_on_with_what_was_interrupted(tmp_path):
    out = finished(tmp_path / "run")
    assert not runs.start_run(out, CONFIG, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["config.json"]
    (out / "checkpoint.pt").touch()
    assert not runs.start_run(out, CONFIG, overwrite=True) and (out / "checkpoint.pt").exists()
    assert not runs.start_run(out, {**CONFIG, "command": "y"}, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["config.json"]
    assert runs.read_config(out)["command"] == "y"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [("thesis.tex", "mine"), ("config.json", "{}"), ("config.json", "[1"), ("config.json", '{"run": 3}')],
)
def test_folders_that_are_no_runs_are_left_alone(tmp_path, name, content, overwrite):
    (tmp_path / name).write_text(content)
    with pytest.raises(VprError, match="pass another"):
        runs.start_run(tmp_path, CONFIG, overwrite)
    assert (tmp_path / name).read_text() == content and len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_start_left_behind_does_not_count(tmp_path):
    (tmp_path / ".config.json.123.tmp").touch()
    assert not runs.start_run(tmp_path, CONFIG, overwrite=False)


def test_missing_and_unfinished_runs_are_named_with_the_command(tmp_path):
    with pytest.raises(VprError, match="no run at .*nowhere; make it with: python -m vpr.distill --out .*nowhere"):
        runs.load_student(tmp_path / "nowhere", CPU)
    with pytest.raises(VprError, match="python -m vpr.teacher --out .*nowhere"):
        runs.load_teacher(tmp_path / "nowhere", CPU)
    with pytest.raises(VprError, match="no weights are shipped"):
        runs.load_student(runs.Path("builtin"), CPU)
    finished_student(tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(VprError, match="not finished; give the command that made it again"):
        runs.load_student(tmp_path / "run", CPU)


def test_a_student_returns_as_it_was(tmp_path):
    model = finished_student(tmp_path / "run")
    loaded = runs.load_student(tmp_path / "run", CPU)
    assert not loaded.training and runs.cache_spec(loaded) == runs.cache_spec(model)
    with pytest.raises(VprError, match="has no teacher; pass a vpr.teacher run"):
        runs.load_teacher(tmp_path / "run", CPU)


def test_a_teacher_is_found_inside_a_run_and_is_no_student(tmp_path):
    model = NetVLAD(TeacherConfig(clusters=2, dim=4, image_height=32, image_width=32)).eval()
    model.whitened = True
    runs.save_teacher(model, tmp_path / "run" / "teacher")
    for source in (tmp_path / "run", tmp_path / "run" / "teacher"):
        loaded = runs.load_teacher(source, CPU)
        assert loaded.whitened and runs.cache_spec(loaded) == runs.cache_spec(model)
    with pytest.raises(VprError, match="not a structural model"):
        runs.load_student(tmp_path / "run" / "teacher", CPU)


def test_a_run_of_another_version_is_refused(tmp_path):
    finished_student(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["run"]["model"]["colour"] = "blue"
    write_json(tmp_path / "run" / "config.json", config)
    with pytest.raises(VprError, match="made by another version .*colour"):
        runs.load_student(tmp_path / "run", CPU)


def test_the_revision_is_not_that_of_a_checkout_around_an_installed_copy(tmp_path, monkeypatch):
    someone = ["-c", "user.name=a", "-c", "user.email=a"]
    for command in (["init", "-q"], [*someone, "commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "site-packages" / "vpr" / "runs.py"))
    assert runs.revision().startswith(("vpr ", "unknown"))
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "vpr" / "runs.py"))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True).stdout
    assert head.startswith(runs.revision())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        1 / 0
    with pytest.raises(TypeError):
        write_json(path, object())
    assert json.loads(path.read_text()) == {"a": 1} and len(list(path.parent.iterdir())) == 1


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage."""

    size: int = option(3, "how large, 100 % or more")
    name: str = option("", "what it is called")
    cities: tuple[str, ...] = option((), "where")
    fast: bool = option(False, "quickly")
    kind: Literal["a", "b"] = option("a", "which")
    inner: float = 0.5  # not an option


def test_options_are_read_from_the_dataclass_and_fill_it():
    parser = make_parser("x", "Does x.", Stage)
    assert fill(Stage, parser.parse_args([])) == Stage()
    arguments = parser.parse_args(["--size", "4", "--cities", "a, b,", "--fast", "--kind", "b"])
    assert fill(Stage, arguments) == Stage(4, "", ("a", "b"), True, "b")
    text = parser.format_help()
    assert "how large, 100 % or more (default: 3)" in text and "what it is called\n" in text and "--inner" not in text
    for wrong in (["--kind", "c"], ["--size", "x"], ["--inner", "1"]):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args(wrong)
        assert caught.value.code == 2


def raising(error):
    def work(arguments: argparse.Namespace) -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (VprError("two\n  lines"), 1, "python -m x: error: two lines"),
        (FileNotFoundError(2, "gone", "a.csv"), 1, "python -m x: error: [Errno 2] gone: 'a.csv'"),
        (LookupError("expected"), 1, "python -m x: error: expected"),
        (KeyboardInterrupt(), 130, "python -m x: interrupted; the same command goes on from here"),
    ],
)
def test_errors_are_one_line(capsys, error, code, line):
    parser = make_parser("x", "Does x.")
    assert run(raising(error), parser, [], (LookupError,)) == code
    assert capsys.readouterr().err == line + "\n"


def test_debug_and_the_unexpected_show_the_traceback():
    parser = make_parser("x", "Does x.")
    with pytest.raises(VprError):
        run(raising(VprError("a")), parser, ["--debug"])
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()), parser, [])


def test_a_log_ends_with_its_command(tmp_path):
    logger = logging.getLogger("vpr")

    def work(arguments: argparse.Namespace) -> int:
        log_to(tmp_path / arguments.name)
        logger.info("this is %s", arguments.name)
        return 0

    for name in ("first", "second"):
        assert run(work, make_parser("x", "Does x.", Stage), ["--name", name]) == 0
    for name in ("first", "second"):
        lines = (tmp_path / name / "log.txt").read_text().splitlines()
        assert len(lines) == 1 and lines[0].endswith(f"this is {name}")


def test_a_command_logs_to_stderr_and_to_its_run(tmp_path):
    code = (
        "import logging, sys; from pathlib import Path; from vpr.command import *\n"
        "def work(_): log_to(Path(sys.argv[1])); logging.getLogger('vpr').info('hello'); return 0\n"
        "sys.exit(run(work, make_parser('x', 'X.'), []))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == "hello\n" and done.stdout == ""
    assert (tmp_path / "log.txt").read_text().endswith(" hello\n")
