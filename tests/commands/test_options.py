"""What every command's options promise."""

import dataclasses
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from commands import MODULES, module_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", MODULES)
def test_help_names_the_options_and_their_defaults(command, capsys):
    assert module_of(command).main(["--help"]) == 0
    text = capsys.readouterr().out
    assert f"python -m {command}" in text and "default: " in text and "--config FILE.yaml" in text
    assert "--no-" not in text.replace("--no-adapt", "") and " STR" not in text and "None" not in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("command", MODULES)
def test_a_printed_config_is_a_recipe(command, tmp_path, capsys):
    main, recipe = module_of(command).main, tmp_path / "recipe.yaml"
    needed = {"vpr.extract": ["--cache", "a.h5"], "eval.compare": ["runs/a"], "eval.submission": ["a.csv"]}
    assert main([*needed.get(command, []), "--print-config"]) == 0
    printed = capsys.readouterr().out
    recipe.write_text(printed)
    places = needed[command] if command.startswith("eval") and command in needed else []
    assert main([*places, "--config", str(recipe), "--print-config"]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("command", ["eval.msls", "vpr.distill"])
def test_commands_run_as_modules(command, tmp_path):
    arguments = [sys.executable, "-m", command, "--data", str(tmp_path / "nowhere")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"python -m {command}: error: ") and "nowhere" in done.stderr


PLACES = {
    "vpr.extract": ["--cache", "a.h5"], "eval.compare": ["a"], "eval.submission": ["a.csv"], "vpr.match": ["a", "b"],
    "datasets.photo_views": ["--photos", "a", "--out", "b"],
    "vpr.map": ["map", "info"], "vpr.locate": ["map", "a.jpg"], "vpr.serve": ["map"],
}  # fmt: skip


@pytest.mark.parametrize("value", ["null", "[null]", "{}", ".nan", "'no'"])
@pytest.mark.parametrize("command", MODULES)
def test_a_file_of_options_gives_every_option_a_value_of_its_type(command, value, tmp_path, capsys, monkeypatch):
    """A value is refused by a line that names the option, or the option gets a value of its type."""
    given, main, path = list[list](), module_of(command).main, tmp_path / "options.yaml"

    def keep(work, filled, *others):
        given.append(filled)
        return 0

    monkeypatch.setattr("vpr.base.command.carry_out", keep)
    assert main(PLACES.get(command, [])) == 0
    names = [field.name for stage in given[0] for field in dataclasses.fields(stage) if "help" in field.metadata]
    assert len(names) >= 2
    for name in names:
        given.clear()
        path.write_text(f"{name}: {value}\n")
        code, line = main([*PLACES.get(command, []), "--config", str(path)]), capsys.readouterr().err
        if code:
            assert code == 2 and line.count("\n") == 1 and "Parser key" not in line and "Not of type" not in line
            continue
        for stage in given[0]:
            hints = typing.get_type_hints(type(stage))
            for field in dataclasses.fields(stage):
                found, hint = getattr(stage, field.name), hints[field.name]
                assert found is not None or type(None) in typing.get_args(hint), (name, field.name)
                assert isinstance(found, bool) or hint is not bool, (name, found)
                assert found == found and not (isinstance(found, tuple) and None in found), (name, found)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_discarded(closed, tmp_path):
    (tmp_path / "a.csv").write_text("a b\n")
    for arguments, code in ((["--help"], 0), ([str(tmp_path / "a.csv"), "--data", str(tmp_path)], 1)):
        words = [sys.executable, "-m", "eval.submission", *arguments]
        done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == code and "Traceback" not in done.stderr
