"""The table of a comparison in the formats that people paste it into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rich.markup import escape
from rich.table import Column
from rich.table import Table as RichTable

from vpr.base.command import printable
from vpr.eval.report.subject import Table
from vpr.eval.tables import title_of

if TYPE_CHECKING:
    import pandas as pd

    from vpr.eval.methods import Comparison

Format = Literal["text", "csv", "markdown", "latex"]
COLUMNS = ("recall@1", "recall@5", "recall@10")


def tabulated(comparison: Comparison, said: list[str], form: Format, first: bool = True) -> list[str | RichTable]:
    """What is printed of a comparison: what it is of, its table, and as text the differences too.

    CSV has a line for each row and metric, in [0, 1], below a header where it is the first; the others are in per cent.
    """
    if form == "text":
        told = [
            f"R@1 of {row.name} - {first.name}: {estimate.percent}" for row, first, estimate in comparison.differences()
        ]
        return [*said, _rich(_wide(comparison)), *told]
    if form == "csv":
        return [_long(comparison).to_csv(index=False, header=first).rstrip("\n")]
    table = _wide(comparison)
    if form == "markdown":
        escaped = table.rename(index=lambda name: name.replace("|", r"\|"))
        return [*said, "", escaped.to_markdown(disable_numparse=True)]
    return [*(f"% {line}" for line in said), table.to_latex(escape=True, column_format="l" + "r" * len(COLUMNS))]


def differences_table(comparison: Comparison) -> tuple[Table, ...]:
    """For a report: Recall@1 of each method minus the first one's; none where there is one method."""
    found = comparison.differences()
    if not found:
        return ()
    rows = [(row.name, estimate.percent) for row, _, estimate in found]
    note = "Paired by query, with intervals of 95 % over drives and trainings."
    return (Table("Differences of Recall@1", (f"minus {found[0][1].name}",), tuple(rows), note),)


def _rich(table: pd.DataFrame) -> RichTable:
    shown = RichTable("", *(Column(title, justify="right") for title in table.columns))
    for name, cells in table.iterrows():
        shown.add_row(escape(str(name)), *cells)
    return shown


def _wide(comparison: Comparison) -> pd.DataFrame:
    """A column for each metric, in per cent with its interval; floors have none."""
    import pandas as pd

    rows: dict[str, dict[str, str]] = {}
    for name, metrics in comparison.floors.items():
        rows[name] = {title_of(metric): f"{100 * metrics[metric]:.1f}" for metric in COLUMNS}
    for row in comparison.rows:
        rows[row.name] = {title_of(metric): row.estimate(metric).percent for metric in COLUMNS}
    return pd.DataFrame(rows).T.rename(index=printable)


def _long(comparison: Comparison) -> pd.DataFrame:
    """Columns task, subtask, row, metric, mean, low, high; the last two are empty for floors."""
    import pandas as pd

    protocol = comparison.dataset.protocol
    lines: list[tuple[Any, ...]] = []
    for name, metrics in comparison.floors.items():
        lines += [(name, metric, metrics[metric], None, None) for metric in COLUMNS]
    for row in comparison.rows:
        estimates = [(metric, row.estimate(metric)) for metric in COLUMNS]
        lines += [(row.name, metric, found.mean, found.low, found.high) for metric, found in estimates]
    table = pd.DataFrame(lines, columns=["row", "metric", "mean", "low", "high"])
    table.insert(0, "subtask", protocol.subtask)
    table.insert(0, "task", protocol.task)
    return table
