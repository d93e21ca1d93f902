"""What every command shares: options read from dataclasses, the device, logging, one-line errors."""

import argparse
import contextlib
import dataclasses
import logging
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

from vpr.errors import VprError

INTERRUPTED = 130  # the shell's exit code for Ctrl-C


def option(default: object, meaning: str) -> object:
    """A dataclass field that is also a command option: its default and its unit and meaning."""
    return dataclasses.field(default=default, metadata={"help": meaning})


class _Defaults(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, "", ()) else super()._get_help_string(action)


def make_parser(command: str, description: str, *stages: type) -> argparse.ArgumentParser:
    """A parser for ``python -m COMMAND`` with the options of the given dataclasses and ``--debug``."""
    parser = argparse.ArgumentParser(prog=f"python -m {command}", description=description, formatter_class=_Defaults)
    for stage in stages:
        add_options(parser, stage)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_options(parser: argparse.ArgumentParser, stage: type) -> None:
    """Add one option for each field of the dataclass that was declared with `option`."""
    hints = typing.get_type_hints(stage)
    group = parser.add_argument_group(stage.__doc__.splitlines()[0].rstrip("."))
    for field in dataclasses.fields(stage):
        if "help" in field.metadata:
            group.add_argument(
                "--" + field.name.replace("_", "-"),
                default=field.default,
                help=field.metadata["help"].replace("%", "%%"),
                **_argument(hints[field.name]),
            )


def _argument(hint: object) -> dict:
    """The argparse keywords for a field's type: bool, Literal, tuple of str, optional or plain."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(hint) is typing.Literal:
        return {"choices": typing.get_args(hint)}
    if typing.get_origin(hint) is tuple:
        return {"type": _names, "metavar": "a,b"}
    return {"type": hint, "metavar": hint.__name__.upper()}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def fill(stage: type, arguments: argparse.Namespace) -> object:
    """The dataclass filled from the parsed arguments that carry its fields' names."""
    names = [field.name for field in dataclasses.fields(stage) if hasattr(arguments, field.name)]
    return stage(**{name: getattr(arguments, name) for name in names})


def run(
    work: Callable[[argparse.Namespace], int],
    parser: argparse.ArgumentParser,
    argv: list[str] | None,
    expected: tuple[type[Exception], ...] = (),
) -> int:
    """Parse, work, and turn expected errors into one line on stderr.

    Returns 0 on success, 1 on an error that the user can mend, 130 on Ctrl-C (long work resumes when the command is
    given again). With ``--debug``, and for errors nobody expected, the traceback is shown.
    """
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("vpr").setLevel(logging.INFO)
    try:
        with _log_files_closed():
            return work(arguments)
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except (VprError, OSError, *expected) as error:
        if arguments.debug:
            raise
        print(f"{parser.prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


class _LogFile(logging.FileHandler):
    """A run folder's log."""


def log_to(folder: Path) -> None:
    """From here to the end of the command, write the log to ``folder/log.txt`` too (appended)."""
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
