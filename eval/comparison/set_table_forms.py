"""The printed forms of a table over sets: text, CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Column
from rich.table import Table as RichTable

from vpr.base.command import one_line
from vpr.eval.comparison.set_table import COSTS, RECALLS, Cell, SetColumn, SetTable
from vpr.eval.options import TableFormat
from vpr.eval.tables import title_of

if TYPE_CHECKING:
    import pandas as pd

SETS_BESIDE, SETS_BESIDE_COSTS = 3, 2  # sets in a printed table, and in one with costs
DASH = "-"
BEST, NEAR = "*", "="  # marks of the best figure of a column, and of those that do not differ from it
LATEX_SPECIAL = {"\\": r"\textbackslash{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}",
                 "^": r"\textasciicircum{}"}  # fmt: skip


def table_blocks(table: SetTable, form: TableFormat = "text") -> list[str | RichTable]:
    """The lines on the sets, the table, and the notes.

    CSV has a line for each figure, recalls in [0, 1], and nothing around. The others are in per cent.
    """
    if form == "csv":
        return [_long(table).to_csv(index=False).rstrip("\n")]
    if form == "latex":
        return [_latex(table)]
    notes = [f"[{number}] {note}" for number, note in enumerate(table.notes, 1)]
    lines = [f"{column.name}: {line}" for column in table.sets for line in column.lines]
    legend = _legend(table, "**bold**" if form == "markdown" else BEST)
    if form == "markdown":
        return [*lines, "", _wide(table).to_markdown(index=False, disable_numparse=True), "", *legend, *notes]
    return [*lines, *_rich(table), *legend, *notes]


def _legend(table: SetTable, best: str) -> list[str]:
    """The lines below the table. best: how the best of a column is marked."""
    several = "" if len(table.sets) == 1 else ", means over the sets"
    timed = f"; ms/image describes a photo, ms/query ranks the database{several}" if table.costs() else ""
    lines = [f"R@k in per cent, with intervals of 95 % over drives, or over queries without drives{timed}"]
    if any(cell.is_near for cell in table.cells.values()):
        lines.append(f"{best} best of its column; {NEAR} its difference to the best may be chance (95 %, paired)")
    elif len(table.methods) > 1:
        lines.append(f"{best} best of its column")
    return lines


def _absent(table: SetTable, method: str, column: SetColumn) -> str:
    """The text of a cell without a figure."""
    number = table.note_number(method, column.name)
    return DASH if number is None else f"{DASH} [{number}]"


def _rows(table: SetTable, show: Callable[[Cell], str]) -> Iterator[list[str]]:
    """The cells of each row: its name, the recalls of each set, the costs."""
    for method in table.methods:
        row = [method]
        for column in table.sets:
            row += _recalls(table, method, column, show)
        yield row + _cost_texts(table, method)


def _recalls(table: SetTable, method: str, column: SetColumn, show: Callable[[Cell], str]) -> list[str]:
    shown = {k: show(cell) for k, cell in table.row(method, column)}
    return [shown.get(k, _absent(table, method, column)) for k in RECALLS]


def _cost_texts(table: SetTable, method: str) -> list[str]:
    return [_cost_text(table.cost(method, name)) for name in table.costs().values()]


def _rich(table: SetTable) -> list[RichTable]:
    """The table, in parts of `SETS_BESIDE` sets if there are many."""
    parts = [table.sets[start : start + SETS_BESIDE] for start in range(0, len(table.sets), SETS_BESIDE)]
    costs = [*table.costs()]
    if costs and len(parts[-1]) > SETS_BESIDE_COSTS:
        parts.append([])
    tables = []
    for number, sets in enumerate(parts, 1):
        shown = costs if number == len(parts) else []
        titles = [
            Column(
                f"{escape(one_line(column.name)) if k == RECALLS[0] else ''}\n{title_of(f'recall@{k}')}",
                justify="right", min_width=9,
            )
            for column in sets for k in RECALLS
        ]  # fmt: skip
        printed = RichTable("", *titles, *(Column(f"\n{title}", justify="right", no_wrap=True) for title in shown))
        for method in table.methods:
            cells = [cell for column in sets for cell in _recalls(table, method, column, _text_cell)]
            cells += _cost_texts(table, method) if shown else []
            printed.add_row(escape(one_line(method)), *map(escape, cells))
        tables.append(printed)
    return tables


def _wide(table: SetTable) -> pd.DataFrame:
    import pandas as pd

    titles = [f"{column.name} {title_of(f'recall@{k}')}" for column in table.sets for k in RECALLS]
    rows = [[cell.replace("\n", " ").replace("|", r"\|") for cell in row] for row in _rows(table, _markdown_cell)]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=["method", *titles, *table.costs()])
    frame.columns = pd.Index([one_line(title).replace("|", r"\|") for title in frame.columns])
    return frame


def _latex(table: SetTable) -> str:
    """A table for the package booktabs; the interval of a recall is small, beside it."""
    costs, width = table.costs(), len(RECALLS)
    groups = [f"\\multicolumn{{{width}}}{{c}}{{{latex_text(column.name)}}}" for column in table.sets]
    rules = [f"\\cmidrule(lr){{{2 + width * at}-{1 + width * (at + 1)}}}" for at in range(len(table.sets))]
    titles = [title_of(f"recall@{k}") for _ in table.sets for k in RECALLS]
    lines = [
        *(f"% {one_line(column.name)}: {one_line(line)}" for column in table.sets for line in column.lines),
        *(f"% {one_line(line)}" for line in [*_legend(table, "")[:1], "bold: the best; underlined: its difference to "
                                             "the best may be chance", "\\usepackage{booktabs}"]),
        f"\\begin{{tabular}}{{l{'r' * (width * len(table.sets) + len(costs))}}}",
        "\\toprule",
        " & ".join(["", *groups, *("" for _ in costs)]) + r" \\",
        " ".join(rules),
        " & ".join(["", *titles, *costs]) + r" \\",
        "\\midrule",
    ]  # fmt: skip
    for row in _rows(table, _latex_cell):
        cells = [cell if cell.startswith("$") else latex_text(cell) for cell in row[1:]]
        lines.append(" & ".join([latex_text(row[0]), *cells]) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    lines += [f"% [{number}] {one_line(note)}" for number, note in enumerate(table.notes, 1)]
    return "\n".join(lines)


def _long(table: SetTable) -> pd.DataFrame:
    """Columns method, set, metric, mean, low, high; the last two are empty for costs."""
    import pandas as pd

    lines: list[tuple[Any, ...]] = []
    for method in table.methods:
        for column in table.sets:
            for k, cell in table.row(method, column):
                estimate = cell.estimate
                lines.append((method, column.name, f"recall@{k}", estimate.mean, estimate.low, estimate.high))
            result = table.results.get((method, column.name))
            for name in COSTS.values():
                if result is not None and (value := getattr(result, name)) is not None:
                    lines.append((method, column.name, name, value, None, None))
    frame: pd.DataFrame = pd.DataFrame(lines, columns=["method", "set", "metric", "mean", "low", "high"])
    return frame


def _cost_text(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _text_cell(cell: Cell) -> str:
    ends = [f"{100 * end:.1f}".replace("100.0", "100") for end in (cell.estimate.low, cell.estimate.high)]
    mark = BEST if cell.is_best else NEAR if cell.is_near else ""
    return f"{mark}{100 * cell.estimate.mean:.1f}\n{'-'.join(ends)}"


def _markdown_cell(cell: Cell) -> str:
    mean = f"{100 * cell.estimate.mean:.1f}"
    marked = f"**{mean}**" if cell.is_best else f"{NEAR}{mean}" if cell.is_near else mean
    return f"{marked} ({100 * cell.estimate.low:.1f} to {100 * cell.estimate.high:.1f})"


def _latex_cell(cell: Cell) -> str:
    mean = f"{100 * cell.estimate.mean:.1f}"
    marked = f"\\mathbf{{{mean}}}" if cell.is_best else f"\\underline{{{mean}}}" if cell.is_near else mean
    return f"${marked}_{{{100 * cell.estimate.low:.1f}}}^{{{100 * cell.estimate.high:.1f}}}$"


def latex_text(text: str) -> str:
    r"""Text with the characters that LaTeX would read as commands escaped.

    >>> latex_text("pq28_a & 5 %")
    'pq28\\_a \\& 5 \\%'
    """
    return "".join(LATEX_SPECIAL.get(sign, sign) for sign in one_line(text))
