"""The rankings of a run for a retrieval set, and their scores."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from vpr.base.errors import VprError
from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.ragged import Ragged
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.confidence import ConfidenceScore, score_confidence
from vpr.eval.descriptors import DescribedSet, Sharding, default_cache, describe
from vpr.eval.files.submission import write_submission
from vpr.eval.metrics import Metrics, evaluate
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.ranking import Reranking, Shortlist, find_shortlist, rerank, resolve_fusion
from vpr.models.builtin import descriptor_folder, resolve_run
from vpr.models.engine import DescribingEngine
from vpr.models.loading import load_teacher
from vpr.models.model_name import is_model_name
from vpr.retrieval.confidence import Curves
from vpr.retrieval.settings import Calibration, RerankConfig, RerankOptions
from vpr.run import Run, load

log = logging.getLogger("vpr")

T = TypeVar("T")
SUBMISSION_DEPTH = 20  # predictions for each query in a submission


@dataclass(frozen=True)
class Evaluator:
    """Ranks a retrieval set by runs, with the same options for each."""

    ranking: RankingOptions
    rerank: RerankOptions
    device: torch.device
    full_depth: int = 0  # length of the complete rankings; candidates beyond the shortlist are not re-ranked
    sharding: Sharding | None = None  # the cluster to work on; None for this process alone
    opened: Mapping[Path, Run] = field(default_factory=dict)  # runs that are loaded already, by their sources

    def answer(self, data: RetrievalSet, source: SourceOptions, external: Shortlist | None = None) -> "Answers":
        """The rankings of a run: its shortlist, or an external one, and the re-ranking if ``source.rerank`` is set.

        Raises VprError for a missing run, a cache of another model, and a missing shortlist.
        """
        self._check_pruning(data, source, external)
        self._check_geometry(data, source)
        shortlist = external
        if external is None and source.shortlist not in ("student", "teacher"):
            raise VprError(f"--shortlist {source.shortlist}: no such file; pass student, teacher, or a prediction file")
        if external is None and source.shortlist == "teacher":
            shortlist = find_shortlist(self._describe_by_teacher(data, source.run), self.ranking.depth)
        if shortlist is not None and not source.rerank:
            return Answers(shortlist)
        run = self.opened.get(source.run) or load(source.run, self.device, trust=self.ranking.trust)
        described = self._describe_by_student(data, run, source)
        if shortlist is None:
            candidates = find_shortlist(described, self.ranking.depth, self.full_depth)
            shortlist = dataclasses.replace(candidates, same_model=True)
        reranking = self._rerank(described, shortlist, run) if source.rerank else None
        curves = run.curves
        if not shortlist.same_model:
            curves = dataclasses.replace(curves, shortlist=None)  # it was fitted to shortlists of the student
        if reranking is not None and reranking.geometry:
            curves = dataclasses.replace(curves, rerank=curves.geometry)
        return Answers(shortlist, reranking, described, self.rerank.config(run.calibration), curves, run.origin)

    def _check_pruning(self, data: RetrievalSet, source: SourceOptions, external: Shortlist | None) -> None:
        """Raise VprError if pruning could change the first ranks. Its bound holds for pairs of images and the fusion
        ``similarity``."""
        same_model = external is None and source.shortlist == "student"
        fused = resolve_fusion(self.ranking.fusion, same_model) != "similarity"
        frames = data.queries.images.shape[1] * data.database.images.shape[1]
        if self.rerank.prune and source.rerank and (fused or frames > 1):
            case = "sequences" if frames > 1 else "a fused ranking"
            remedy = "leave it out" if frames > 1 else "leave it out, or pass --fusion similarity"
            raise VprError(f"--prune {self.rerank.prune} is not exact for {case}; {remedy}")

    def _check_geometry(self, data: RetrievalSet, source: SourceOptions) -> None:
        """Raise VprError if geometry is asked for, but unknown: for sequences, and with pruning, which skips plans."""
        geometry = self.rerank.geometry if source.rerank else 0
        if geometry and data.queries.images.shape[1] * data.database.images.shape[1] > 1:
            raise VprError(f"--geometry {geometry} is for single images, not for sequences; leave it out")
        if geometry and self.rerank.prune:
            raise VprError(f"--geometry {geometry} needs the scores of all candidates; leave --prune out")

    def _geometry(self, described: DescribedSet, calibration: Calibration) -> int:
        """The number of first candidates that are ordered by geometry too."""
        if self.rerank.geometry is not None:
            return self.rerank.geometry
        frames = described.rows.query.shape[1] * described.rows.database.shape[1]
        return 0 if self.rerank.prune or frames > 1 else calibration.default_geometry(described.cache.spec.patches)

    def _describe_by_student(self, data: RetrievalSet, run: Run, source: SourceOptions) -> DescribedSet:
        """The set with the descriptors of the network of a run."""
        if source.rerank:
            run.require_weights(self.rerank.config(run.calibration).marginals)
        rollout = source.rerank and self.rerank.marginals == "rollout"
        cache = source.cache or default_cache(run.cache_folder, run.network, data, self.ranking, rollout)
        return describe(run.network, data, cache, self.device, self.ranking, rollout, self.sharding)

    def _describe_by_teacher(self, data: RetrievalSet, run: Path) -> DescribedSet:
        """The set with the descriptors of the teacher inside a run, or of a teacher run."""
        model = load_teacher(run, self.device)
        model.engine = DescribingEngine("auto", self.device)
        cache = default_cache(descriptor_folder(resolve_run(run)), model, data, self.ranking)
        return describe(model, data, cache, self.device, self.ranking, sharding=self.sharding)

    def _rerank(self, described: DescribedSet, shortlist: Shortlist, run: Run) -> Reranking:
        calibration, fusion = run.calibration, self.ranking.fusion
        weight = calibration.weight if self.ranking.weight is None else self.ranking.weight
        geometry = self._geometry(described, calibration)
        config = dataclasses.replace(self.rerank.config(calibration), geometry=geometry)
        if geometry and run.calibrated and geometry != calibration.geometry:
            log.warning("this run was calibrated with geometry %d, not %d", calibration.geometry, geometry)
        if is_model_name(run.name):
            mass = self.rerank.config(calibration).mass
            log.info("%s is not calibrated: weight of S_struct %g, mass %g (--weight, --mass)", run.name, weight, mass)
        elif self.ranking.weight is None and not run.calibrated:
            log.info("no city was held out of this run: the weight of S_struct is the default, %g", weight)
        elif self.ranking.weight is None and (others := self.rerank.describe_overrides(calibration)):
            log.warning("the weight %g was calibrated with %s; pass --weight with other settings", weight, others)
        return rerank(described, shortlist, config, weight=weight, fusion=fusion, curves=run.curves)


@dataclass(frozen=True, eq=False)
class Answers:
    """The rankings of a run."""

    shortlist: Shortlist
    reranking: Reranking | None = None
    described: DescribedSet | None = None  # with the descriptors of the student; None if they were not needed
    rerank_config: RerankConfig = RerankConfig()  # of the comparison of patches
    curves: Curves = Curves()  # from the separations of each stage to probabilities
    origin: dict[str, Any] | None = None  # the code and the weights of a model of others

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
        """The shortlist and its re-ranking, if there is one, by the names that the results have."""
        stages: dict[str, Shortlist | Reranking] = {"shortlist": self.shortlist}
        return stages if self.reranking is None else {**stages, "rerank": self.reranking}

    def per_stage(self, data: RetrievalSet, function: Callable[[np.ndarray, Ragged], T]) -> dict[str, T]:
        """The result of a function of the complete rankings (Q, K + T) and the positives, for each stage."""
        return {
            name: function(self.shortlist.with_tail(stage.ranked), data.answers)
            for name, stage in self.stages().items()
        }

    def scores(self, data: RetrievalSet, metrics: Metrics = evaluate) -> dict[str, dict[str, float]]:
        """The metrics of each stage, by default Recall@k and mAP@k; raises VprError if no query has a positive."""
        return self.per_stage(data, metrics)

    def confidence(self, data: RetrievalSet) -> dict[str, ConfidenceScore]:
        """The quality of the confidence in the first answers of each stage; errors as `scores`."""
        return {
            name: score_confidence(stage, data, getattr(self.curves, name)) for name, stage in self.stages().items()
        }

    def query_table(self, data: RetrievalSet) -> pd.DataFrame:
        """A row for each query: ``query``, its first ``answer``, the ``separation``, and the ``probability`` that the
        answer is right.

        Cells are empty if a query has no candidate, the shortlist has no scores, or the run has no calibration.
        """
        name, stage = list(self.stages().items())[-1]
        first = stage.ranked[:, 0]
        separation = np.full(len(first), np.nan) if stage.separation is None else stage.separation
        columns = {
            "query": data.queries.names,
            "answer": np.where(first >= 0, data.database.names[first], ""),
            "separation": np.where(first >= 0, separation, np.nan),
            "probability": self.probability(name),
        }
        table: pd.DataFrame = pd.DataFrame(columns)
        return table

    def probability(self, name: str) -> np.ndarray:
        """(Q,) probability that the first answer of a stage is right, NaN if unknown."""
        stage, curve = self.stages()[name], getattr(self.curves, name)
        if curve is None or stage.separation is None:
            return np.full(len(stage.ranked), np.nan)
        return np.where(stage.ranked[:, 0] >= 0, curve(stage.separation), np.nan)


def require_positions(dataset: MSLS) -> None:
    """Raise VprError if the true positions of a city are unknown, so that nothing can be scored."""
    if dataset.without_ground_truth:
        cities = ", ".join(dataset.without_ground_truth)
        raise VprError(f"{cities}: the true positions are unknown, so nothing can be scored; pass other --cities")


def submit(path: Path, data: RetrievalSet, answers: Answers) -> str:
    """Write the final rankings as a submission file; returns a line for the user.

    Raises VprError if a query has no candidates.
    """
    ranked = answers.ranked[:, :SUBMISSION_DEPTH]
    counts = (ranked >= 0).sum(1)
    fewest, most = int(counts.min()), int(counts.max())
    if fewest == 0:
        raise VprError("some queries have no candidates, so no submission can be written; add rows to the shortlist")
    write_submission(path, data, ranked)
    each = f"{most}" if fewest == most else f"{fewest} to {most}"  # a small city has fewer entries
    return f"submission: {path} ({len(ranked)} queries, {each} predictions each)"
