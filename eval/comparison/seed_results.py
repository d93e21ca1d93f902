"""Results over several trainings: metrics with intervals, as text, CSV, JSON and a figure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from vpr.base.files import replace_file, write_json
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.comparison.intervals import Estimate, interval, resampling_groups
from vpr.eval.metrics import first_hits
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
)  # the claims of the paper

Values = dict[str, np.ndarray]  # (S,) for each metric: the value of each scored query, in [0, 1]


def recall_hits(ranked: np.ndarray, data: RetrievalSet) -> Values:
    """``recall@k``, (S,): 1.0 if a scored query has a positive among its first k = 1, 5 and 10, otherwise 0.0."""
    hits, _ = first_hits(ranked, data.answers, max(KS), data.unanswered)
    return {f"recall@{k}": hits[:, :k].any(1).astype(float) for k in KS}


@dataclass(frozen=True, eq=False)
class Results:
    """The results of several trainings on one retrieval set; each training has the same rows."""

    trainings: Sequence[dict[str, Values]]  # for each training the values of each row, by name
    data: RetrievalSet
    group_title: str = "drives"  # the name of the groups that are resampled together

    @cached_property
    def groups(self) -> np.ndarray:
        """(S,) int: the group of each scored query, as `resampling_groups`."""
        return resampling_groups(self.data)

    @property
    def rows(self) -> list[str]:
        """The names of the rows."""
        return list(self.trainings[0])

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics."""
        return list(self.trainings[0][self.rows[0]])

    def values(self, row: str, metric: str) -> np.ndarray:
        """(T, S): the values of each training and query."""
        return np.stack([training[row][metric] for training in self.trainings])

    @cached_property
    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """The mean and interval of each row and metric, in [0, 1]."""
        return {
            row: {name: interval(self.values(row, name), self.groups) for name in self.metrics} for row in self.rows
        }

    @cached_property
    def differences(self) -> dict[tuple[str, str, str], Estimate]:
        """The metrics of one row minus those of another, paired by query, for the pairs of `DIFFERENCES`.

        The keys are metric, first row and second row. Of recalls only Recall@1 is compared.
        """
        compared = self.metrics[:1] if self.metrics[0].startswith("recall") else self.metrics
        return {
            (name, above, below): interval(self.values(above, name) - self.values(below, name), self.groups)
            for above, below in self._pairs()
            for name in compared
        }

    def _pairs(self) -> list[tuple[str, str]]:
        """The pairs of `DIFFERENCES` among the rows. Rows may begin with the name of a method, ``NAME: ``."""
        methods = dict.fromkeys(row[: row.find(": ") + 2] if ": " in row else "" for row in self.rows)
        named = [(method + above, method + below) for method in methods for above, below in DIFFERENCES]
        return [pair for pair in named if set(pair) <= set(self.rows)]

    def table(self) -> Table:
        """The metrics of each row, in per cent, with intervals."""
        count = len(np.unique(self.groups))
        title = f"mean of {len(self.trainings)} trainings; 95 % intervals over {count} {self.group_title}"
        table = Table("", *(Column(title_of(name), justify="right") for name in self.metrics), title=title)
        for row, by_metric in self.estimates.items():
            table.add_row(row, *(estimate.percent for estimate in by_metric.values()))
        return table

    def difference_lines(self) -> list[str]:
        """One line for each difference."""
        return [
            f"{title_of(name)} of {above} - {below}: {estimate.percent}"
            for (name, above, below), estimate in self.differences.items()
        ]


def write_results(out: Path, results: Results, protocol: str) -> None:
    """Write table.json, table.txt, table.csv and table.png into a folder."""
    estimates, metrics = results.estimates, results.metrics
    differences = {
        (f"{above} - {below}" if name == "recall@1" else f"{name}: {above} - {below}"): asdict(estimate)
        for (name, above, below), estimate in results.differences.items()
    }
    record = {
        "protocol": protocol,
        "queries": len(results.groups),
        results.group_title: len(np.unique(results.groups)),
        "recall": {row: {name: asdict(one) for name, one in by_metric.items()} for row, by_metric in estimates.items()},
        "by_training": {
            row: {name: results.values(row, name).mean(1).tolist() for name in metrics} for row in estimates
        },
        "differences": differences,
    }
    write_json(out / "table.json", record)
    rows = [
        {"row": row, "metric": name, **asdict(one)}
        for row, by_metric in estimates.items()
        for name, one in by_metric.items()
    ]
    with replace_file(out / "table.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    with replace_file(out / "table.txt") as temporary, temporary.open("w", encoding="utf-8") as file:
        console = Console(file=file, width=100)
        console.print(protocol, highlight=False)
        console.print(results.table())
        for line in results.difference_lines():
            console.print(line, highlight=False)
    _draw(out / "table.png", results)


def _draw(path: Path, results: Results) -> None:
    """Draw the first metric of each method, without and with structure, with intervals."""
    from matplotlib.figure import Figure

    from vpr.base.figures import COLOURS, save, style

    first = results.metrics[0]
    names = [row for row in results.rows if f"{row} + structure" in results.rows]
    with style():
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        for place, (suffix, label) in enumerate((("", "global"), (" + structure", "re-ranked"))):
            estimates = [results.estimates[name + suffix][first] for name in names]
            means = np.array([estimate.mean for estimate in estimates])
            errors = [means - [one.low for one in estimates], [one.high for one in estimates] - means]
            positions = np.arange(len(names)) + (place - 0.5) * 0.38
            axes.bar(positions, 100 * means, 0.36, yerr=100 * np.array(errors), label=label, color=COLOURS[place])
        axes.set_xticks(np.arange(len(names)), names)
        axes.set_ylabel(f"{title_of(first)}, %")
        axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
        save(figure, path)
