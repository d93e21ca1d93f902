"""Several methods under one protocol: a row of metrics with intervals for each method and stage.

from vpr.eval.comparison.comparison import compare

print(compare(["runs/a", "runs/b", "other=predictions.csv"]).table())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.table import Column
from rich.table import Table as RichTable

from vpr.base.command import printable
from vpr.base.machine import choose_device
from vpr.base.settings import fill_stages
from vpr.datasets.msls.options import ProtocolOptions
from vpr.datasets.msls.protocol import Split, Task
from vpr.description.model_spec import cache_spec
from vpr.eval.baselines import chance, thumbnails
from vpr.eval.comparison.intervals import Estimate, interval, resampling_groups
from vpr.eval.comparison.methods import BASELINES, Method, parse_methods
from vpr.eval.comparison.seed_results import recall_hits
from vpr.eval.evaluator import Evaluator
from vpr.eval.metrics import evaluate
from vpr.eval.options import RankingOptions, SourceOptions, TableFormat
from vpr.eval.ranking import foreign_shortlist, read_descriptors
from vpr.eval.report.subject import Stage, Table, answer_stages
from vpr.eval.sets.benchmark import Benchmark
from vpr.eval.sets.msls import MSLSBenchmark
from vpr.eval.tables import text_of, title_of
from vpr.models.builtin import resolve_run
from vpr.models.loading import TEACHER, load_teacher
from vpr.models.model_name import is_model_name
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    import pandas as pd

    from vpr.datasets.retrieval_set import RetrievalSet
    from vpr.eval.evaluator import Answers

COLUMNS = ("recall@1", "recall@5", "recall@10")  # of the table


@dataclass(frozen=True, eq=False)
class Row:
    """The rankings of one stage of a method."""

    name: str
    data: RetrievalSet
    rankings: Sequence[np.ndarray]  # (Q, K) of each training
    stage: Stage  # of the first training
    final: bool  # whether it is the last stage of its method
    answers: Answers | None = None  # of the first training

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The mean over trainings of each metric."""
        scores = [evaluate(ranked, self.data.answers, unanswered=self.data.unanswered) for ranked in self.rankings]
        return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}

    @cached_property
    def hits(self) -> dict[str, np.ndarray]:
        """(T, S) for each ``recall@k``: 1.0 if a training has a positive among the first k of a scored query."""
        hits = [recall_hits(ranked, self.data) for ranked in self.rankings]
        return {name: np.stack([training[name] for training in hits]) for name in hits[0]}

    def estimate(self, metric: str) -> Estimate:
        """The mean of a recall with its interval over drives and trainings."""
        return interval(self.hits[metric], resampling_groups(self.data))

    def intervals(self) -> dict[str, list[float]]:
        """The low and the high end of the interval of each recall."""
        estimates = {metric: self.estimate(metric) for metric in self.hits}
        return {metric: [estimate.low, estimate.high] for metric, estimate in estimates.items()}

    def difference(self, other: Row, metric: str = "recall@1") -> Estimate:
        """The difference of a recall to that of another row, paired by query, and by training if both have as many."""
        ours, theirs = self.hits[metric], other.hits[metric]
        if len(ours) != len(theirs):
            ours, theirs = ours.mean(0, keepdims=True), theirs.mean(0, keepdims=True)
        return interval(ours - theirs, resampling_groups(self.data))


@dataclass(frozen=True, eq=False)
class Comparison:
    """The rows of all methods under one protocol."""

    benchmark: Benchmark
    rows: Sequence[Row]

    @property
    def data(self) -> RetrievalSet:
        """Queries, database and positives."""
        return self.benchmark.data

    @cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Metrics that need no model, by name."""
        metrics = partial(evaluate, unanswered=self.data.unanswered)
        return dict(zip(BASELINES, (chance(self.data), thumbnails(self.data, metrics))))

    @property
    def final(self) -> list[Row]:
        """The last stage of each method."""
        return [row for row in self.rows if row.final]

    def differences(self) -> list[tuple[Row, Row, Estimate]]:
        """Recall@1 of the last stage of each method after the first, minus that of the first method."""
        first, *others = self.final
        return [(row, first, row.difference(first)) for row in others]

    def record(self) -> dict[str, dict[str, Any]]:
        """The metrics of the baselines and of every row, with the intervals of the recalls."""
        return self.baselines | {row.name: {**row.metrics, "intervals": row.intervals()} for row in self.rows}

    def header(self) -> list[str]:
        """The protocol and the counts, one line each."""
        return self.benchmark.header()

    def blocks(self, form: TableFormat = "text", csv_header: bool = True) -> list[str | RichTable]:
        """The header, the table, and in text the differences.

        CSV has a line for each row and metric, in [0, 1], and no header lines. The other formats are in per cent.
        """
        if form == "csv":
            return [_long(self).to_csv(index=False, header=csv_header).rstrip("\n")]
        table = _wide(self)
        if form == "markdown":
            escaped = table.rename(index=lambda name: name.replace("|", r"\|"))
            return [*self.header(), "", escaped.to_markdown(disable_numparse=True)]
        if form == "latex":
            columns = "l" + "r" * len(COLUMNS)
            return [*(f"% {line}" for line in self.header()), table.to_latex(escape=True, column_format=columns)]
        differences = [f"R@1 of {row.name} - {first.name}: {by.percent}" for row, first, by in self.differences()]
        return [*self.header(), _rich(table), *differences]

    def table(self, form: TableFormat = "text") -> str:
        """The blocks as text."""
        return text_of(*self.blocks(form))

    def report_tables(self) -> tuple[Table, ...]:
        """For a report: the differences of Recall@1 to the first method; empty for a single method."""
        differences = self.differences()
        if not differences:
            return ()
        rows = tuple((row.name, estimate.percent) for row, _, estimate in differences)
        note = "Paired by query, with intervals of 95 % over drives and trainings."
        return (Table("Differences of Recall@1", (f"minus {differences[0][1].name}",), rows, note),)


def compare(
    runs: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    split: Split = "val",
    cities: Sequence[str] = (),
    task: Task = "im2im",
    **options: Any,
) -> Comparison:
    """Compare runs and prediction files under one protocol, as ``python -m eval.compare`` does.

    runs: run folders, 'builtin', prediction files, or descriptors of other models, each as SOURCE or NAME=SOURCE. data:
    the root of an MSLS tree; None takes mini-MSLS, rendered on first use. cities: folders of the tree; empty takes the
    cities of the split.
    options: other options of the command by name. For the protocol: ``seq_length``, ``subtask``, ``radius``,
    ``scope``. For the ranking: ``depth``, ``weight``, ``fusion``, ``adapt``, ``patches``, ``device``, ``workers``. For
    the re-ranking: ``marginals``, ``epsilon``, ``mass``, ``memory_mb``, ``threads``, ``prune``. Errors as
    `vpr.eval.evaluation.evaluate`.
    """
    methods = parse_methods([str(run) for run in runs])
    values = {"data": data, "split": split, "cities": tuple(cities), "task": task}
    protocol, ranking, problem = fill_stages([ProtocolOptions, RankingOptions, RerankOptions], {**values, **options})
    return compare_methods(
        methods, MSLSBenchmark(protocol.load()), Evaluator(ranking, problem, choose_device(ranking.device))
    )


def compare_methods(methods: Sequence[Method], benchmark: Benchmark, evaluator: Evaluator) -> Comparison:
    """Evaluate every method on a benchmark.

    A file of predictions or descriptors has one row. A run has two: its shortlist and its re-ranking. The two rows of
    the teacher inside the run come before them, unless an earlier run had the same teacher. Raises VprError if true
    positions are unknown, and as `Evaluator.answer`, `Benchmark.read_rankings` and `read_descriptors`.
    """
    benchmark.require_answers()
    data, rows, teachers = benchmark.data, list[Row](), set[str]()
    for method in methods:
        if not method.is_run:
            ranked = rank_by_file(method, benchmark, evaluator.ranking.depth)
            rows.append(Row(method.name, data, [ranked], Stage(method.name, ranked), final=True))
            continue
        fingerprints = _teacher_fingerprints(method, evaluator)
        if fingerprints and not fingerprints & teachers:
            teacher = Method(f"NetVLAD of {method.name}", method.sources)
            rows += [replace(row, final=False) for row in _run_rows(teacher, data, evaluator, "teacher")]
        teachers |= fingerprints
        rows += _run_rows(method, data, evaluator, "student")
    return Comparison(benchmark, rows)


def rank_by_file(method: Method, benchmark: Benchmark, depth: int) -> np.ndarray:
    """The rankings (Q, K) of a prediction file, or by descriptors of another model, of which K is ``depth``."""
    path = method.sources[0]
    if method.kind == "predictions":
        return benchmark.read_rankings(path, strict=False)
    return foreign_shortlist(benchmark.data, read_descriptors(benchmark.data, path), depth).ranked


def _teacher_fingerprints(method: Method, evaluator: Evaluator) -> set[str]:
    """The fingerprints of the teachers inside the runs; empty unless every run has one."""
    if not all(not is_model_name(run) and (resolve_run(run) / TEACHER).is_dir() for run in method.sources):
        return set()
    return {cache_spec(load_teacher(run, evaluator.device)).fingerprint for run in method.sources}


def _run_rows(method: Method, data: RetrievalSet, evaluator: Evaluator, shortlist: str) -> list[Row]:
    """The rows of a shortlist and of its re-ranking."""
    answers = [evaluator.answer(data, SourceOptions(run, shortlist, rerank=True)) for run in method.sources]
    stages = [answer_stages(training) for training in answers]
    return [
        Row(
            name=name,
            data=data,
            rankings=[training[number].ranked for training in stages],
            stage=replace(stages[0][number], name=name),
            final=number == 1,
            answers=answers[0],
        )
        for number, name in enumerate((method.name, f"{method.name}, re-ranked"))
    ]


def _rich(table: pd.DataFrame) -> RichTable:
    printed = RichTable("", *(Column(title, justify="right") for title in table.columns))
    for name, cells in table.iterrows():
        printed.add_row(escape(str(name)), *cells)
    return printed


def _wide(comparison: Comparison) -> pd.DataFrame:
    """A column for each metric, in per cent with its interval. Baselines have no interval."""
    import pandas as pd

    rows: dict[str, dict[str, str]] = {}
    for name, metrics in comparison.baselines.items():
        rows[name] = {title_of(metric): f"{100 * metrics[metric]:.1f}" for metric in COLUMNS}
    for row in comparison.rows:
        rows[row.name] = {title_of(metric): row.estimate(metric).percent for metric in COLUMNS}
    table: pd.DataFrame = pd.DataFrame(rows).T.rename(index=printable)
    return table


def _long(comparison: Comparison) -> pd.DataFrame:
    """Columns of the protocol, then row, metric, mean, low, high; the last two are empty for baselines."""
    import pandas as pd

    lines: list[tuple[Any, ...]] = []
    for name, metrics in comparison.baselines.items():
        lines += [(name, metric, metrics[metric], None, None) for metric in COLUMNS]
    for row in comparison.rows:
        estimates = [(metric, row.estimate(metric)) for metric in COLUMNS]
        lines += [(row.name, metric, estimate.mean, estimate.low, estimate.high) for metric, estimate in estimates]
    table: pd.DataFrame = pd.DataFrame(lines, columns=["row", "metric", "mean", "low", "high"])
    for place, (name, value) in enumerate(comparison.benchmark.columns().items()):
        table.insert(place, name, value)
    return table
