"""The parts that all commands share: parsing, one-line errors, exit codes, the log of a run folder."""

import contextlib
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vpr.base.errors import VprError
from vpr.base.interrupt import INTERRUPTED, MISUSED, interrupt_message
from vpr.base.machine import shorten_busy_waiting
from vpr.base.outputs import check_outputs
from vpr.base.progress import log_heartbeat
from vpr.base.recipes import DEFAULT_RECIPE, PLAIN_RECIPE, apply_recipe, recipes
from vpr.base.settings import CommandLine, make_parser, parse

FAILED, INCOMPLETE = 1, 3  # exit codes; 3: answered, but only part of the map was searched
FIRST_MARK = 0xE000  # a character that no text has, which stands for a path
LONGEST_LINE = 300  # characters of an error message, of which a path counts as one
PATH = re.compile(r"[^\s'\"(]*/[^\s'\")]{0,1000}")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run_command(
    command: str,
    description: str,
    stages: Sequence[Any],
    work: Callable[..., int | None],
    argv: list[str] | None,
    recipe_folder: str = "",
    parallel: bool = False,
    serves: bool = False,
) -> int:
    """Parse the options of the stages, call ``work`` with the filled stages, and return the exit code.

    stages: dataclasses, or instances whose values are this command's defaults. work: may return an exit code. If it
    raises VprError, the message is printed as one line. recipe_folder: the folder of the command's recipes; if it is
    empty, there is no option ``--recipe``. parallel: whether torchrun may start several processes. serves: whether the
    command is a service, which may log nothing for a long time.

    Exit codes: 0 for success, 1 for VprError and OSError, 2 for bad options, 3 for an incomplete answer, 130 for
    Ctrl-C. Unexpected errors print their traceback, and ``--debug`` does so for all.
    """
    names = ", ".join(recipes(recipe_folder)) if recipe_folder else ""
    choices = f"{names} (default: {DEFAULT_RECIPE}, or {PLAIN_RECIPE} if --backbone is given)"
    epilog = f"--recipe NAME starts from the options of a built-in recipe: {choices}" if names else ""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):  # file names may contain bytes that are not valid text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = make_parser(command, description, stages, epilog)
    arguments = sys.argv[1:] if argv is None else argv
    try:
        given = parse(parser, apply_recipe(parser, arguments, recipe_folder) if names else arguments, stages)
    except ValueError as error:
        return _print_error(parser.prog, error, MISUSED)
    except SystemExit as end:  # --help and --print-config
        return int(end.code or 0)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("vpr").setLevel(logging.INFO)
    with contextlib.nullcontext() if serves else log_heartbeat():
        return carry_out(partial(_check_and_work, work, given), given.stages, parser.prog, given.debug, parallel)


def _open_closed_streams() -> None:
    """Discard what is printed if the caller closed stdout or stderr; Python then has None in their place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  for the rest of the process


def _check_and_work(work: Callable[..., int | None], given: CommandLine, *filled: Any) -> int | None:
    """Check the outputs, then work."""
    check_outputs(filled, given.configs)
    return work(*filled)


def carry_out(work: Callable[..., int | None], filled: Sequence[Any], prog: str, debug: bool, parallel: bool) -> int:
    """Call ``work`` with the filled stages; exit code and error messages as in `run_command`.

    `vpr.base.interrupt` finds this function on the stack by its name.
    """
    try:
        with close_log_files():
            if not parallel:
                _refuse_torchrun()
            shorten_busy_waiting()
            return work(*filled) or 0
    except KeyboardInterrupt:
        print(interrupt_message(prog), file=sys.stderr)
        return INTERRUPTED
    except (VprError, OSError) as error:
        if debug:
            raise
        return _print_error(prog, error, FAILED)


def _refuse_torchrun() -> None:
    """Raise VprError if torchrun started several processes, which would all write the same files."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in os.environ and processes != "1":
        raise VprError(f"torchrun started {processes} processes, and one is supported; start it with python -m")


def _print_error(prog: str, error: Exception, code: int) -> int:
    """Print the error as one line of at most `LONGEST_LINE` characters, and return the code."""
    message = str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        path = error.filename or "the output file"
        message = f"no space is left for {path} ({error.strerror}); free some space and run the same command again"
    elif isinstance(error, OSError) and error.filename is not None:
        message = f"{os.fsdecode(error.filename)}: {str(error.strerror).lower()}; check the path and its permissions"
    message = " ".join(printable(message).split())
    message = shorten(message, LONGEST_LINE - len(f"{prog}: error: "))
    print(f"{prog}: error: {message}", file=sys.stderr)
    return code


def shorten(text: str, length: int) -> str:
    """Text without its middle if it is longer than ``length``: its beginning names the problem, its end the remedy.

    Paths count as one character and are never cut, whether short or long.

    >>> shorten("/a/b/photo.jpg cannot be read (" + 50 * "x" + "); restore it", 36)
    '/a/b/photo.jpg cannot be rea ... xx); restore it'
    """
    paths = PATH.findall(text)
    marks = [chr(FIRST_MARK + number) for number in range(len(paths))]
    for path, mark in zip(paths, marks):
        text = text.replace(path, mark, 1)
    if len(text) > length:
        half = max(1, length // 2 - 3)
        middle = " ".join(["", *(mark for mark in text[half:-half] if mark in marks), ""])
        text = f"{text[:half]} ...{middle}{'... ' if middle.strip() else ''}{text[-half:]}"
    for path, mark in zip(paths, marks):
        text = text.replace(mark, path, 1)
    return " ".join(text.split())


def printable(text: str) -> str:
    r"""Text with its control characters escaped, so that a file name cannot control the terminal.

    >>> printable("a" + chr(27) + "b") == r"a\x1bb"
    True
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    r"""`printable` text on one line: line breaks are escaped too.

    >>> print(one_line("a" + chr(10) + "b"))
    a\nb
    """
    return printable(text).replace("\n", r"\n")


class _Formatter(logging.Formatter):
    """Log lines as `printable` text."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _LogFile(logging.FileHandler):
    """The log file of a run folder. If a write fails, the log ends and the work continues."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Close the log; logging calls this when a write fails."""
        logging.getLogger().removeHandler(self)
        logging.getLogger("vpr").warning("%s can no longer be written; the log ends here", self.baseFilename)


def log_to(folder: Path) -> None:
    """Also append the log to ``folder/log.txt`` until the command ends; warn if that file cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(folder / "log.txt", encoding="utf-8")
    except OSError as error:
        logging.getLogger("vpr").warning("no log in %s (%s)", folder, error.strerror)
        return
    handler.setFormatter(_Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)


@contextlib.contextmanager
def close_log_files() -> Iterator[None]:
    """Close log files that the block opened, so that the next command of this process does not write to them."""
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        yield
    finally:
        for handler in [handler for handler in root.handlers if isinstance(handler, _LogFile)]:
            if handler not in before:
                root.removeHandler(handler)
                handler.close()
