"""Settings: dataclasses whose fields are options of a command, with type, range, default and meaning.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter
from jsonargparse import typing as restricted

from vpr.base.config_file import check_config
from vpr.base.interrupt import program

T = TypeVar("T")

if TYPE_CHECKING:  # type checkers see the plain types behind the ranges
    PositiveInt: TypeAlias = int
    AtLeastTwo: TypeAlias = int
    NonNegativeInt: TypeAlias = int
    PositiveFloat: TypeAlias = float
    NonNegativeFloat: TypeAlias = float
    Share: TypeAlias = float
    ShareBelowOne: TypeAlias = float
    UnitInterval: TypeAlias = float
else:
    PositiveInt, NonNegativeInt = restricted.PositiveInt, restricted.NonNegativeInt
    AtLeastTwo = restricted.restricted_number_type("Several", int, [(">=", 2)])
    PositiveFloat = restricted.restricted_number_type("PositiveFinite", float, [(">", 0), ("<", float("inf"))])
    NonNegativeFloat = restricted.restricted_number_type("NonNegativeFinite", float, [(">=", 0), ("<", float("inf"))])
    ShareBelowOne = restricted.restricted_number_type("BelowOne", float, [(">=", 0), ("<", 1)])
    UnitInterval = restricted.ClosedUnitInterval
    Share = restricted.restricted_number_type("Share", float, [(">", 0), ("<=", 1)])


# What an output is; "curves" are a figure as .png and as .pdf, "predictions" a .csv or a .zip,
# "descriptors" an .h5 or a folder of arrays for other tools.
OutputForm = Literal[
    "json", "csv", "html", "figure", "curves", "cache", "descriptors", "onnx", "predictions", "pairs", "folder"
]


class Names(tuple[str, ...]):
    """Names in order: ``a,b`` on the command line, that or a list in a YAML file."""


def _parse_names(given: str | Sequence[str]) -> Names:
    parts = given.split(",") if isinstance(given, str) else given
    return Names(name.strip() for name in parts if name.strip())


restricted.register_type(Names, serializer=",".join, deserializer=_parse_names)


def option(default: T, meaning: str) -> T:
    """A dataclass field that becomes the option ``--field-name``. meaning: one phrase, with unit and range."""
    return dataclasses.field(default=default, metadata={"help": meaning})


def output(default: T, meaning: str, form: OutputForm) -> T:
    """An option for a path that the command writes; `vpr.base.outputs` checks it."""
    return dataclasses.field(default=default, metadata={"help": meaning, "output": form})


def required(meaning: str) -> Any:
    """A dataclass field that becomes an option without a default; the user must give it."""
    return dataclasses.field(metadata={"help": meaning})


def required_output(meaning: str, form: OutputForm) -> Any:
    """An option without a default for a path that the command writes."""
    return dataclasses.field(metadata={"help": meaning, "output": form})


def positional(meaning: str, metavar: str, minimum: int = 1) -> Any:
    """A positional argument; a tuple takes one or more values, or any number with ``minimum=0``."""
    return dataclasses.field(metadata={"help": meaning, "metavar": metavar, "nargs": "+" if minimum else "*"})


def names_option(default: Names, meaning: str) -> Names:
    """An option of names that may be repeated: ``--field A --field B`` means ``--field A,B``."""
    return dataclasses.field(default=default, metadata={"help": f"{meaning}; may be repeated", "repeated": True})


class Formatter(DefaultHelpFormatter):
    """Help with a short usage line. The help texts already contain types and defaults."""

    def __init__(self, prog: str) -> None:
        # jsonargparse does not annotate it
        super().__init__(prog, max_help_position=30, width=110)  # type: ignore[no-untyped-call]

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """The command, its positional arguments, and ``[options]``."""
        metavars = [
            action.metavar + (" ..." if action.nargs else "") for action in actions if not action.option_strings
        ]
        super().add_usage(" ".join([self._prog, *metavars, "[options]"]), (), (), prefix)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """The option and its metavar; a long list of choices is wrapped."""
        text = super()._format_action_invocation(action)
        wrapped = textwrap.fill(text.replace(",", ", "), self._width - 2, subsequent_indent=" " * 6)
        return text if len(text) < self._width else wrapped.replace(", ", ",")

    def _get_help_string(self, action: argparse.Action) -> str:
        return action.help or ""


def make_parser(command: str, description: str, stages: Sequence[Any], epilog: str = "") -> ArgumentParser:
    """A parser for ``python -m COMMAND`` with a group of options per stage, ``--config`` and ``--print-config``.

    stages: dataclasses, or instances whose values are this command's defaults.
    """
    parser = ArgumentParser(
        prog=program(command), description=description, epilog=epilog, formatter_class=Formatter,
        print_config="--print-config", exit_on_error=False, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "--config",
        action="config",
        metavar="FILE.yaml",
        help="read options from a YAML file; later options win",
    )
    parser._option_string_actions["--print-config"].help = "print the options as YAML and stop"
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    for stage in stages:
        _add_options(parser, stage)
    return parser


def _add_options(parser: ArgumentParser, stage: Any) -> None:
    """Add an option for each field declared with `option`, `required` or `positional`."""
    group = parser.add_argument_group((stage.__doc__ or "").splitlines()[0].rstrip("."))
    hints = typing.get_type_hints(stage if isinstance(stage, type) else type(stage))
    for field in _fields(stage):
        hint, meaning = hints[field.name], field.metadata["help"]
        if "metavar" in field.metadata:
            parts = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
            keywords = {"nargs": field.metadata["nargs"], "type": parts[0]} if parts else {"type": hint}
            group.add_argument(field.name, help=meaning, metavar=field.metadata["metavar"], **keywords)
            continue
        name, default = "--" + field.name.replace("_", "-"), getattr(stage, field.name, MISSING)
        if hint == bool | None:
            group.add_argument(name, action=ActionYesNo(yes_prefix="", no_prefix="no-"), default=default, help=meaning)
        elif hint is bool:
            group.add_argument(name, action="store_true", default=default, help=meaning)
        elif default is MISSING:
            group.add_argument(name, type=hint, required=True, metavar=_metavar(hint), help=f"{meaning} (required)")
        else:
            group.add_argument(
                name, type=hint, default=default, metavar=_metavar(hint), help=meaning + default_text(default)
            )


def _fields(stage: Any) -> Iterator[dataclasses.Field[Any]]:
    return (field for field in dataclasses.fields(stage) if "help" in field.metadata)


def _metavar(hint: Any) -> str:
    """The placeholder for a value of the type; for a Literal, its choices."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        return "{" + ",".join(typing.get_args(hint)) + "}"
    kinds: dict[type, str] = {Names: "a,b", Path: "PATH", int: "INT", float: "NUMBER", str: "TEXT"}
    if hint is bool:
        return "True or False"
    return next(name for kind, name in kinds.items() if issubclass(hint, kind))


def default_text(default: object) -> str:
    """The default as text for the help; empty if there is no default."""
    if default is None or default == "" or default == ():
        return ""
    return f" (default: {default:.3g})" if isinstance(default, float) else f" (default: {default})"


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A command line."""

    stages: list[Any]  # filled
    debug: bool = False
    configs: tuple[Path, ...] = ()  # the files of ``--config``


def parse(parser: ArgumentParser, argv: list[str] | None, stages: Sequence[Any]) -> CommandLine:
    """The stages with the values of the command line and ``--config``.

    Raises ValueError for an unknown option or an invalid value; its message is one line that names the option.
    """
    arguments = _merge_repeated(sys.argv[1:] if argv is None else argv, stages)
    options = {"debug", *(field.name for stage in stages for field in _fields(stage))}
    paths = {name for stage in stages for name in _path_options(stage)}
    for argument, value in zip(arguments, [*arguments[1:], ""]):
        if argument == "--config" or argument.startswith("--config="):
            check_config(Path(argument.partition("=")[2] or value), options, paths)
    _refuse_empty(arguments, {"--" + name.replace("_", "-") for name in paths})
    try:
        given = parser.parse_args(arguments)
    except argparse.ArgumentError as error:
        raise ValueError(_one_line_message(str(error), parser)) from error
    configs = tuple(Path(str(config)) for config in given.config or ())
    return CommandLine([_fill_stage(stage, given) for stage in stages], given.debug, configs)


def _path_options(stage: Any) -> Iterator[str]:
    """The names of the options that are paths."""
    hints = typing.get_type_hints(stage if isinstance(stage, type) else type(stage))
    return (field.name for field in _fields(stage) if Path in (hints[field.name], *typing.get_args(hints[field.name])))


def _refuse_empty(arguments: Sequence[str], paths: set[str]) -> None:
    """Raise ValueError for an empty path, which would mean the working folder, as from a variable that is not set."""
    for before, argument in zip(["", *arguments], arguments):
        name, sign, value = argument.partition("=")
        if (name in paths and sign and not value) or (not argument and before in paths):
            raise ValueError(f"{name if sign else before}: the path is empty; give one, or leave the option out")
        if not argument and not before.startswith("--"):
            raise ValueError("an argument is empty; give a path, or leave it out")


def _merge_repeated(argv: Sequence[str], stages: Sequence[Any]) -> list[str]:
    """The arguments with each repeated option merged into one with all values, at its last position."""
    options = {"--" + field.name for stage in stages for field in _fields(stage) if "repeated" in field.metadata}
    kept, values = list[str](), dict[str, list[str]]()
    for argument in (rest := iter(argv)):
        name, sign, value = argument.partition("=")
        if name not in options:
            kept.append(argument)
        elif (given := value if sign else next(rest, "--")).startswith("--"):  # no value: the parser reports it
            return list(argv)
        else:
            values.setdefault(name, []).append(given)
            kept = [other for other in kept if not other.startswith(f"{name}=")]
            kept.append(f"{name}={','.join(values[name])}")
    return kept


def load_stage(stage: type[T], recorded: object) -> T:
    """A stage with the values of a file; missing ones take their defaults.

    Raises ValueError for a value of the wrong type or out of range, and for an unknown setting. Its message is one line
    that names the setting.
    """
    if not isinstance(recorded, dict):
        raise ValueError("no settings are recorded")
    parser = make_parser("", "", [stage])
    known = {field.name for field in _fields(stage)}
    if others := [str(name) for name in recorded if name not in known]:
        raise ValueError(f"{others[0]} is not a setting of this version")
    hints = typing.get_type_hints(stage)
    for name, value in recorded.items():
        if not _has_type(value, hints[name]):
            raise ValueError(f"{name}: {value} is not a valid {_metavar(hints[name])}")
    try:
        given = parser.parse_object(dict(recorded))
    except (argparse.ArgumentError, TypeError) as error:
        raise ValueError(_one_line_message(str(error), parser)) from error
    filled: T = _fill_stage(stage, given)
    return filled


def fill_stages(stages: Sequence[type], values: Mapping[str, Any]) -> list[Any]:
    """An instance of each dataclass of options, filled with the values of its fields; other fields keep their defaults.

    Raises TypeError for a name that no dataclass has, and ValueError for a value of the wrong type or out of range.
    """
    names = {field.name for stage in stages for field in _fields(stage)}
    if unknown := sorted(values.keys() - names):
        raise TypeError(f"unknown option {unknown[0]!r}; known are {', '.join(sorted(names))}")
    filled: list[Any] = []
    for stage in stages:
        present = [field.name for field in _fields(stage) if field.name in values]
        filled.append(load_stage(stage, {name: _yaml_value(values[name]) for name in present}))
    return filled


def _yaml_value(value: Any) -> Any:
    """The value as a YAML file has it: paths as text, tuples as lists."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def check_stage(stage: object) -> None:
    """Raise ValueError if a value is out of range or of the wrong type; one line that names the setting."""
    hints = typing.get_type_hints(type(stage))
    for field in _fields(stage):
        value, hint = getattr(stage, field.name), hints[field.name]
        if typing.get_origin(hint) is types.UnionType:  # TYPE | None
            if value is None:
                continue
            hint = typing.get_args(hint)[0]
        limits = _format_limits(getattr(hint, "_expression", ""))
        try:
            if hint(value) != value:
                raise ValueError
        except (ValueError, TypeError):
            wanted = f"is out of range, give a value {limits}" if limits else f"is not a valid {_metavar(hint)}"
            raise ValueError(f"{field.name}: {value!r} {wanted}") from None


def _has_type(value: object, hint: Any) -> bool:
    """Whether the hint allows None, a bool or a float; the parser would convert them."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    kinds = [part for part in parts if isinstance(part, type)]
    if value is None or isinstance(value, bool):
        return type(value) in kinds
    return not isinstance(value, float) or any(issubclass(kind, float) for kind in kinds)


def _fill_stage(stage: Any, given: argparse.Namespace) -> Any:
    values = {field.name: _to_plain(getattr(given, field.name)) for field in _fields(stage)}
    hints = typing.get_type_hints(stage if isinstance(stage, type) else type(stage))
    for name, value in values.items():
        option_name = "--" + name.replace("_", "-")
        if hints[name] is bool and not isinstance(value, bool):  # the parser takes any value for a switch
            raise ValueError(f"{option_name}: {value!r} is not a valid {_metavar(bool)}; write true or false")
        if value is None and not _has_type(value, hints[name]):
            raise ValueError(
                f"{option_name}: null is not a valid {_metavar(hints[name])}; leave it out for the default"
            )
    return dataclasses.replace(stage, **values) if not isinstance(stage, type) else stage(**values)


def _to_plain(value: Any) -> Any:
    """A number as a plain int or float, a list as a tuple."""
    if isinstance(value, list):
        return tuple(value)
    for kind in (int, float):
        if isinstance(value, kind) and not isinstance(value, bool):
            return kind(value)
    return value


def _one_line_message(message: str, parser: ArgumentParser) -> str:
    """The parser's message as one line: the option, its value, and the values that are allowed."""
    text = " ".join(message.split())
    if missing := re.search(r"arguments are required: (.*)", text):
        names = [_display_name(_action(parser, key)) for key in missing[1].split(", ")]
        return f"{', '.join(names)} must be given; see --help"
    found = re.match(r'Parser key "([\w.]+)"(?: element \d+)?: (.*)', text)
    if not found:
        return text
    action, text = _action(parser, found[1]), found[2]
    name = _display_name(action)
    if text.endswith("'NoneType'"):
        return f"{name}: null is not a valid {action.metavar}; leave it out for the default"
    given = re.search(r"(?:Given value: |Got value: |literal for int.*: |to float: )'?(.*?)'?$", text)
    if limits := re.search(r"type \w+: (\S*?) ?does not conform to restriction v(.*?)(?: - |$)", text):
        wanted = _format_limits(limits[2])
        value = limits[1] or (given[1] if given else "this")
        return f"{name}: {value} is out of range, give a value {wanted}"
    if given and "Literal[" in text:
        return f"{name}: {given[1]!r} is not one of {str(action.metavar).strip('{}').replace(',', ', ')}"
    if action.dest == "config":
        return f"{name}: {text}"
    wanted = f"is not a valid {action.metavar or _metavar(bool)}"
    return f"{name}: {given[1]!r} {wanted}" if given else f"{name}: the value {wanted}"


def _format_limits(limits: str) -> str:
    """Limits for a message: ``v>=0 and v<1`` becomes ``>= 0 and < 1``."""
    return re.sub(r" ?v?([<>]=?)", r" \1 ", limits).strip()


def _action(parser: ArgumentParser, key: str) -> argparse.Action:
    return next(action for action in parser._actions if action.dest == key)


def _display_name(action: argparse.Action) -> str:
    """The name of an option, or the metavar of a positional argument."""
    return action.option_strings[0] if action.option_strings else str(action.metavar)
