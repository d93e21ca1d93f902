"""A benchmark: a retrieval set, the rules of its evaluation, and how both are described."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.errors import VprError
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.metrics import KS, Metrics, evaluate
from vpr.eval.tables import describe_counts

if TYPE_CHECKING:
    from vpr.eval.report.subject import Stage, Table


class Benchmark(ABC):
    """A retrieval set and the rules of its evaluation."""

    ks: tuple[int, ...] = KS  # numbers of answers of Recall@k and mAP@k

    @property
    @abstractmethod
    def data(self) -> RetrievalSet:
        """Queries, database and positives."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The name of the set, for the title of a report."""

    @abstractmethod
    def describe(self) -> str:
        """One line: the protocol."""

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """The protocol for a JSON file."""

    @abstractmethod
    def notes(self) -> list[str]:
        """Remarks on the set: counts that differ from the official ones, what is left out, what is missing."""

    @abstractmethod
    def unscored_reason(self) -> str:
        """The reason why nothing can be scored, with the remedy; empty if answers are known."""

    @abstractmethod
    def read_rankings(self, path: Path, strict: bool) -> np.ndarray:
        """The rankings (Q, K) of a prediction file; problems are logged with their counts, or refused if strict."""

    @abstractmethod
    def read_shortlist(self, path: Path, depth: int) -> np.ndarray:
        """The first ``depth`` of each ranking of a prediction file, (Q, K) int64, without repeats, -1 behind."""

    def require_answers(self) -> None:
        """Raise VprError if nothing can be scored."""
        if reason := self.unscored_reason():
            raise VprError(f"nothing can be scored: {reason}")

    def facets(self) -> dict[str, np.ndarray]:
        """(Q,) str labels of the queries, by name, for a report."""
        return {}

    def tables(self, stages: tuple[Stage, ...]) -> tuple[Table, ...]:
        """More tables of a report."""
        return ()

    def columns(self) -> dict[str, str]:
        """The columns of a comparison's CSV that name the protocol."""
        return {}

    def header(self) -> list[str]:
        """The protocol and the counts, one line each."""
        return [self.describe(), describe_counts(self.data)]

    @property
    def metrics(self) -> Metrics:
        """Recall@k and mAP@k by the rules of the set."""
        return partial(evaluate, ks=self.ks, unanswered=self.data.unanswered)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of the metrics in the order of tables."""
        return tuple(f"{name}@{k}" for name in ("recall", "map") for k in self.ks)
