"""The wheel: one top-level package, which works from any folder beside packages of the names of our rooms."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vpr
from vpr.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder like site-packages, with the wheel and with a package ``datasets`` of somebody else."""
    folder = tmp_path_factory.mktemp("wheel")
    source, site = folder / "source", folder / "site"
    left = shutil.ignore_patterns(
        ".*", "runs", "build", "*.egg-info", "__pycache__", "tests", "docs", "benchmarks", "tools"
    )
    shutil.copytree(ROOT, source, ignore=left, symlinks=True)
    built = subprocess.run([sys.executable, "-c", BUILD, folder], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    (site / "datasets").mkdir()
    (site / "datasets" / "__init__.py").write_text("theirs = True\n")
    return site


def python(site, *arguments):
    """Run Python in a folder that holds nothing, with these packages in front."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=site.parent, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_wheel_installs_one_package(installed):
    names = {path.name for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"vpr", "datasets"}
    for name in (
        "py.typed",
        "eval/report/templates/report.css",
        "weights/builtin/config.json",
        "recipes/student/lite.yaml",
    ):
        assert (installed / "vpr" / name).is_file()


@pytest.mark.slow
def test_it_works_beside_a_package_of_the_name_of_a_room(installed):
    code = "import datasets, vpr, vpr.datasets.msls; print(datasets.theirs, vpr.__file__)"
    done = python(installed, "-c", code)
    assert done.stdout.split() == ["True", str(installed / "vpr" / "__init__.py")], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [["-m", "vpr", "eval", "msls"], ["-m", "vpr.eval.msls"]])
def test_commands_run_from_the_wheel_and_are_named_as_they_were_called(installed, words):
    done = python(installed, *words, "--depth", "0")
    assert (done.returncode, done.stderr) == (
        2,
        f"python {' '.join(words)}: error: --depth: 0 is out of range, give a value > 0\n",
    )


def test_every_command_is_a_subcommand(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    for name, (module, meaning) in COMMANDS.items():
        assert f"  {name} " in listed and meaning in listed
        assert (ROOT / "vpr" / Path(*module.split(".")[1:])).with_suffix(".py").is_file()


def test_a_command_gets_the_words_after_its_name(capsys):
    assert main(["eval", "msls", "--depth", "0"]) == 2
    assert "--depth: 0 is out of range" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--help"], ["eval"], ["eval", "-h"]])
def test_help_lists_the_commands(words, capsys):
    assert main(words) == 0
    listed = capsys.readouterr().out
    assert "eval msls" in listed and ("locate" in listed) == (words[:1] != ["eval"])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["evl", "msls", "--rerank"], "did you mean 'eval msls'?"),
        (["Locate", "MAP"], "did you mean 'locate'?"),
        (["eval", "maps"], "give one of eval msls, eval places, eval compare, "),
        (["--rerank"], "--help lists the commands"),
    ],
)
def test_words_that_name_no_command_are_refused_with_a_hint(words, hint, capsys):
    assert main(words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "there is no command" in line and hint in line


def test_the_version(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"vpr {vpr.__version__}\n"
