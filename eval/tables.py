"""The printed lines and tables of an evaluation: the protocol, the counts, the metrics."""

import io
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from vpr.base.command import printable
from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.retrieval_set import RetrievalSet

PIPE_WIDTH = 140  # columns of a table if there is no terminal
TITLES = {"p@1": "P@1", "rp": "RP", "map@r": "MAP@R"}
COLUMNS = ("recall@1", "recall@5", "recall@10", "recall@20", "map@1", "map@5", "map@10", "map@20")


def describe_protocol(dataset: MSLS) -> str:
    """One line: the protocol of an evaluation."""
    protocol = dataset.protocol
    length = "" if protocol.task == "im2im" else f" of {protocol.seq_length} frames"
    searched = "searched city by city" if protocol.scope == "city" else "searched in one merged index"
    cities = ", ".join(city.name for city in dataset.cities)
    return (
        f"MSLS {protocol.split}: {cities}; {protocol.task}{length}; subtask {protocol.subtask}; "
        f"positives within {protocol.radius_m:g} m; {searched}"
    )


def describe_counts(data: RetrievalSet) -> str:
    """One line: the numbers of queries and of database entries."""
    counts = data.counts()
    if data.positives is None:
        return f"{counts['queries']} queries, {counts['database']} database entries; no ground truth, no score"
    fate = "among them, which count as wrong" if data.unanswered == "wrong" else "set apart"
    return (
        f"{counts['queries']} queries scored, {counts['queries_without_positives']} without positives {fate}, "
        f"{counts['database']} database entries"
    )


def title_of(metric: str) -> str:
    """The name of a metric in tables."""
    return TITLES.get(metric) or metric.replace("recall", "R").replace("map", "mAP")


def metrics_table(rows: Mapping[str, Mapping[str, float]], columns: tuple[str, ...] = COLUMNS) -> Table:
    """A row of metrics for each name, in per cent."""
    table = Table()
    table.add_column("")
    for column in columns:
        table.add_column(title_of(column), justify="right")
    for name, metrics in rows.items():
        table.add_row(
            escape(printable(name)),
            *(f"{100 * metrics[column]:.1f}" if column in metrics else "" for column in columns),
        )
    return table


def confidence_table(rows: Mapping[str, Mapping[str, float | None]]) -> Table:
    """A row for each stage: the AUPRC of each confidence and the calibration error, in per cent."""
    titles = {"ours": "ours", "l2": "L2", "pa": "PA", "sue": "SUE", "ece": "ECE"}
    table = Table("AUPRC of confidence", *(Column(title, justify="right") for title in titles.values()))
    for name, figures in rows.items():
        values = [figures.get(key) for key in titles]
        table.add_row(name, *("" if value is None else f"{100 * value:.1f}" for value in values))
    return table


def show(*lines: str | Table) -> None:
    """Print lines and tables to standard output."""
    _print(Console(soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH), lines)


def text_of(*lines: str | Table) -> str:
    """Lines and tables as text, `PIPE_WIDTH` columns wide, without a newline at the end."""
    file = io.StringIO()
    _print(Console(file=file, soft_wrap=True, width=PIPE_WIDTH), lines)
    return file.getvalue().rstrip("\n")


def _print(console: Console, lines: Sequence[str | Table]) -> None:
    for line in lines:
        if isinstance(line, str):
            console.print(printable(line), highlight=False, markup=False)
        else:
            console.print(line)
