"""The methods of a comparison: runs, with one or several trainings each, and prediction files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vpr.base.errors import VprError

BASELINES = ("chance", "7x7-pixel thumbnails")  # names of rows


@dataclass(frozen=True)
class Method:
    """Runs, or a prediction file, under one name."""

    name: str
    sources: tuple[Path, ...]  # run folders, one for each training; or one prediction file

    @property
    def is_file(self) -> bool:
        """Whether it is a prediction file."""
        return self.sources[0].is_file()

    @property
    def row_names(self) -> list[str]:
        """The names of the rows that it may have."""
        if self.is_file:
            return [self.name]
        return [f"{prefix}{self.name}{suffix}" for prefix in ("", "NetVLAD of ") for suffix in ("", ", re-ranked")]


@dataclass(frozen=True)
class Argument:
    """One source on the command line."""

    source: Path
    name: str  # empty if the argument has none

    @classmethod
    def parse(cls, text: str) -> Argument:
        """``SOURCE`` or ``NAME=SOURCE``."""
        name, sign, source = text.partition("=")
        if not sign or "/" in name or Path(text).exists():
            return cls(Path(text), "")
        return cls(Path(source), name)

    @property
    def default_name(self) -> str:
        """The name of a source without a name of its own."""
        return self.source.stem if self.source.suffix in (".csv", ".zip") else self.source.name


def parse_methods(texts: Sequence[str]) -> list[Method]:
    """The methods of a command line: ``SOURCE`` or ``NAME=SOURCE``. Sources with the same given name are trainings of
    one method.

    Raises VprError for a missing prediction file, for a prediction file with the same name as another source, and if
    two rows would have the same name.
    """
    arguments = [Argument.parse(text) for text in texts]
    unnamed = Counter(argument.default_name for argument in arguments if not argument.name)
    sources: dict[str, list[Path]] = {}
    for argument in arguments:
        if argument.source.suffix in (".csv", ".zip") and not argument.source.is_file():
            raise VprError(f"{argument.source}: no such prediction file; check the path")
        default = argument.default_name if unnamed[argument.default_name] == 1 else str(argument.source)
        sources.setdefault(argument.name or default, []).append(argument.source)
    methods = [Method(name, tuple(paths)) for name, paths in sources.items()]
    for method in methods:
        if len(method.sources) > 1 and any(source.is_file() for source in method.sources):
            raise VprError(f"{method.name} names a prediction file and another source; give each its own name")
    rows = Counter([*BASELINES, *(row for method in methods for row in method.row_names)])
    if repeated := [row for row, count in rows.items() if count > 1]:
        raise VprError(f"two rows would have the name {repeated[0]}; give one of them another name, as NAME=SOURCE")
    return methods
