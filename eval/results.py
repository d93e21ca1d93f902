"""Results over several trainings: recalls with intervals, as text, CSV, JSON and a picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from vpr.base.files import replacing, write_json
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.intervals import Estimate, drives_of, interval
from vpr.eval.tables import title_of

KS = (1, 5, 10)
DIFFERENCES = (
    ("distilled", "NetVLAD"),
    ("distilled + structure", "distilled"),
    ("distilled + structure", "scratch + structure"),
    ("NetVLAD + structure", "NetVLAD"),
    ("base + structure", "base"),
    ("struct + structure", "base"),
    ("struct + structure", "struct"),
    ("struct + structure", "untrained + structure"),
)  # the paper's claims

Values = dict[str, np.ndarray]  # of each scored query (S,), in [0, 1], by metric


def found_within(ranked: np.ndarray, data: RetrievalSet) -> Values:
    """Whether each scored query has a right answer among its first 1, 5 and 10: ``recall@k``."""
    hits = np.stack([np.isin(ranked[query, : max(KS)], data.answers[query]) for query in data.scored.tolist()])
    return {f"recall@{k}": hits[:, :k].any(1).astype(float) for k in KS}


@dataclass(frozen=True, eq=False)
class Results:
    """What some trainings, each of the same rows, answered to one retrieval set."""

    trainings: Sequence[dict[str, Values]]  # by name of row
    data: RetrievalSet
    together: str = "drives"  # what queries are resampled by

    @cached_property
    def drives(self) -> np.ndarray:
        """(S,) as `drives_of`."""
        return drives_of(self.data)

    @property
    def rows(self) -> list[str]:
        """The names of the rows."""
        return list(self.trainings[0])

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics."""
        return list(self.trainings[0][self.rows[0]])

    def values(self, row: str, metric: str) -> np.ndarray:
        """(T, S): of each training and query."""
        return np.stack([training[row][metric] for training in self.trainings])

    @cached_property
    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """Of each row and metric, shares in [0, 1]."""
        return {
            row: {name: interval(self.values(row, name), self.drives) for name in self.metrics} for row in self.rows
        }

    @cached_property
    def differences(self) -> dict[tuple[str, str, str], Estimate]:
        """The metrics of one row minus another's, of the pairs in `DIFFERENCES` that are there; paired by query. Recall
        is compared at 1 only."""
        compared = self.metrics[:1] if self.metrics[0].startswith("recall") else self.metrics
        return {
            (name, above, below): interval(self.values(above, name) - self.values(below, name), self.drives)
            for above, below in self._pairs()
            for name in compared
        }

    def _pairs(self) -> list[tuple[str, str]]:
        """The pairs of `DIFFERENCES` among the rows; rows may begin with the name of a method, ``NAME: ``."""
        methods = dict.fromkeys(row[: row.find(": ") + 2] if ": " in row else "" for row in self.rows)
        named = [(method + above, method + below) for method in methods for above, below in DIFFERENCES]
        return [pair for pair in named if set(pair) <= set(self.rows)]

    def table(self) -> Table:
        """In per cent, with intervals."""
        count = len(np.unique(self.drives))
        title = f"mean of {len(self.trainings)} trainings; 95 % intervals over {count} {self.together}"
        table = Table("", *(Column(title_of(name), justify="right") for name in self.metrics), title=title)
        for row, by_metric in self.estimates.items():
            table.add_row(row, *(estimate.percent for estimate in by_metric.values()))
        return table

    def differences_told(self) -> list[str]:
        """One line for each difference."""
        return [
            f"{title_of(name)} of {above} - {below}: {found.percent}"
            for (name, above, below), found in self.differences.items()
        ]


def write_results(out: Path, results: Results, protocol: str) -> None:
    """Write table.json, table.txt, table.csv and table.png into a folder."""
    found, metrics = results.estimates, results.metrics
    differences = {
        (f"{above} - {below}" if name == "recall@1" else f"{name}: {above} - {below}"): asdict(estimate)
        for (name, above, below), estimate in results.differences.items()
    }
    record = {
        "protocol": protocol,
        "queries": len(results.drives),
        results.together: len(np.unique(results.drives)),
        "recall": {row: {name: asdict(one) for name, one in by_metric.items()} for row, by_metric in found.items()},
        "by_training": {row: {name: results.values(row, name).mean(1).tolist() for name in metrics} for row in found},
        "differences": differences,
    }
    write_json(out / "table.json", record)
    rows = [
        {"row": row, "metric": name, **asdict(one)}
        for row, by_metric in found.items()
        for name, one in by_metric.items()
    ]
    with replacing(out / "table.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    with replacing(out / "table.txt") as temporary, temporary.open("w", encoding="utf-8") as file:
        console = Console(file=file, width=100)
        console.print(protocol, highlight=False)
        console.print(results.table())
        for line in results.differences_told():
            console.print(line, highlight=False)
    _draw(out / "table.png", results)


def _draw(path: Path, results: Results) -> None:
    """The first metric of each method, without and with structure, with intervals."""
    from matplotlib.figure import Figure

    from vpr.base.figures import COLOURS, save, style

    first = results.metrics[0]
    names = [row for row in results.rows if f"{row} + structure" in results.rows]
    with style():
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        for place, (suffix, label) in enumerate((("", "global"), (" + structure", "re-ranked"))):
            found = [results.estimates[name + suffix][first] for name in names]
            means = np.array([estimate.mean for estimate in found])
            errors = [means - [e.low for e in found], [e.high for e in found] - means]
            where = np.arange(len(names)) + (place - 0.5) * 0.38
            axes.bar(where, 100 * means, 0.36, yerr=100 * np.array(errors), label=label, color=COLOURS[place])
        axes.set_xticks(np.arange(len(names)), names)
        axes.set_ylabel(f"{title_of(first)}, %")
        axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
        save(figure, path)
