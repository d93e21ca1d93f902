"""The settings of a table over several sets: a YAML file that names sets and methods.

    sets:
      Pitts30k: {data: pitts30k}                     # options of eval.places that say what the set is
      MSLS val: {kind: msls, data: MSLS}             # options of eval.msls likewise
    methods:
      ours: {run: builtin, rerank: true}             # options of the ranking
      ours, 3 trainings: {run: [runs/a, runs/b, runs/c], rerank: true}
      theirs: {descriptors: {Pitts30k: theirs/pitts30k, MSLS val: theirs/msls.h5}}
      others: {predictions: {Pitts30k: others.csv}}  # a dash for MSLS val

Paths are relative to the working folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vpr.base.config_file import read_mapping
from vpr.base.errors import VprError
from vpr.base.settings import fill_stages
from vpr.datasets.msls.options import ProtocolOptions
from vpr.datasets.places.options import PlaceOptions
from vpr.eval.comparison.methods import Kind, Method, repetition_problem
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.sets.benchmark import Benchmark
from vpr.retrieval.settings import RerankOptions

SET_KINDS = {"places": PlaceOptions, "msls": ProtocolOptions}
SOURCES: tuple[Kind, ...] = ("run", "predictions", "descriptors")  # a method has one of them
ALL_SETS = ""  # in a mapping by set: the path of a method that has one for all sets
Paths = Mapping[str, tuple[Path, ...]]  # by name of the set, or `ALL_SETS`


@dataclass(frozen=True)
class SetSettings:
    """A set of the table."""

    name: str
    options: PlaceOptions | ProtocolOptions

    def load(self) -> Benchmark:
        """Read the set; raises DatasetError and MapError as its options do, and VprError if nothing can be scored."""
        from vpr.eval.sets.msls import MSLSBenchmark
        from vpr.eval.sets.places import PlacesBenchmark

        if isinstance(self.options, ProtocolOptions):
            benchmark: Benchmark = MSLSBenchmark(self.options.load())
        else:
            benchmark = PlacesBenchmark(self.options.load())
        benchmark.require_answers()
        return benchmark


@dataclass(frozen=True)
class MethodSettings:
    """A method of the table. ``source.shortlist`` is that of all sets."""

    name: str
    kind: Kind
    paths: Paths
    shortlists: Paths
    source: SourceOptions
    ranking: RankingOptions
    rerank: RerankOptions

    def method(self, on: str) -> Method | None:
        """The method on a set; None if the settings have no file for this set."""
        paths = self.paths.get(on, self.paths.get(ALL_SETS))
        return None if paths is None else Method(self.name, paths, self.kind)

    def source_on(self, on: str, run: Path) -> SourceOptions:
        """The run and the source of its shortlist on a set."""
        files = self.shortlists.get(on, self.shortlists.get(ALL_SETS))
        shortlist = self.source.shortlist if files is None else str(files[0])
        return replace(self.source, run=run, shortlist=shortlist)

    def files(self) -> list[Path]:
        """All paths that the settings name."""
        return [path for named in (self.shortlists, self.paths) for paths in named.values() for path in paths]


@dataclass(frozen=True)
class TableSettings:
    """The sets and the methods of a table, in their order."""

    path: Path
    sets: tuple[SetSettings, ...]
    methods: tuple[MethodSettings, ...]


def read_settings(path: Path, ranking: RankingOptions, rerank: RerankOptions) -> TableSettings:
    """The content of a file of settings. ranking, rerank: defaults of the methods.

    Raises VprError, one line that names the file and the setting, for a file that cannot be read, for an unknown
    setting or a wrong value, and for a file of predictions or descriptors that is missing.
    """
    try:
        content = read_mapping(path)
        sets, methods = (_part(content, name) for name in ("sets", "methods"))
        if others := [name for name in content if name not in ("sets", "methods")]:
            raise ValueError(f"{others[0]} is not known; a file of settings has sets and methods")
        read_sets = tuple(_read_set(name, given) for name, given in sets.items())
        read_methods = tuple(_read_method(name, given, [*sets], ranking, rerank) for name, given in methods.items())
    except (ValueError, TypeError) as error:
        raise VprError(f"--settings {path}: {error}", thing=path) from error
    for method in read_methods:
        for file in method.files():
            if not file.exists() and not (method.kind == "run" and (file,) not in method.shortlists.values()):
                raise VprError(f"--settings {path}: methods, {method.name}: there is no {file}; check the path")
    return TableSettings(path, read_sets, read_methods)


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = content.get(name)
    if not isinstance(part, dict) or not part:
        raise ValueError(f"{name} is missing or empty; write {name}: and below it NAME: {{OPTION: VALUE}}")
    if odd := next((one for one, given in part.items() if not one.strip() or not isinstance(given, dict)), None):
        raise ValueError(f"{name}, {odd}: not a mapping; write {odd}: {{OPTION: VALUE}}")
    return part


def _read_set(name: str, given: Mapping[str, Any]) -> SetSettings:
    where, values = f"sets, {name}", dict(given)
    kind = values.pop("kind", "places")
    if kind not in SET_KINDS:
        raise ValueError(f"{where}: kind {kind!r} is not one of {', '.join(SET_KINDS)}")
    (options,) = _fill(where, [SET_KINDS[kind]], values)
    return SetSettings(name, options)


def _read_method(
    name: str, given: Mapping[str, Any], sets: list[str], ranking: RankingOptions, rerank: RerankOptions
) -> MethodSettings:
    where, values = f"methods, {name}", dict(given)
    kinds = [kind for kind in SOURCES if kind in values]
    if len(kinds) != 1:
        raise ValueError(f"{where}: give one of {', '.join(SOURCES)}")
    kind = kinds[0]
    paths = _read_paths(f"{where}, {kind}", values.pop(kind), sets)
    if kind != "run":
        allowed = ("depth",) if kind == "descriptors" else ()
        if odd := next((one for one in values if one not in allowed), None):
            raise ValueError(f"{where}: {odd} is for a run, not for {kind}; leave it out")
    if "cache" in values:
        raise ValueError(f"{where}: cache is of one set; leave it out, each set has its own file in the run folder")
    shortlists: Paths = {}
    shortlist = values.get("shortlist")
    if isinstance(shortlist, dict) or (isinstance(shortlist, str) and shortlist not in ("student", "teacher")):
        shortlists = _read_paths(f"{where}, shortlist", values.pop("shortlist"), sets)
        if not values.get("rerank"):
            raise ValueError(f"{where}: the shortlist of a file is ranked by no run; write rerank: true, or name the "
                             "file as predictions or descriptors instead")  # fmt: skip
    if any(len(files) > 1 for files in [*shortlists.values(), *([] if kind == "run" else paths.values())]):
        raise ValueError(f"{where}: several paths are for runs, which are trainings of one method; give one")
    for runs in paths.values():
        if problem := repetition_problem(runs):
            raise ValueError(f"{where}: {problem}")
    stages = [SourceOptions, RankingOptions, RerankOptions]
    return MethodSettings(
        name, kind, paths, shortlists, *_fill(where, stages, {**vars(ranking), **vars(rerank)}, values)
    )


def _read_paths(where: str, given: Any, sets: list[str]) -> Paths:
    """A path, a list of paths, or a mapping of the names of sets to these."""
    if isinstance(given, dict):
        if unknown := next((name for name in given if name not in sets), None):
            raise ValueError(f"{where}: {unknown} is no set of this file; the sets are {', '.join(sets)}")
        return {name: _path_tuple(f"{where}, {name}", paths) for name, paths in given.items()}
    return {ALL_SETS: _path_tuple(where, given)}


def _path_tuple(where: str, given: Any) -> tuple[Path, ...]:
    paths = given if isinstance(given, list) else [given]
    if not paths or not all(isinstance(path, str) and path.strip() for path in paths):
        raise ValueError(f"{where}: {given!r} is not a path; write one as text")
    return tuple(Path(path) for path in paths)


def _fill(where: str, stages: list[type], *values: Mapping[str, Any]) -> list[Any]:
    """The stages with their values, of which later ones win; errors name the place in the file."""
    try:
        return fill_stages(stages, {name: value for some in values for name, value in some.items()})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error
