"""The criterion by which settings and models are chosen on held-out data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.metrics import evaluate
from vpr.transport.marginals import FromGlobals


@dataclass(frozen=True)
class Criterion:
    """The mean of some metrics; higher is better."""

    metrics: Callable[[np.ndarray, list[np.ndarray]], dict[str, float]]
    names: tuple[str, ...]  # the metrics that are averaged; the first is reported
    marginals: tuple[FromGlobals, ...]  # the kinds to choose from
    adapt: bool | None = None  # whether descriptors are adapted to the held-out set; None: if it is large enough
    needs_all_positives: bool = False  # whether rankings must be as long as the positives of a query

    @property
    def reported(self) -> str:
        """The name of the metric that is reported."""
        return self.names[0]

    @property
    def title(self) -> str:
        """The reported metric in text."""
        return self.reported.replace("recall", "R").upper()

    def full_depth(self, data: RetrievalSet) -> int:
        """The least length of the complete rankings; 0 for no limit."""
        return int(data.answers.counts.max(initial=0)) if self.needs_all_positives else 0

    def value(self, metrics: dict[str, float]) -> float:
        """The mean of the metrics that are averaged."""
        return sum(metrics[name] for name in self.names) / len(self.names)


PLACE_CRITERION = Criterion(evaluate, ("recall@1", "recall@5", "recall@10"), ("complement",))
