"""One evaluation: shortlist, re-ranking, metrics and times of a run on a loaded dataset."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from datasets.msls import MSLS
from eval.metrics import evaluate
from eval.models import Describer, structural_weight
from eval.options import RankingConfig
from eval.prediction_file import read_predictions
from eval.predictions import resolve
from eval.ranking import Rows, Scope, compare_shortlist, sequence_descriptors, shortlist
from eval.submission import write_submission
from eval.tables import show
from vpr.cache import DescriptorCache
from vpr.errors import VprError
from vpr.models.structural import StructuralModel
from vpr.rerank import RerankConfig, reciprocal_rank, reorder
from vpr.runs import load_student, load_teacher


SUBMITTED = 20  # predictions a query in a submission


@dataclass
class Outcome:
    """Rankings in pooled numbering, (Q, K) with -1 where there is none, and what they cost."""

    ranked: dict[str, np.ndarray] = field(default_factory=dict)  # by stage: shortlist, rerank
    latency_ms: dict[str, float] = field(default_factory=dict)
    weight: float | None = None  # of S_struct, when re-ranked
    fusion: str | None = None

    @contextmanager
    def timing(self, name: str, count: int) -> Iterator[None]:
        """Record wall-clock milliseconds per item."""
        start = time.perf_counter()
        yield
        self.latency_ms[name] = 1000 * (time.perf_counter() - start) / max(1, count)


def rank(dataset: MSLS, scope: Scope, config: RankingConfig, rerank: RerankConfig, device: torch.device) -> Outcome:
    """The shortlist of a run, or of a prediction file, and its re-ranking when asked for.

    Raises VprError for a missing run or a cache of another model, PredictionError for a file that does not fit.
    """
    if config.depth < 1:
        raise VprError(f"depth {config.depth} leaves nothing to rank; pass --depth 1 or more")
    outcome, run = Outcome(), Path(config.run)
    describer = Describer(run / "cache", device, config.workers)
    own = config.shortlist == "student"
    cache = None
    if own or config.rerank:
        model = load_student(run, device)
        cache = _describe(outcome, describer, model, dataset, config)
    if own:
        outcome.ranked["shortlist"] = _search(outcome, dataset, cache, scope, config.depth)
    elif config.shortlist == "teacher":
        teacher_cache = describer.describe(load_teacher(run, device), dataset)
        outcome.ranked["shortlist"] = _search(outcome, dataset, teacher_cache, scope, config.depth)
    else:
        outcome.ranked["shortlist"] = _read(Path(config.shortlist), dataset, scope, config.depth)
    if config.rerank:
        outcome.weight = structural_weight(run, config.weight)
        outcome.fusion = _fusion(config)
        _rerank(outcome, dataset, cache, rerank, device)
    return outcome


def score(dataset: MSLS, outcome: Outcome) -> dict[str, dict[str, float]]:
    """Recall@k and mAP@k of each stage; raises ValueError when no query has a positive."""
    return {stage: evaluate(ranked, dataset.positives) for stage, ranked in outcome.ranked.items()}


def write_outcome(path: Path, dataset: MSLS, outcome: Outcome) -> None:
    """Write the final rankings as a submission file and say where; raises VprError when a query has no candidates."""
    ranked = outcome.ranked.get("rerank", outcome.ranked["shortlist"])
    width = min(SUBMITTED, int((ranked >= 0).sum(1).min()))
    if width == 0:
        raise VprError("some queries have no candidates, so no submission can be written; the shortlist file lacks rows")
    write_submission(path, dataset, ranked[:, :width])
    show(f"submission: {path} ({len(ranked)} queries, {width} predictions each)")


def _fusion(config: RankingConfig) -> str:
    if config.fusion != "auto":
        return config.fusion
    return "similarity" if config.shortlist in ("student", "teacher") else "reciprocal-rank"


def _describe(
    outcome: Outcome, describer: Describer, model: StructuralModel, dataset: MSLS, config: RankingConfig
) -> DescriptorCache:
    images = sum(len(side.frames) for city in dataset.cities for side in (city.query, city.database))
    with outcome.timing("describe_per_image", images):
        return describer.describe(model, dataset, config.cache, config.patches)


def _search(outcome: Outcome, dataset: MSLS, cache: DescriptorCache, scope: Scope, depth: int) -> np.ndarray:
    rows = Rows.of(dataset, cache)
    queries, database = (sequence_descriptors(cache, side) for side in (rows.query, rows.database))
    with outcome.timing("shortlist_per_query", len(queries)):
        return shortlist(dataset, queries, database, scope, depth)[1]


def _read(path: Path, dataset: MSLS, scope: Scope, depth: int) -> np.ndarray:
    """Somebody's shortlist; keys that are not in the dataset cannot be re-ranked and are an error."""
    if not path.is_file():
        raise VprError(f"--shortlist {path}: no such file; pass student, teacher, or a prediction file")
    return resolve(read_predictions(path), dataset, scope, unknown="error").ranked[:, :depth].astype(np.int64)


def _rerank(
    outcome: Outcome, dataset: MSLS, cache: DescriptorCache, config: RerankConfig, device: torch.device
) -> None:
    rows, ranked = Rows.of(dataset, cache), outcome.ranked["shortlist"]
    with outcome.timing("rerank_per_query", len(ranked)):
        how = {"weight": outcome.weight, "device": device}
        scores = compare_shortlist(cache, rows, ranked, config, "re-ranking", **how).combined(outcome.weight)
        if outcome.fusion == "reciprocal-rank":
            scores = np.where(ranked >= 0, reciprocal_rank(scores), -np.inf)
        outcome.ranked["rerank"] = reorder(ranked, scores)
