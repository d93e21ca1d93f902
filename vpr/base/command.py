"""What every command shares: parse, work, one-line errors, the log of a run folder."""

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vpr.base.errors import VprError
from vpr.base.interrupt import INTERRUPTED, MISUSED, interrupted
from vpr.base.machine import wait_briefly
from vpr.base.progress import no_long_silence
from vpr.base.recipes import DEFAULT_RECIPE, PLAIN_RECIPE, recipes, take_recipe
from vpr.base.settings import make_parser, parse

FAILED, INCOMPLETE = 1, 3  # exit codes; the last: answered, but only part of the map was searched
LONGEST_LINE = 300  # characters of an error
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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

    stages: dataclasses, or instances of them whose values are this command's defaults. work: raises VprError for input
    that the user can mend; its message is printed as one line. It may return the exit code. Codes: 0 for success, 1 for
    such an error, 2 for bad options, 130 for Ctrl-C. ``--debug``, and errors nobody expected, show the
    traceback. recipe_folder: where the command's recipes lie; without it ``--recipe`` is no option. parallel:
    whether torchrun may start several processes. serves: whether it answers others until it is stopped, so that silence
    means nothing.
    """
    names = ", ".join(recipes(recipe_folder)) if recipe_folder else ""
    which = f"{names} (default: {DEFAULT_RECIPE}, or {PLAIN_RECIPE} where --backbone is given)"
    epilog = f"--recipe NAME starts from the options of a recipe in the box: {which}" if names else ""
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what is no text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = make_parser(command, description, stages, epilog)
    arguments = sys.argv[1:] if argv is None else argv
    try:
        debug, filled = parse(parser, take_recipe(parser, arguments, recipe_folder) if names else arguments, stages)
    except ValueError as error:
        return _complain(parser.prog, error, MISUSED)
    except SystemExit as end:  # --help and --print-config
        return int(end.code or 0)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("vpr").setLevel(logging.INFO)
    with contextlib.nullcontext() if serves else no_long_silence():
        return carry_out(work, filled, parser.prog, debug, parallel)


def carry_out(work: Callable[..., int | None], filled: Sequence[Any], prog: str, debug: bool, parallel: bool) -> int:
    """Do a command's work on its filled stages; the exit code, and what is said of errors, as `run_command` has it."""
    try:
        with _log_files_closed():
            if not parallel:
                _refuse_torchrun()
            wait_briefly()
            return work(*filled) or 0
    except KeyboardInterrupt:
        print(interrupted(prog), file=sys.stderr)
        return INTERRUPTED
    except (VprError, OSError) as error:
        if debug:
            raise
        return _complain(prog, error, FAILED)


def _refuse_torchrun() -> None:
    """Raise VprError where torchrun started several processes, which would all write the same files."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in os.environ and processes != "1":
        raise VprError(f"torchrun started {processes} processes, and one is supported; start it with python -m")


def _complain(prog: str, error: Exception, code: int) -> int:
    """Print the error as one line of at most `LONGEST_LINE` characters, and return the code."""
    said = str(error)
    if isinstance(error, OSError) and error.errno in FULL:
        where = error.filename or "the file that was being written"
        said = f"no space is left for {where} ({error.strerror}); make room and give the same command again"
    elif isinstance(error, OSError) and error.filename is not None:
        said = f"{os.fsdecode(error.filename)}: {str(error.strerror).lower()}; check the path and its permissions"
    said = " ".join(printable(said).split())
    room = LONGEST_LINE - len(f"{prog}: error: ")
    if len(said) > room:  # the beginning names the thing, the end the remedy
        said = f"{said[: room // 2 - 3]} ... {said[-(room // 2 - 3) :]}"
    print(f"{prog}: error: {said}", file=sys.stderr)
    return code


def printable(text: str) -> str:
    r"""Text from a file as it may be printed: control characters are escaped, so that they steer no terminal.

    >>> printable("a" + chr(27) + "b") == r"a\x1bb"
    True
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    r"""`printable`, of text that is to stay one line.

    >>> print(one_line("a" + chr(10) + "b"))
    a\nb
    """
    return printable(text).replace("\n", r"\n")


class _Formatter(logging.Formatter):
    """Lines that may be printed."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _LogFile(logging.FileHandler):
    """A run folder's log; when it cannot be written any more, the work goes on without it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by logging inside the handling of the error."""
        logging.getLogger().removeHandler(self)
        logging.getLogger("vpr").warning("%s cannot be written any more; the log ends here", self.baseFilename)


def log_to(folder: Path) -> None:
    """From here to the end of the command, append the log to ``folder/log.txt`` too, where that can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(folder / "log.txt", encoding="utf-8")
    except OSError as error:
        logging.getLogger("vpr").warning("no log in %s (%s)", folder, error.strerror)
        return
    handler.setFormatter(_Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)


@contextlib.contextmanager
def _log_files_closed() -> Iterator[None]:
    """Close the logs that were opened inside, so that the next command of this process does not write to them."""
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        yield
    finally:
        for handler in [handler for handler in root.handlers if isinstance(handler, _LogFile)]:
            if handler not in before:
                root.removeHandler(handler)
                handler.close()
