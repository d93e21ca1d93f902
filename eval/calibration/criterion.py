"""The criterion by which settings and models are chosen on held-out data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.metrics import evaluate, recalls_per_query
from vpr.transport.marginals import Calibrated

MASS_STEP = 0.15  # of the masses that are tried


class Setting(NamedTuple):
    """A setting of re-ranking that is tried."""

    marginals: Calibrated
    mass: float
    weight: float

    def distance(self, other: Setting) -> float:
        """Steps of the grid between two settings: doublings of 1 + weight, `MASS_STEP`, and 1 for other marginals.

        >>> Setting("complement", 0.7, 3.0).distance(Setting("uniform", 1.0, 7.0))
        4.0
        """
        weights = abs(math.log2((1 + self.weight) / (1 + other.weight)))
        masses = round(abs(self.mass - other.mass) / MASS_STEP, 9)
        return weights + masses + (self.marginals != other.marginals)


@dataclass(frozen=True)
class Criterion:
    """The mean of some metrics; higher is better."""

    metrics: Callable[[np.ndarray, list[np.ndarray]], dict[str, float]]
    per_query: Callable[[np.ndarray, list[np.ndarray]], dict[str, np.ndarray]]  # the metrics of each query, (S,)
    names: tuple[str, ...]  # the metrics that are averaged; the first is reported
    marginals: tuple[Calibrated, ...]  # the kinds to choose from
    adapt: bool | None = None  # whether descriptors are adapted to the held-out set; None: if it is large enough
    needs_all_positives: bool = False  # whether rankings must be as long as the positives of a query
    of_scenes: bool = False  # whether two images of an answer show one scene, so that geometry says something
    prior: Setting | None = None  # chosen among settings that differ by noise only; None: the best is chosen
    measured_with: Setting | None = None  # by which start and end of a training are measured; None: the prior

    def with_learnt_marginals(self) -> Criterion:
        """The criterion for a model whose learnt weights of patches count.

        Complement alone gives way to learnt marginals: held-out data have chosen between both, and how much the weights
        count. Other kinds stay beside them.
        """
        prior = None if self.prior is None else self.prior._replace(marginals="learnt")
        others = () if self.marginals == ("complement",) else self.marginals
        return replace(self, marginals=(*others, "learnt"), prior=prior)

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

    def values(self, ranked: np.ndarray, positives: list[np.ndarray]) -> np.ndarray:
        """The value of each query with positives, (S,); their mean is the `value` of the metrics."""
        shares = self.per_query(ranked, positives)
        mean: np.ndarray = np.mean([shares[name] for name in self.names], axis=0)
        return mean


PLACE_CRITERION = Criterion(
    evaluate,
    recalls_per_query,
    ("recall@1", "recall@5", "recall@10"),
    ("complement",),
    of_scenes=True,
    prior=Setting("complement", 0.7, 40.0),  # of the built-in weights
)
