"""The figures of several methods on several sets: methods are rows, sets are groups of columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.eval.comparison.intervals import Estimate, interval

if TYPE_CHECKING:
    from vpr.eval.comparison.pair_results import PairResult

RECALLS = (1, 5, 10)  # of the table
COSTS = {"ms/image": "image_ms", "ms/query": "query_ms", "bytes/image": "bytes_per_image"}  # titles, attributes


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
                            for k, cell in self.row(method, column)
                        },
                        "latency_ms": result.latency_ms,
                        "bytes_per_image": result.bytes_per_image,
                    }
                elif (reason := self.failures.get((method, column.name))) is not None:
                    results[method][column.name] = {"error": reason}
        sets = {column.name: {"protocol": column.protocol, "counts": column.counts} for column in self.sets}
        return {"sets": sets, "results": results}

    def row(self, method: str, column: SetColumn) -> Iterator[tuple[int, Cell]]:
        """The recalls of a method on a set that are known: k, and the cell."""
        for k in RECALLS:
            if (cell := self.cells.get((method, column.name, k))) is not None:
                yield k, cell

    def costs(self) -> dict[str, str]:
        """The attributes of the costs that are known of any method, by their titles."""
        return {
            title: name
            for title, name in COSTS.items()
            if any(self.cost(one, name) is not None for one in self.methods)
        }


def _is_near(values: np.ndarray, best: np.ndarray, groups: np.ndarray) -> bool:
    """Whether the interval of the difference (T, S) to the best has 0. Trainings are paired if there are as many."""
    if len(values) != len(best):
        values, best = values.mean(0, keepdims=True), best.mean(0, keepdims=True)
    return interval(values - best, groups).high >= 0
