"""Methods that are compared: runs, one or several trainings of a kind, and files of predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.errors import VprError
from vpr.description.spec import cache_spec
from vpr.eval.files.foreign import read_rankings
from vpr.eval.floors import chance, thumbnails
from vpr.eval.intervals import Estimate, drives_of, interval
from vpr.eval.metrics import evaluate
from vpr.eval.options import SourceConfig
from vpr.eval.report.subject import Stage, stages_of
from vpr.eval.results import found_within
from vpr.models.builtin import run_of
from vpr.models.loading import TEACHER, load_teacher

if TYPE_CHECKING:
    from vpr.datasets.msls.dataset import MSLS
    from vpr.datasets.retrieval_set import RetrievalSet
    from vpr.eval.evaluation import Answers, Evaluator

FLOORS = ("chance", "7x7-pixel thumbnails")  # names of rows


@dataclass(frozen=True)
class Method:
    """What is compared under one name."""

    name: str
    sources: tuple[Path, ...]  # run folders, one for each training; or one file of predictions

    @property
    def is_file(self) -> bool:
        """Whether it is a file of predictions."""
        return self.sources[0].is_file()

    @property
    def rows(self) -> list[str]:
        """The names of the rows that it may have."""
        if self.is_file:
            return [self.name]
        return [f"{prefix}{self.name}{suffix}" for prefix in ("", "NetVLAD of ") for suffix in ("", ", re-ranked")]


def methods_of(given: Sequence[str]) -> list[Method]:
    """The methods of a command line: ``SOURCE``, named after it, or ``NAME=SOURCE``; sources that are given the same
    name are trainings of one method.

    Raises VprError for a file that is not there, and for one beside others of its name.
    """
    named: dict[str, list[Path]] = {}
    parted = [_parted(one) for one in given]
    alone = Counter(_usual(path) for name, path in parted if not name)
    for name, path in parted:
        if path.suffix in (".csv", ".zip") and not path.is_file():
            raise VprError(f"{path}: no such file of predictions")
        usual = _usual(path) if alone[_usual(path)] == 1 else str(path)
        named.setdefault(name or usual, []).append(path)
    methods = [Method(name, tuple(sources)) for name, sources in named.items()]
    for method in methods:
        if len(method.sources) > 1 and any(source.is_file() for source in method.sources):
            raise VprError(f"{method.name} names a file and something else; give each file a name of its own")
    rows = Counter([*FLOORS, *(row for method in methods for row in method.rows)])
    if doubled := [row for row, count in rows.items() if count > 1]:
        raise VprError(f"two rows would be called {doubled[0]}; give one of them another name, as NAME=SOURCE")
    return methods


def _parted(given: str) -> tuple[str, Path]:
    """Name and source of an argument; no name where it is a source alone."""
    name, sign, source = given.partition("=")
    if not sign or "/" in name or Path(given).exists():
        return "", Path(given)
    return name, Path(source)


def _usual(source: Path) -> str:
    """What a source is called by itself."""
    return source.stem if source.suffix in (".csv", ".zip") else source.name


@dataclass(frozen=True, eq=False)
class Row:
    """What one method, or a stage of it, answered."""

    name: str
    data: RetrievalSet
    rankings: Sequence[np.ndarray]  # (Q, K) of each training
    stage: Stage  # of the first training
    final: bool  # whether it is the last stage of its method
    answers: Answers | None = None  # of the first training

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The mean over trainings of each metric."""
        found = [evaluate(ranked, self.data.answers) for ranked in self.rankings]
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

    @cached_property
    def found(self) -> dict[str, np.ndarray]:
        """(T, S) for each ``recall@k``: whether each training answers each scored query among its first k."""
        found = [found_within(ranked, self.data) for ranked in self.rankings]
        return {name: np.stack([one[name] for one in found]) for name in found[0]}

    def estimate(self, metric: str) -> Estimate:
        """The mean of a recall with its interval over drives and trainings."""
        return interval(self.found[metric], drives_of(self.data))

    def intervals(self) -> dict[str, list[float]]:
        """Low and high end of each recall's interval."""
        found = {metric: self.estimate(metric) for metric in self.found}
        return {metric: [estimate.low, estimate.high] for metric, estimate in found.items()}

    def minus(self, other: Row, metric: str = "recall@1") -> Estimate:
        """The difference of a recall to another row's, paired by query, and by training where both have as many."""
        own, theirs = self.found[metric], other.found[metric]
        if len(own) != len(theirs):
            own, theirs = own.mean(0, keepdims=True), theirs.mean(0, keepdims=True)
        return interval(own - theirs, drives_of(self.data))


class Comparison:
    """The rows of all methods under one protocol."""

    def __init__(self, methods: Sequence[Method], dataset: MSLS, evaluator: Evaluator) -> None:
        """Evaluate every method; errors as `Evaluator.answer` and `read_rankings`."""
        self.dataset, self.data, self.evaluator = dataset, dataset.retrieval_set, evaluator
        self._teachers: set[str] = set()  # fingerprints of those that have rows
        self.rows = [row for method in methods for row in self._rows(method)]

    @cached_property
    def floors(self) -> dict[str, dict[str, float]]:
        """Metrics that need no model, by name."""
        return dict(zip(FLOORS, (chance(self.data), thumbnails(self.data))))

    def record(self) -> dict[str, dict[str, Any]]:
        """The metrics of the floors and of every row, and the interval of each recall where there is one."""
        return self.floors | {row.name: {**row.metrics, "intervals": row.intervals()} for row in self.rows}

    @property
    def final(self) -> list[Row]:
        """The last stage of each method."""
        return [row for row in self.rows if row.final]

    def differences(self) -> list[tuple[Row, Row, Estimate]]:
        """Recall@1 of each method's last stage, beginning with the second, minus the first method's."""
        first, *others = self.final
        return [(row, first, row.minus(first)) for row in others]

    def _rows(self, method: Method) -> list[Row]:
        """A file's row; or a run's shortlist and re-ranking, after those of the teacher inside it, unless another run
        had the same one."""
        if method.is_file:
            ranked = read_rankings(method.sources[0], self.dataset, strict=False)
            return [Row(method.name, self.data, [ranked], Stage(method.name, ranked), final=True)]
        teacher = self._answered(f"NetVLAD of {method.name}", method.sources, "teacher") if self._new(method) else []
        return [replace(row, final=False) for row in teacher] + self._answered(method.name, method.sources, "student")

    def _new(self, method: Method) -> bool:
        """Whether every run of a method has a teacher inside, and none of them has a row already."""
        if not all((run_of(run) / TEACHER).is_dir() for run in method.sources):
            return False
        models = [load_teacher(run, self.evaluator.device) for run in method.sources]
        fingerprints = {cache_spec(model).fingerprint for model in models}
        new = not fingerprints & self._teachers
        self._teachers |= fingerprints
        return new

    def _answered(self, name: str, runs: Sequence[Path], shortlist: str) -> list[Row]:
        answers = [self.evaluator.answer(self.data, SourceConfig(run, shortlist, rerank=True)) for run in runs]
        stages = [stages_of(one) for one in answers]
        before, after = stages[0]
        titles = name, f"{name}, re-ranked"
        return [
            Row(title, self.data, [one[number].ranked for one in stages], replace(stage, name=title), final, answers[0])
            for number, (title, stage, final) in enumerate(zip(titles, (before, after), (False, True)))
        ]
