"""What every command shares: exit codes, one-line errors, logs."""

import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from vpr.base.command import log_to, run_command
from vpr.base.errors import VprError
from vpr.base.settings import option

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Stage:
    """A stage."""

    name: str = option("", "what it is called")


def run(work, *argv):
    return run_command("x", "Does x.", [Stage], work, list(argv))


def raising(error):
    def work(stage):
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (VprError("two\n  lines"), 1, "python -m x: error: two lines"),
        (
            FileNotFoundError(2, "gone", "a.csv"),
            1,
            "python -m x: error: a.csv: gone; check the path and its permissions",
        ),
        (KeyboardInterrupt(), 130, "python -m x: interrupted; the same command continues from here"),
    ],
)
def test_errors_are_one_line(capsys, error, code, line):
    assert run(raising(error)) == code
    assert capsys.readouterr().err == line + "\n"


def test_a_path_is_printed_whole_however_long_it_is(capsys):
    """A temporary folder may have a long name; the photo that is damaged stands at its end."""
    deep = "/tmp/" + "/".join(["folder"] * 40) + "/photo.jpg"
    run(raising(VprError(f"{deep} cannot be decoded ({'x' * 200}); restore it")))
    line = capsys.readouterr().err
    assert f"error: {deep} cannot be decoded (" in line and line.endswith("; restore it\n")
    run(raising(VprError(f"{'a ' * 200}{deep}{' b' * 200}; restore it")))
    line = capsys.readouterr().err
    assert f" {deep} " in line and line.endswith("; restore it\n") and len(line) < len(deep) + 310


def test_the_exit_code_of_bad_options_and_of_help(capsys):
    assert run(raising(VprError("a")), "--size", "3") == 2
    assert capsys.readouterr().err == "python -m x: error: unrecognized arguments: --size 3\n"
    assert run(raising(VprError("a")), "--help") == 0 and "what it is called" in capsys.readouterr().out
    assert run(lambda stage: None) == 0 and run(lambda stage: 1) == 1


def test_debug_and_the_unexpected_show_the_traceback():
    with pytest.raises(VprError):
        run(raising(VprError("a")), "--debug")
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


def test_a_log_ends_with_its_command(tmp_path):
    def work(stage):
        log_to(tmp_path / stage.name)
        logging.getLogger("vpr").info("this is %s", stage.name)

    for name in ("first", "second"):
        assert run(work, "--name", name) == 0
    for name in ("first", "second"):
        lines = (tmp_path / name / "log.txt").read_text().splitlines()
        assert len(lines) == 1 and lines[0].endswith(f"this is {name}")


def test_a_command_logs_to_stderr_and_to_its_run(tmp_path):
    code = (
        "import logging, sys; from pathlib import Path; from vpr.base.command import *\n"
        "def work(): log_to(Path(sys.argv[1])); logging.getLogger('vpr').info('hello')\n"
        "sys.exit(run_command('x', 'X.', [], work, []))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "hello\n")
    assert (tmp_path / "log.txt").read_text().endswith(" hello\n")
