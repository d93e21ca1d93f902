"""One evaluation: what a run answers to a retrieval set, and how good that is."""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from vpr.base.errors import VprError
from vpr.datasets.ragged import Ragged
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.confidence import ConfidenceScore, score_confidence
from vpr.eval.described import DescribedSet, Sharding, default_cache, describe
from vpr.eval.files.submission import write_submission
from vpr.eval.metrics import Metrics, evaluate
from vpr.eval.options import RankingConfig, SourceConfig
from vpr.eval.ranking import Reranking, Shortlist, find_shortlist, fusion_of, rerank
from vpr.models.builtin import caches_of, run_of
from vpr.models.loading import load_student, load_teacher
from vpr.retrieval.calibration import calibration_of, curves_of, recorded_calibration
from vpr.retrieval.confidence import Curves
from vpr.retrieval.settings import RerankConfig, RerankOptions

log = logging.getLogger("vpr")

T = TypeVar("T")
SUBMITTED = 20  # predictions a query in a submission


@dataclass(frozen=True)
class Evaluator:
    """How runs are evaluated."""

    ranking: RankingConfig
    rerank: RerankOptions
    device: torch.device
    deepest: int = 0  # candidates of a ranking that are wanted in all; those beyond the depth are not re-ranked
    sharding: Sharding | None = None  # on a cluster; None for this process alone

    def answer(self, data: RetrievalSet, source: SourceConfig, given: Shortlist | None = None) -> "Answers":
        """The shortlist of a run, or a given one, and its re-ranking when asked for.

        Raises VprError for a missing run, a cache of another model, and a shortlist that is not there.
        """
        self._check_pruning(data, source, given)
        if given is None and source.shortlist not in ("student", "teacher"):
            raise VprError(f"--shortlist {source.shortlist}: no such file; pass student, teacher, or a prediction file")
        if given is not None and not source.rerank:
            return Answers(given)
        if given is None and source.shortlist == "teacher":
            given = find_shortlist(self._by_teacher(data, source.run), self.ranking.depth)
            if not source.rerank:
                return Answers(given)
        described = self._by_student(data, source)
        curves = curves_of(source.run)
        if given is None:
            given = dataclasses.replace(find_shortlist(described, self.ranking.depth, self.deepest), own=True)
        reranking = self._rerank(described, given, source.run, curves) if source.rerank else None
        if not given.own:
            curves = dataclasses.replace(curves, shortlist=None)  # it is the student's
        return Answers(given, reranking, described, self.rerank.config(calibration_of(source.run)), curves)

    def _check_pruning(self, data: RetrievalSet, source: SourceConfig, given: Shortlist | None) -> None:
        """Raise VprError where pruning would change the first ranks: its bound is of one pair of images, added up."""
        own = given is None and source.shortlist == "student"
        fused = fusion_of(self.ranking.fusion, own) != "similarity"
        frames = data.queries.images.shape[1] * data.database.images.shape[1]
        if self.rerank.prune and source.rerank and (fused or frames > 1):
            what = "sequences" if frames > 1 else "ranks that are fused"
            remedy = "leave it out" if frames > 1 else "leave it out, or pass --fusion similarity"
            raise VprError(f"--prune {self.rerank.prune} is not exact for {what}; {remedy}")

    def _by_student(self, data: RetrievalSet, source: SourceConfig) -> DescribedSet:
        """The set as the run's model describes it."""
        model = load_student(source.run, self.device)
        rollout = source.rerank and self.rerank.marginals == "rollout"
        cache = source.cache or default_cache(caches_of(run_of(source.run)), model, data, self.ranking, rollout)
        return describe(model, data, cache, self.device, self.ranking, rollout, self.sharding)

    def _by_teacher(self, data: RetrievalSet, run: Path) -> DescribedSet:
        model = load_teacher(run, self.device)
        cache = default_cache(caches_of(run_of(run)), model, data, self.ranking)
        return describe(model, data, cache, self.device, self.ranking, sharding=self.sharding)

    def _rerank(self, described: DescribedSet, shortlist: Shortlist, run: Path, curves: Curves) -> Reranking:
        fixed, fusion = calibration_of(run), self.ranking.fusion
        weight = fixed.weight if self.ranking.weight is None else self.ranking.weight
        config = self.rerank.config(fixed)
        if self.ranking.weight is None and not recorded_calibration(run):
            log.info("no city was held out of this run: the weight of S_struct is the default, %g", weight)
        elif self.ranking.weight is None and (others := self.rerank.differ(fixed)):
            log.warning("the weight %g was fixed under %s; pass --weight with other settings", weight, others)
        return rerank(described, shortlist, config, weight=weight, fusion=fusion, curves=curves, device=self.device)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a run answered."""

    shortlist: Shortlist
    reranking: Reranking | None = None
    described: DescribedSet | None = None  # by the student; None where it took no part
    compared: RerankConfig = RerankConfig()  # how its patches are compared
    curves: Curves = Curves()  # from the separations of either stage to probabilities

    @property
    def ranked(self) -> np.ndarray:
        """The final order, (Q, K)."""
        return (self.reranking or self.shortlist).ranked

    @property
    def adapted(self) -> bool:
        """Whether the student's descriptors were adapted to the database."""
        return self.described is not None and self.described.adapted

    def latency_ms(self) -> dict[str, float]:
        """Milliseconds of each stage that was timed."""
        rerank_ms = None if self.reranking is None else self.reranking.latency_ms
        stages = {
            "describe_per_image": None if self.described is None else self.described.latency_ms,
            "shortlist_per_query": self.shortlist.latency_ms,
            "rerank_per_query": rerank_ms,
        }
        return {name: value for name, value in stages.items() if value is not None}

    def stages(self) -> dict[str, Shortlist | Reranking]:
        """Those that there are, by the names that results carry."""
        both = {"shortlist": self.shortlist, "rerank": self.reranking}
        return {name: stage for name, stage in both.items() if stage is not None}

    def by_stage(self, data: RetrievalSet, judge: Callable[[np.ndarray, Ragged], T]) -> dict[str, T]:
        """What is made of the rankings (Q, K) of each stage, those behind the shortlist included, and the positives."""
        behind = () if self.shortlist.behind is None else (self.shortlist.behind,)
        return {
            name: judge(np.concatenate([stage.ranked, *behind], 1), data.answers)
            for name, stage in self.stages().items()
        }

    def scores(self, data: RetrievalSet, metrics: Metrics = evaluate) -> dict[str, dict[str, float]]:
        """The metrics of each stage, by default Recall@k and mAP@k; raises VprError when no query has a positive."""
        return self.by_stage(data, metrics)

    def confidence(self, data: RetrievalSet) -> dict[str, ConfidenceScore]:
        """How good the confidence of each stage's first answers is; errors as `scores`."""
        return {
            name: score_confidence(stage, data, getattr(self.curves, name)) for name, stage in self.stages().items()
        }

    def table(self, data: RetrievalSet) -> pd.DataFrame:
        """A row for each query: ``query``, its first ``answer``, the ``separation``, and the ``probability`` that the
        answer is right; empty where a query has no candidate, the order has no scores or the run no calibration."""
        name, stage = list(self.stages().items())[-1]
        first = stage.ranked[:, 0]
        sure = np.full(len(first), np.nan) if stage.separation is None else stage.separation
        columns = {
            "query": data.queries.names,
            "answer": np.where(first >= 0, data.database.names[first], ""),
            "separation": np.where(first >= 0, sure, np.nan),
            "probability": self.probability(name),
        }
        return pd.DataFrame(columns)

    def probability(self, name: str) -> np.ndarray:
        """(Q,) that the first answer of a stage is right; NaN where that is not known."""
        stage, curve = self.stages()[name], getattr(self.curves, name)
        if curve is None or stage.separation is None:
            return np.full(len(stage.ranked), np.nan)
        return np.where(stage.ranked[:, 0] >= 0, curve(stage.separation), np.nan)


def submit(path: Path, data: RetrievalSet, answers: Answers) -> str:
    """Write the final order as a submission file; returns what to say of it.

    Raises VprError when a query has no candidates.
    """
    width = min(SUBMITTED, int((answers.ranked >= 0).sum(1).min()))
    if width == 0:
        raise VprError(
            "some queries have no candidates, so no submission can be written; the shortlist file lacks rows"
        )
    write_submission(path, data, answers.ranked[:, :width])
    return f"submission: {path} ({len(answers.ranked)} queries, {width} predictions each)"
