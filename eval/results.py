"""Results over several trainings: recalls with intervals, as text, CSV, JSON and a picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from datasets.retrieval_set import RetrievalSet
from eval.intervals import Estimate, interval
from vpr.base.files import replacing, write_json

KS = (1, 5, 10)
NEVER = np.iinfo(np.int64).max  # the rank of a right answer that is not among the candidates
DIFFERENCES = (
    ("distilled", "NetVLAD"),
    ("distilled + structure", "distilled"),
    ("distilled + structure", "scratch + structure"),
    ("NetVLAD + structure", "NetVLAD"),
)  # the paper's claims


def first_right(ranked: np.ndarray, data: RetrievalSet) -> np.ndarray:
    """The rank of the first right answer of each scored query, (S,) int64 from 0; `NEVER` where there is none."""
    ranks = np.full(len(data.scored), NEVER)
    for place, query in enumerate(data.scored.tolist()):
        hits = np.flatnonzero(np.isin(ranked[query], data.answers[query]))
        if len(hits):
            ranks[place] = hits[0]
    return ranks


@dataclass(frozen=True, eq=False)
class Results:
    """What some trainings, each of the same rows, answered to one retrieval set."""

    trainings: Sequence[dict[str, np.ndarray]]  # ranks of the first right answers, (S,), by name of row
    data: RetrievalSet

    @cached_property
    def drives(self) -> np.ndarray:
        """(S,) the drive of each scored query; every query by itself where drives are not known."""
        return self.data.scored if self.data.drives is None else self.data.drives[self.data.scored]

    def hits(self, row: str, k: int) -> np.ndarray:
        """(T, S) bool: whether a right answer is among the first k."""
        return np.stack([training[row] < k for training in self.trainings])

    @cached_property
    def recalls(self) -> dict[str, dict[int, Estimate]]:
        """Recall@k of each row, shares in [0, 1]."""
        return {row: {k: interval(self.hits(row, k), self.drives) for k in KS} for row in self.trainings[0]}

    @cached_property
    def differences(self) -> dict[tuple[str, str], Estimate]:
        """Recall@1 of one row minus another's, of those in `DIFFERENCES` that are there; paired by query."""
        pairs = [pair for pair in DIFFERENCES if set(pair) <= set(self.trainings[0])]
        return {
            (above, below): interval(self.hits(above, 1).astype(float) - self.hits(below, 1), self.drives)
            for above, below in pairs
        }

    def table(self) -> Table:
        """In per cent, with intervals."""
        title = f"mean of {len(self.trainings)} trainings; 95 % intervals over {len(np.unique(self.drives))} drives"
        table = Table("", *(Column(f"R@{k}", justify="right") for k in KS), title=title)
        for row, recalls in self.recalls.items():
            table.add_row(row, *(_shown(recalls[k]) for k in KS))
        return table

    def differences_told(self) -> list[str]:
        """One line for each difference."""
        return [f"R@1 of {above} - {below}: {_shown(found)}" for (above, below), found in self.differences.items()]


def write_results(out: Path, results: Results, protocol: str) -> None:
    """Write table.json, table.txt, table.csv and table.png into a folder."""
    recalls, differences = results.recalls, results.differences
    record = {
        "protocol": protocol,
        "queries": len(results.drives),
        "drives": len(np.unique(results.drives)),
        "recall": {
            row: {f"recall@{k}": asdict(estimate) for k, estimate in by_k.items()} for row, by_k in recalls.items()
        },
        "by_training": {
            row: {f"recall@{k}": results.hits(row, k).mean(1).tolist() for k in KS} for row in recalls
        },
        "differences": {" - ".join(pair): asdict(estimate) for pair, estimate in differences.items()},
    }  # fmt: skip
    write_json(out / "table.json", record)
    rows = [
        {"row": row, "k": k, **asdict(estimate)} for row, by_k in recalls.items() for k, estimate in by_k.items()
    ]  # fmt: skip
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
    """Recall@1 of each method, without and with structure, with intervals."""
    from matplotlib.figure import Figure

    from eval.figures import COLOURS, style

    names = [row for row in results.recalls if f"{row} + structure" in results.recalls]
    with style():
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        for place, (suffix, label) in enumerate((("", "global"), (" + structure", "re-ranked"))):
            found = [results.recalls[name + suffix][1] for name in names]
            means = np.array([estimate.mean for estimate in found])
            errors = [means - [e.low for e in found], [e.high for e in found] - means]
            where = np.arange(len(names)) + (place - 0.5) * 0.38
            axes.bar(where, 100 * means, 0.36, yerr=100 * np.array(errors), label=label, color=COLOURS[place])
        axes.set_xticks(np.arange(len(names)), names)
        axes.set_ylabel("Recall@1, %")
        axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=200)


def _shown(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
