"""The methods of a comparison: runs, with one or several trainings each, and files of predictions or descriptors."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpr.base.errors import VprError
from vpr.description.foreign import is_foreign
from vpr.models.builtin import split_run
from vpr.models.model_name import is_model_name

BASELINES = ("chance", "7x7-pixel thumbnails")  # names of rows
FILE_SUFFIXES = {".csv": "prediction file", ".zip": "prediction file", ".h5": "file of descriptors",
                 ".hdf5": "file of descriptors", ".npy": "file of descriptors"}  # fmt: skip
Kind = Literal["run", "predictions", "descriptors"]


@dataclass(frozen=True)
class Method:
    """Runs, a prediction file, or descriptors of another model, under one name."""

    name: str
    sources: tuple[Path, ...]  # run folders, one for each training; or one file, or one folder of descriptors
    kind: Kind = "run"

    @property
    def is_run(self) -> bool:
        """Whether it is a run, which describes the photos itself."""
        return self.kind == "run"

    @property
    def row_names(self) -> list[str]:
        """The names of the rows that it may have."""
        if not self.is_run:
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
        return self.source.stem if self.source.suffix in FILE_SUFFIXES else self.source.name


def kind_of(source: Path) -> Kind:
    """What a source is, by looking; a source that does not exist is a run, which may have a name only."""
    return "descriptors" if is_foreign(source) else "predictions" if source.is_file() else "run"


def repetition_problem(runs: Sequence[Path]) -> str:
    """The problem and the remedy if a run is twice among the trainings of a method; empty if none is."""
    real = [str(run) if is_model_name(run) else os.path.realpath(split_run(run)[0]) for run in runs]
    repeated = next((run for number, run in enumerate(runs) if real[number] in real[:number]), None)
    if repeated is None:
        return ""
    return f"{repeated} is given twice, but trainings of one method differ; leave one out"


def parse_methods(texts: Sequence[str]) -> list[Method]:
    """The methods of a command line: ``SOURCE`` or ``NAME=SOURCE``. Sources with the same given name are trainings of
    one method.

    Raises VprError for a missing file, for a file with the same name as another source, for a run that is given twice
    under one name, and if two rows would have the same name.
    """
    arguments = [Argument.parse(text) for text in texts]
    unnamed = Counter(argument.default_name for argument in arguments if not argument.name)
    sources: dict[str, list[Path]] = {}
    for argument in arguments:
        kind = FILE_SUFFIXES.get(argument.source.suffix)
        if kind is not None and not argument.source.is_file():
            raise VprError(f"{argument.source}: no such {kind}; check the path")
        default = argument.default_name if unnamed[argument.default_name] == 1 else str(argument.source)
        sources.setdefault(argument.name or default, []).append(argument.source)
    methods = []
    for name, paths in sources.items():
        kinds = [kind_of(path) for path in paths]
        if len(paths) > 1 and (others := [kind for kind in kinds if kind != "run"]):
            what = "a prediction file" if "predictions" in others else "descriptors"
            raise VprError(f"{name} names {what} and another source; give each its own name")
        if problem := repetition_problem(paths):
            raise VprError(problem)
        methods.append(Method(name, tuple(paths), kinds[0]))
    rows = Counter([*BASELINES, *(row for method in methods for row in method.row_names)])
    if repeated := [row for row, count in rows.items() if count > 1]:
        raise VprError(f"two rows would have the name {repeated[0]}; give one of them another name, as NAME=SOURCE")
    return methods
