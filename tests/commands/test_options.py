"""What every command's options promise."""

import subprocess
import sys
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
