"""MSLS under its protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.msls.known_counts import count_remarks
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.files.foreign import read_rankings, read_shortlist
from vpr.eval.sets.benchmark import Benchmark
from vpr.eval.tables import describe_protocol

if TYPE_CHECKING:
    from vpr.eval.report.subject import Stage, Table


@dataclass(frozen=True, eq=False)
class MSLSBenchmark(Benchmark):
    """MSLS under its protocol."""

    dataset: MSLS

    @property
    def data(self) -> RetrievalSet:
        """Queries, database and positives of all cities."""
        return self.dataset.retrieval_set

    @property
    def title(self) -> str:
        """The names of the cities."""
        return ", ".join(city.name for city in self.dataset.cities)

    def describe(self) -> str:
        """One line: split, cities, task, subtask, radius and scope."""
        return describe_protocol(self.dataset)

    def protocol(self) -> dict[str, Any]:
        """``split``, ``cities``, ``task``, ``subtask``, ``seq_length``, ``radius_m`` and ``scope``."""
        protocol = self.dataset.protocol
        return {
            "split": protocol.split,
            "cities": [city.name for city in self.dataset.cities],
            "task": protocol.task,
            "subtask": protocol.subtask,
            "seq_length": protocol.seq_length,
            "radius_m": protocol.radius_m,
            "scope": protocol.scope,
        }

    def notes(self) -> list[str]:
        """Counts that differ from the official ones, cities that are left out, and missing files."""
        dataset = self.dataset
        notes = count_remarks(dataset)
        notes += [
            f"{city} is left out: it has no queries or no database under this protocol" for city in dataset.skipped
        ]
        notes += [
            f"{city} has no raw.csv, so its panoramas are unknown and not removed" for city in dataset.with_panoramas
        ]
        return notes

    def unscored_reason(self) -> str:
        """The cities without coordinates; empty if there is none."""
        if not self.dataset.without_ground_truth:
            return ""
        cities = ", ".join(self.dataset.without_ground_truth)
        return f"{cities} has no postprocessed.csv, so the true positions are unknown; write a --submission"

    def require_answers(self) -> None:
        """As `vpr.eval.evaluator.require_positions`."""
        from vpr.eval.evaluator import require_positions

        require_positions(self.dataset)

    def read_rankings(self, path: Path, strict: bool) -> np.ndarray:
        """As `vpr.eval.files.foreign.read_rankings`."""
        return read_rankings(path, self.dataset, strict)

    def read_shortlist(self, path: Path, depth: int) -> np.ndarray:
        """As `vpr.eval.files.foreign.read_shortlist`."""
        return read_shortlist(path, self.dataset, depth)

    def facets(self) -> dict[str, np.ndarray]:
        """City, light, view direction, and the distance of the nearest positive."""
        from vpr.eval.report.tables import query_facets

        return query_facets(self.dataset)

    def tables(self, stages: tuple[Stage, ...]) -> tuple[Table, ...]:
        """Recall by subtask."""
        from vpr.eval.report.tables import subtask_table

        table = None if self.data.positives is None else subtask_table(self.dataset, stages)
        return () if table is None else (table,)

    def columns(self) -> dict[str, str]:
        """Task and subtask."""
        return {"task": self.dataset.protocol.task, "subtask": self.dataset.protocol.subtask}
