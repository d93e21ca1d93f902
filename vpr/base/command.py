"""What every command shares: parse, work, one-line errors, the log of a run folder."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vpr.base.errors import VprError
from vpr.base.settings import DEFAULT_RECIPE, PLAIN_RECIPE, make_parser, parse, recipes, take_recipe

FAILED, MISUSED, INTERRUPTED = 1, 2, 130  # exit codes; 130 is the shell's for Ctrl-C


def run_command(
    command: str,
    description: str,
    stages: Sequence[Any],
    work: Callable[..., int | None],
    argv: list[str] | None,
    recipe_folder: str = "",
) -> int:
    """Parse the options of the stages, call ``work`` with the filled stages, and return the exit code.

    stages: dataclasses, or instances of them whose values are this command's defaults. work: raises VprError for input
    that the user can mend; its message is printed as one line. It may return the exit code. Codes: 0 for success, 1 for
    such an error, 2 for bad options, 130 for Ctrl-C. ``--debug``, and errors nobody expected, show the
    traceback. recipe_folder: where the command's recipes lie; without it ``--recipe`` is no option.
    """
    names = ", ".join(recipes(recipe_folder)) if recipe_folder else ""
    which = f"{names} (default: {DEFAULT_RECIPE}, or {PLAIN_RECIPE} where --backbone is given)"
    epilog = f"--recipe NAME starts from the options of a recipe in the box: {which}" if names else ""
    parser = make_parser(command, description, stages, epilog)
    arguments = sys.argv[1:] if argv is None else argv
    try:
        debug, filled = parse(parser, take_recipe(parser, arguments, recipe_folder) if names else arguments, stages)
    except ValueError as error:
        return _complain(parser.prog, error, MISUSED)
    except SystemExit as end:  # --help and --print-config
        return int(end.code or 0)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("vpr").setLevel(logging.INFO)
    try:
        with _log_files_closed():
            return work(*filled) or 0
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; the same command continues from here", file=sys.stderr)
        return INTERRUPTED
    except (VprError, OSError) as error:
        if debug:
            raise
        return _complain(parser.prog, error, FAILED)


def _complain(prog: str, error: Exception, code: int) -> int:
    print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


class _LogFile(logging.FileHandler):
    """A run folder's log."""


def log_to(folder: Path) -> None:
    """From here to the end of the command, append the log to ``folder/log.txt`` too."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
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
