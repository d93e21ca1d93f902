"""The table of several methods on several sets: methods are rows, sets are groups of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.table import Column
from rich.table import Table as RichTable

from vpr.base.command import one_line
from vpr.eval.comparison.intervals import Estimate, interval
from vpr.eval.options import TableFormat
from vpr.eval.tables import title_of

if TYPE_CHECKING:
    import pandas as pd

    from vpr.eval.comparison.pair_results import PairResult

RECALLS = (1, 5, 10)  # of the table
SETS_BESIDE, SETS_BESIDE_COSTS = 3, 2  # sets in a printed table, and in one with costs
DASH = "-"
BEST, NEAR = "*", "="  # marks of the best figure of a column, and of those that do not differ from it
COSTS = {"ms/image": "image_ms", "ms/query": "query_ms", "bytes/image": "bytes_per_image"}  # titles, attributes
LATEX_SPECIAL = {"\\": r"\textbackslash{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}",
                 "^": r"\textasciicircum{}"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class SetColumn:
    """A set: a group of columns."""

    name: str
    lines: Sequence[str]  # the rules of the set and the counts
    groups: np.ndarray  # (S,) int of the scored queries, equal for those that are resampled together
    protocol: Mapping[str, Any]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Cell:
    """A recall of a method on a set."""

    estimate: Estimate
    is_best: bool = False  # the highest mean of its column
    is_near: bool = False  # not the best, and the interval of the paired difference to the best has 0

    @property
    def mark(self) -> str:
        """The mark of the cell in text."""
        return BEST if self.is_best else NEAR if self.is_near else ""


@dataclass(frozen=True, eq=False)
class SetTable:
    """The figures of methods on sets. A pair may be missing, or have failed."""

    methods: Sequence[str]
    sets: Sequence[SetColumn]
    results: Mapping[tuple[str, str], PairResult]  # by method and set
    failures: Mapping[tuple[str, str], str]  # reasons, likewise

    @cached_property
    def cells(self) -> dict[tuple[str, str, int], Cell]:
        """The recalls by method, set and k, with intervals of 95 % over drives and trainings."""
        cells: dict[tuple[str, str, int], Cell] = {}
        for column in self.sets:
            for k in RECALLS:
                hits = {
                    method: self.results[method, column.name].hits(k)
                    for method in self.methods
                    if (method, column.name) in self.results and k <= self.results[method, column.name].depth
                }
                best = max((float(values.mean()) for values in hits.values()), default=0.0)
                first = next((values for values in hits.values() if values.mean() == best), None)
                for method, values in hits.items():
                    is_best = float(values.mean()) == best
                    is_near = not is_best and first is not None and _is_near(values, first, column.groups)
                    cells[method, column.name, k] = Cell(interval(values, column.groups), is_best, is_near)
        return cells

    def cost(self, method: str, attribute: str) -> float | None:
        """A cost of a method, the mean over the sets on which it is known; None if there is none."""
        known = [getattr(result, attribute) for (one, _), result in self.results.items() if one == method]
        values = [value for value in known if value is not None]
        return float(np.mean(values)) if values else None

    @cached_property
    def notes(self) -> list[str]:
        """The reasons of failures, each once, with the pairs that they are of, or with the sets that cannot be read."""
        pairs: dict[str, dict[str, list[str]]] = {}
        for (method, name), reason in self.failures.items():
            pairs.setdefault(reason, {}).setdefault(name, []).append(method)
        notes = []
        for reason, sets in pairs.items():
            named = [
                name if len(of) == len(self.methods) else f"{', '.join(of)} on {name}" for name, of in sets.items()
            ]
            notes.append(f"{'; '.join(named)}: {reason}")
        return notes

    def note_number(self, method: str, name: str) -> int | None:
        """The number of the note on a failed pair, from 1; None if the pair did not fail."""
        reason = self.failures.get((method, name))
        return None if reason is None else 1 + [*dict.fromkeys(self.failures.values())].index(reason)

    def blocks(self, form: TableFormat = "text") -> list[str | RichTable]:
        """The lines on the sets, the table, and the notes.

        CSV has a line for each figure, recalls in [0, 1], and nothing around. The others are in per cent.
        """
        if form == "csv":
            return [self._long().to_csv(index=False).rstrip("\n")]
        if form == "latex":
            return [self._latex()]
        notes = [f"[{number}] {note}" for number, note in enumerate(self.notes, 1)]
        lines = [f"{column.name}: {line}" for column in self.sets for line in column.lines]
        legend = self._legend("**bold**" if form == "markdown" else BEST)
        if form == "markdown":
            return [*lines, "", self._wide().to_markdown(index=False, disable_numparse=True), "", *legend, *notes]
        return [*lines, *self._rich(), *legend, *notes]

    def record(self) -> dict[str, Any]:
        """The content of the file that ``--json`` writes."""
        results: dict[str, dict[str, Any]] = {method: {} for method in self.methods}
        for method in self.methods:
            for column in self.sets:
                if (result := self.results.get((method, column.name))) is not None:
                    results[method][column.name] = {
                        **result.metrics,
                        "intervals": {
                            f"recall@{k}": [cell.estimate.low, cell.estimate.high]
                            for k, cell in self._row(method, column)
                        },
                        "latency_ms": result.latency_ms,
                        "bytes_per_image": result.bytes_per_image,
                    }
                elif (reason := self.failures.get((method, column.name))) is not None:
                    results[method][column.name] = {"error": reason}
        sets = {column.name: {"protocol": column.protocol, "counts": column.counts} for column in self.sets}
        return {"sets": sets, "results": results}

    def _row(self, method: str, column: SetColumn) -> Iterator[tuple[int, Cell]]:
        for k in RECALLS:
            if (cell := self.cells.get((method, column.name, k))) is not None:
                yield k, cell

    def _legend(self, best: str) -> list[str]:
        """The lines below the table. best: how the best of a column is marked."""
        several = "" if len(self.sets) == 1 else ", means over the sets"
        timed = f"; ms/image describes a photo, ms/query ranks the database{several}" if self._costs() else ""
        lines = [f"R@k in per cent, with intervals of 95 % over drives, or over queries without drives{timed}"]
        if any(cell.is_near for cell in self.cells.values()):
            lines.append(f"{best} best of its column; {NEAR} its difference to the best may be chance (95 %, paired)")
        elif len(self.methods) > 1:
            lines.append(f"{best} best of its column")
        return lines

    def _costs(self) -> dict[str, str]:
        """The costs that are known of any method."""
        return {
            title: name
            for title, name in COSTS.items()
            if any(self.cost(one, name) is not None for one in self.methods)
        }

    def _absent(self, method: str, column: SetColumn) -> str:
        """The text of a cell without a figure."""
        number = self.note_number(method, column.name)
        return DASH if number is None else f"{DASH} [{number}]"

    def _rows(self, show: Callable[[Cell], str]) -> Iterator[list[str]]:
        """The cells of each row: its name, the recalls of each set, the costs."""
        for method in self.methods:
            row = [method]
            for column in self.sets:
                row += self._recalls(method, column, show)
            yield row + self._cost_texts(method)

    def _recalls(self, method: str, column: SetColumn, show: Callable[[Cell], str]) -> list[str]:
        shown = {k: show(cell) for k, cell in self._row(method, column)}
        return [shown.get(k, self._absent(method, column)) for k in RECALLS]

    def _cost_texts(self, method: str) -> list[str]:
        return [_cost_text(self.cost(method, name)) for name in self._costs().values()]

    def _rich(self) -> list[RichTable]:
        """The table, in parts of `SETS_BESIDE` sets if there are many."""
        parts = [self.sets[start : start + SETS_BESIDE] for start in range(0, len(self.sets), SETS_BESIDE)]
        costs = [*self._costs()]
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
            table = RichTable("", *titles, *(Column(f"\n{title}", justify="right", no_wrap=True) for title in shown))
            for method in self.methods:
                cells = [cell for column in sets for cell in self._recalls(method, column, _text_cell)]
                cells += self._cost_texts(method) if shown else []
                table.add_row(escape(one_line(method)), *map(escape, cells))
            tables.append(table)
        return tables

    def _wide(self) -> pd.DataFrame:
        import pandas as pd

        titles = [f"{column.name} {title_of(f'recall@{k}')}" for column in self.sets for k in RECALLS]
        rows = [[cell.replace("\n", " ").replace("|", r"\|") for cell in row] for row in self._rows(_markdown_cell)]
        frame: pd.DataFrame = pd.DataFrame(rows, columns=["method", *titles, *self._costs()])
        frame.columns = pd.Index([one_line(title).replace("|", r"\|") for title in frame.columns])
        return frame

    def _latex(self) -> str:
        """A table for the package booktabs; the interval of a recall is small, beside it."""
        costs, width = self._costs(), len(RECALLS)
        groups = [f"\\multicolumn{{{width}}}{{c}}{{{latex_text(column.name)}}}" for column in self.sets]
        rules = [f"\\cmidrule(lr){{{2 + width * at}-{1 + width * (at + 1)}}}" for at in range(len(self.sets))]
        titles = [title_of(f"recall@{k}") for _ in self.sets for k in RECALLS]
        lines = [
            *(f"% {one_line(column.name)}: {one_line(line)}" for column in self.sets for line in column.lines),
            *(f"% {one_line(line)}" for line in [*self._legend("")[:1], "bold: the best; underlined: its difference to "
                                                 "the best may be chance", "\\usepackage{booktabs}"]),
            f"\\begin{{tabular}}{{l{'r' * (width * len(self.sets) + len(costs))}}}",
            "\\toprule",
            " & ".join(["", *groups, *("" for _ in costs)]) + r" \\",
            " ".join(rules),
            " & ".join(["", *titles, *costs]) + r" \\",
            "\\midrule",
        ]  # fmt: skip
        for row in self._rows(_latex_cell):
            cells = [cell if cell.startswith("$") else latex_text(cell) for cell in row[1:]]
            lines.append(" & ".join([latex_text(row[0]), *cells]) + r" \\")
        lines += ["\\bottomrule", "\\end{tabular}"]
        lines += [f"% [{number}] {one_line(note)}" for number, note in enumerate(self.notes, 1)]
        return "\n".join(lines)

    def _long(self) -> pd.DataFrame:
        """Columns method, set, metric, mean, low, high; the last two are empty for costs."""
        import pandas as pd

        lines: list[tuple[Any, ...]] = []
        for method in self.methods:
            for column in self.sets:
                for k, cell in self._row(method, column):
                    estimate = cell.estimate
                    lines.append((method, column.name, f"recall@{k}", estimate.mean, estimate.low, estimate.high))
                result = self.results.get((method, column.name))
                for name in COSTS.values():
                    if result is not None and (value := getattr(result, name)) is not None:
                        lines.append((method, column.name, name, value, None, None))
        frame: pd.DataFrame = pd.DataFrame(lines, columns=["method", "set", "metric", "mean", "low", "high"])
        return frame


def _is_near(values: np.ndarray, best: np.ndarray, groups: np.ndarray) -> bool:
    """Whether the interval of the difference (T, S) to the best has 0. Trainings are paired if there are as many."""
    if len(values) != len(best):
        values, best = values.mean(0, keepdims=True), best.mean(0, keepdims=True)
    return interval(values - best, groups).high >= 0


def _cost_text(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _text_cell(cell: Cell) -> str:
    ends = [f"{100 * end:.1f}".replace("100.0", "100") for end in (cell.estimate.low, cell.estimate.high)]
    return f"{cell.mark}{100 * cell.estimate.mean:.1f}\n{'-'.join(ends)}"


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
