"""Settings: dataclasses whose fields are options of a command, with their types, ranges, defaults and meanings.

    @dataclass(frozen=True)
    class TrainConfig:
        '''Training.'''

        steps: PositiveInt = option(700, "training steps")

gives ``--steps INT`` in the group "Training". jsonargparse parses, checks types and ranges, and reads ``--config``.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter
from jsonargparse import typing as restricted

from vpr.base.interrupt import program

T = TypeVar("T")

if TYPE_CHECKING:  # type checkers see the plain types behind the ranges
    PositiveInt: TypeAlias = int
    Several: TypeAlias = int
    NonNegativeInt: TypeAlias = int
    PositiveFloat: TypeAlias = float
    NonNegativeFloat: TypeAlias = float
    Share: TypeAlias = float
    BelowOne: TypeAlias = float
    UpToOne: TypeAlias = float
else:
    PositiveInt, NonNegativeInt = restricted.PositiveInt, restricted.NonNegativeInt
    Several = restricted.restricted_number_type("Several", int, [(">=", 2)])
    PositiveFloat = restricted.restricted_number_type("PositiveFinite", float, [(">", 0), ("<", float("inf"))])
    NonNegativeFloat = restricted.restricted_number_type("NonNegativeFinite", float, [(">=", 0), ("<", float("inf"))])
    BelowOne = restricted.restricted_number_type("BelowOne", float, [(">=", 0), ("<", 1)])
    UpToOne = restricted.ClosedUnitInterval
    Share = restricted.restricted_number_type("Share", float, [(">", 0), ("<=", 1)])


class Names(tuple[str, ...]):
    """Names in a given order; on the command line ``a,b``, in a YAML file that or a list."""


def _names(given: str | Sequence[str]) -> Names:
    parts = given.split(",") if isinstance(given, str) else given
    return Names(name.strip() for name in parts if name.strip())


restricted.register_type(Names, serializer=",".join, deserializer=_names)


def option(default: T, meaning: str) -> T:
    """A dataclass field that is an option ``--field-name``: its default, and its meaning with the unit."""
    return dataclasses.field(default=default, metadata={"help": meaning})


def required(meaning: str) -> Any:
    """A dataclass field that is an option without a default: it must be given."""
    return dataclasses.field(metadata={"help": meaning})


def positional(meaning: str, metavar: str, least: int = 1) -> Any:
    """A dataclass field that is given by its place; a tuple takes ``least`` values, 0 or 1, or more."""
    return dataclasses.field(metadata={"help": meaning, "metavar": metavar, "nargs": "+" if least else "*"})


def repeated(default: Names, meaning: str) -> Names:
    """A field of names that may be given by several options too: ``--field A --field B`` is ``--field A,B``."""
    return dataclasses.field(default=default, metadata={"help": f"{meaning}; may be repeated", "repeated": True})


class Formatter(DefaultHelpFormatter):
    """Help with a short usage line; the texts already carry types and defaults."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """The command, its places, and ``[options]``."""
        places = [action.metavar + (" ..." if action.nargs else "") for action in actions if not action.option_strings]
        super().add_usage(" ".join([self._prog, *places, "[options]"]), (), (), prefix)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """The option and what it takes; a long list of choices over several lines."""
        text = super()._format_action_invocation(action)
        wrapped = textwrap.fill(text.replace(",", ", "), self._width - 2, subsequent_indent=" " * 6)
        return text if len(text) < self._width else wrapped.replace(", ", ",")

    def _get_help_string(self, action: argparse.Action) -> str:
        return action.help or ""


def make_parser(command: str, description: str, stages: Sequence[Any], epilog: str = "") -> ArgumentParser:
    """A parser for ``python -m COMMAND`` with one group of options a stage, ``--config`` and ``--print-config``.

    stages: dataclasses, or instances of them whose values are this command's defaults.
    """
    parser = ArgumentParser(
        prog=program(command), description=description, epilog=epilog, formatter_class=Formatter,
        print_config="--print-config", exit_on_error=False, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "--config", action="config", metavar="FILE.yaml", help="read options from a file; later ones win"
    )
    parser._option_string_actions["--print-config"].help = "print the options as YAML and stop"
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    for stage in stages:
        _add_options(parser, stage)
    return parser


def _add_options(parser: ArgumentParser, stage: Any) -> None:
    """One option for each field that was declared with `option`, `required` or `positional`."""
    group = parser.add_argument_group((stage.__doc__ or "").splitlines()[0].rstrip("."))
    hints = typing.get_type_hints(stage if isinstance(stage, type) else type(stage))
    for field in _fields(stage):
        hint, meaning = hints[field.name], field.metadata["help"]
        if "metavar" in field.metadata:
            parts = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
            how = {"nargs": field.metadata["nargs"], "type": parts[0]} if parts else {"type": hint}
            group.add_argument(field.name, help=meaning, metavar=field.metadata["metavar"], **how)
            continue
        name, default = "--" + field.name.replace("_", "-"), getattr(stage, field.name, MISSING)
        if hint == bool | None:
            group.add_argument(name, action=ActionYesNo(yes_prefix="", no_prefix="no-"), default=default, help=meaning)
        elif hint is bool:
            group.add_argument(name, action="store_true", default=default, help=meaning)
        elif default is MISSING:
            group.add_argument(name, type=hint, required=True, metavar=_metavar(hint), help=f"{meaning} (required)")
        else:
            group.add_argument(name, type=hint, default=default, metavar=_metavar(hint), help=meaning + shown(default))


def _fields(stage: Any) -> Iterator[dataclasses.Field]:
    return (field for field in dataclasses.fields(stage) if "help" in field.metadata)


def _metavar(hint: Any) -> str:
    """What stands for a value of the type, the choices where there are some."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        return "{" + ",".join(typing.get_args(hint)) + "}"
    kinds: dict[type, str] = {Names: "a,b", Path: "PATH", int: "INT", float: "NUMBER", str: "TEXT"}
    if hint is bool:
        return "True or False"
    return next(name for kind, name in kinds.items() if issubclass(hint, kind))


def shown(default: object) -> str:
    """The default as the help shows it, where there is one to show."""
    if default is None or default == "" or default == ():
        return ""
    return f" (default: {default:.3g})" if isinstance(default, float) else f" (default: {default})"


def parse(parser: ArgumentParser, argv: list[str] | None, stages: Sequence[Any]) -> tuple[bool, list[Any]]:
    """Whether ``--debug`` was given, and the stages filled with the values of the command line and ``--config``.

    Raises ValueError, one line that names the option, for a value or an option that cannot be.
    """
    try:
        given = parser.parse_args(_gathered(sys.argv[1:] if argv is None else argv, stages))
    except argparse.ArgumentError as error:
        raise ValueError(_in_one_line(str(error), parser)) from error
    return given.debug, [_filled(stage, given) for stage in stages]


def _gathered(argv: Sequence[str], stages: Sequence[Any]) -> list[str]:
    """The arguments with each repeated option once, with all its values, where it was given last."""
    options = {"--" + field.name for stage in stages for field in _fields(stage) if "repeated" in field.metadata}
    kept, values = list[str](), dict[str, list[str]]()
    for argument in (rest := iter(argv)):
        name, sign, value = argument.partition("=")
        if name not in options:
            kept.append(argument)
        elif (given := value if sign else next(rest, "--")).startswith("--"):  # no value, which the parser says
            return list(argv)
        else:
            values.setdefault(name, []).append(given)
            kept = [other for other in kept if not other.startswith(f"{name}=")]
            kept.append(f"{name}={','.join(values[name])}")
    return kept


def checked(stage: type[T], recorded: object) -> T:
    """A stage filled with values that a file recorded; those that it lacks take their defaults.

    Raises ValueError, one line that names the setting, for a value of the wrong type or out of range, and for one that
    the stage does not have.
    """
    if not isinstance(recorded, dict):
        raise ValueError("no settings are recorded")
    parser = make_parser("", "", [stage])
    known = {field.name for field in _fields(stage)}
    if others := [str(name) for name in recorded if name not in known]:
        raise ValueError(f"{others[0]} is no setting of this version")
    hints = typing.get_type_hints(stage)
    for name, value in recorded.items():
        if not _is_of(value, hints[name]):
            raise ValueError(f"{name}: {value} is no {_metavar(hints[name])}")
    try:
        given = parser.parse_object(dict(recorded))
    except (argparse.ArgumentError, TypeError) as error:
        raise ValueError(_in_one_line(str(error), parser)) from error
    return _filled(stage, given)


def require(stage: object) -> None:
    """Raise ValueError, one line that names the setting, where a value given in Python is out of range or no value."""
    hints = typing.get_type_hints(type(stage))
    for field in _fields(stage):
        value, hint = getattr(stage, field.name), hints[field.name]
        limits = _spaced(getattr(hint, "_expression", ""))
        try:
            if hint(value) != value:
                raise ValueError
        except (ValueError, TypeError):
            wanted = f"is out of range, give a value {limits}" if limits else f"is no {_metavar(hint)}"
            raise ValueError(f"{field.name}: {value!r} {wanted}") from None


def _is_of(value: object, hint: Any) -> bool:
    """Whether None, a bool or a float is what the hint allows; the parser would take them for something else."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    kinds = [part for part in parts if isinstance(part, type)]
    if value is None or isinstance(value, bool):
        return type(value) in kinds
    return not isinstance(value, float) or any(issubclass(kind, float) for kind in kinds)


def _filled(stage: Any, given: argparse.Namespace) -> Any:
    values = {field.name: _plain(getattr(given, field.name)) for field in _fields(stage)}
    return dataclasses.replace(stage, **values) if not isinstance(stage, type) else stage(**values)


def _plain(value: Any) -> Any:
    """A number without its range, a list of places as a tuple."""
    if isinstance(value, list):
        return tuple(value)
    for kind in (int, float):
        if isinstance(value, kind) and not isinstance(value, bool):
            return kind(value)
    return value


def _in_one_line(message: str, parser: ArgumentParser) -> str:
    """The parser's message as one line: the option, its value, and what is wanted instead."""
    said = " ".join(message.split())
    if missing := re.search(r"arguments are required: (.*)", said):
        names = [_named(_action(parser, key)) for key in missing[1].split(", ")]
        return f"{', '.join(names)} must be given; see --help"
    found = re.match(r'Parser key "([\w.]+)": (.*)', said)
    if not found:
        return said
    action, said = _action(parser, found[1]), found[2]
    name, given = (
        _named(action),
        re.search(r"(?:Given value: |Got value: |literal for int.*: |to float: )'?(.*?)'?$", said),
    )
    if limits := re.search(r"type \w+: (\S*?) ?does not conform to restriction v(.*?)(?: - |$)", said):
        wanted = _spaced(limits[2])
        value = limits[1] or (given[1] if given else "this")
        return f"{name}: {value} is out of range, give a value {wanted}"
    if given and "Literal[" in said:
        return f"{name}: {given[1]!r} is none of {str(action.metavar).strip('{}').replace(',', ', ')}"
    return f"{name}: {given[1]!r} is no {action.metavar}" if given else f"{name}: {said}"


def _spaced(limits: str) -> str:
    """Limits as they are shown: ``v>=0 and v<1`` as ``>= 0 and < 1``."""
    return re.sub(r" ?v?([<>]=?)", r" \1 ", limits).strip()


def _action(parser: ArgumentParser, key: str) -> argparse.Action:
    return next(action for action in parser._actions if action.dest == key)


def _named(action: argparse.Action) -> str:
    """An option by its name, a place by what stands for it."""
    return action.option_strings[0] if action.option_strings else str(action.metavar)
