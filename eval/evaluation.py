"""The evaluation of one run or one prediction file on a benchmark: MSLS under its protocol, or a set of places.

from vpr.eval.evaluation import evaluate

evaluation = evaluate("builtin", rerank=True)
print(evaluation.table())
evaluation.results["rerank"]["recall@1"]            # a share in [0, 1]
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from vpr.base.errors import VprError
from vpr.base.files import replace_file
from vpr.base.machine import choose_device
from vpr.base.pair_files import write_pairs
from vpr.base.run_folder import revision
from vpr.base.settings import fill_stages, option
from vpr.cluster.options import ShardOptions
from vpr.datasets.msls.options import ProtocolOptions
from vpr.datasets.msls.protocol import Split, Task
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.report.subject import ReportOptions, Stage, Subject, answer_stages
from vpr.eval.sets.benchmark import Benchmark
from vpr.eval.sets.msls import MSLSBenchmark
from vpr.eval.tables import confidence_table, metrics_table, text_of
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from vpr.eval.evaluator import Answers
    from vpr.eval.ranking import Reranking, Shortlist

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class PredictionOptions:
    """A prediction file."""

    predictions: Path | None = option(None, "score this prediction file, without a model")
    strict: bool = option(
        False, "refuse a prediction file with any problem that is otherwise counted, such as panoramas or repeats"
    )


@dataclass(frozen=True)
class EvaluationSettings:
    """The model and the options of an evaluation."""

    source: SourceOptions
    ranking: RankingOptions = RankingOptions()
    rerank: RerankOptions = RerankOptions()
    predictions: PredictionOptions = PredictionOptions()
    cluster: ShardOptions = ShardOptions()
    answered: bool = True  # whether the run ranks the database; False scores the prediction file alone


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of one evaluation. Shares are in [0, 1]."""

    results: dict[str, dict[str, Any]]  # metrics and confidence of the stages shortlist, rerank, predictions
    benchmark: Benchmark = field(repr=False)
    answers: Answers | None = field(default=None, repr=False)  # of the run; None if only a file was scored
    predictions: np.ndarray | None = field(default=None, repr=False)  # (Q, K) rankings of the prediction file

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol, as the benchmark has it: on MSLS ``split``, ``cities``, ``task``, ``radius_m`` and others."""
        return self.benchmark.protocol()

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of ``queries`` that are scored, ``queries_without_positives``, and ``database`` entries."""
        return self.benchmark.data.counts()

    @property
    def reranking(self) -> Reranking | None:
        """The re-ranking of the run; None without one."""
        return None if self.answers is None else self.answers.reranking

    @property
    def latency_ms(self) -> dict[str, float]:
        """Milliseconds of each stage that was timed."""
        return {} if self.answers is None else self.answers.latency_ms()

    @property
    def adapted(self) -> bool:
        """Whether the descriptors were adapted to the database."""
        return self.answers is not None and self.answers.adapted

    @property
    def weight(self) -> float | None:
        """The weight of S_struct; None without re-ranking."""
        return None if self.reranking is None else self.reranking.weight

    @property
    def fusion(self) -> dict[str, Any] | None:
        """The fusion, as `fusion_record`; None without re-ranking."""
        return fusion_record(self.reranking)

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """The results of each stage without its confidence."""
        return {
            stage: {name: value for name, value in values.items() if name != "confidence"}
            for stage, values in self.results.items()
        }

    def record(self) -> dict[str, Any]:
        """The content of the file that ``--json`` writes."""
        origin = None if self.answers is None else self.answers.origin
        return {
            "protocol": self.protocol,
            "counts": self.counts,
            "results": self.results,
            "latency_ms": self.latency_ms,
            "adapted": self.adapted,
            "weight": self.weight,
            "geometry": None if self.reranking is None else self.reranking.geometry,
            "fusion": self.fusion,
            "dataset": self.benchmark.data.fingerprint,
            "revision": revision(),
            **({} if origin is None else {"model": origin}),
        }

    def header(self) -> list[str]:
        """The protocol and the counts, one line each."""
        return self.benchmark.header()

    def blocks(self) -> list[str | Table]:
        """The lines and tables of the results, or the reason why there is no score."""
        if reason := self.benchmark.unscored_reason():
            return [f"no score: {reason}"]
        blocks: list[str | Table] = [metrics_table(self.metrics, self.benchmark.metric_names)]
        if self.reranking is not None:
            blocks.append(describe_reranking(self.reranking))
        scores = [(stage, values["confidence"]) for stage, values in self.results.items() if "confidence" in values]
        measured = {
            stage: {**score["auprc"], "ece": score["ece"]}
            for stage, score in scores
            if score["auprc"]["ours"] is not None
        }
        if measured:
            blocks.append(confidence_table(measured))
        if self.latency_ms:
            stages = [f"{name.replace('_', ' ')} {value:.2f} ms" for name, value in self.latency_ms.items()]
            blocks.append("; ".join(stages))
        return blocks

    def table(self) -> str:
        """The protocol, the counts and the results as text, metrics in per cent."""
        return text_of(*self.header(), *self.blocks())

    def write_submission(self, path: Path) -> str:
        """Write the final rankings of the run as a submission file; returns a line for the user.

        Raises VprError if a query has no candidates, or if the run did not answer.
        """
        from vpr.eval.evaluator import submit

        return submit(path, self.benchmark.data, self._run_answers())

    def write_pairs(self, path: Path, per_query: int) -> str:
        """Write the first database photos of each query as pairs of names; returns a line for the user.

        Names are paths below ``data.root``. Errors as `write_submission`.
        """
        data, ranked = self.benchmark.data, self._run_answers().ranked[:, :per_query]
        queries, database = data.queries.images[:, 0].tolist(), data.database.images[:, 0].tolist()
        pairs = [
            (query, database[entry]) for query, row in zip(queries, ranked.tolist()) for entry in row if entry >= 0
        ]
        write_pairs(path, pairs)
        return f"pairs: {path} ({len(pairs)} pairs; names are below {data.root})"

    def write_descriptors(self, path: Path) -> str:
        """Write the global descriptors of both sides for other tools, as `write_foreign`; returns a line for the user.

        Names are paths below ``data.root``. Raises VprError if the photos were not described.
        """
        from vpr.description.foreign_files import NamedVectors, write_foreign

        data, described = self.benchmark.data, self._run_answers().described
        if described is None:
            raise VprError("the shortlist is another model's, so no photo was described; pass --rerank too")
        queries, database = described.global_descriptors()
        sides = {"database": (data.database, database), "queries": (data.queries, queries)}
        named = {part: NamedVectors(side.images[:, 0].tolist(), vectors) for part, (side, vectors) in sides.items()}
        write_foreign(path, named)
        shape = f"{len(database)} and {len(queries)} descriptors of {database.shape[1]} numbers"
        return f"descriptors: {path} ({shape}; names are below {data.root})"

    def write_confidence(self, path: Path) -> None:
        """Write each query's first answer and its confidence as CSV; errors as `write_submission`."""
        answers = self._run_answers()
        with replace_file(path) as temporary:
            answers.query_table(self.benchmark.data).to_csv(temporary, index=False)

    def write_report(self, path: Path, options: ReportOptions | None = None) -> str:
        """Write the HTML report; returns a line for the user. Errors as `vpr.eval.report.page.write_report`."""
        from vpr.eval.report.page import write_report

        data = self.benchmark.data
        stages: tuple[Stage, ...] = ()
        if self.predictions is not None:
            stages += (Stage("predictions", self.predictions),)
        if self.answers is not None:
            stages += answer_stages(self.answers)
        lines = self.header()
        if self.reranking is not None:
            lines.append(describe_reranking(self.reranking))
        subject = Subject(
            title=f"Visual place recognition: {self.benchmark.title}",
            lines=tuple(lines),
            data=data,
            stages=stages,
            results=self.metrics,
            facets=self.benchmark.facets(),
            tables=self.benchmark.tables(stages),
            answers=self.answers,
            versus=self.predictions is not None,
        )
        return write_report(path, subject, options or ReportOptions())

    def _run_answers(self) -> Answers:
        if self.answers is None:
            raise VprError("only a prediction file was scored, so there are no rankings of a run; pass rerank too")
        return self.answers


def evaluate(
    run: str | Path = "builtin",
    data: str | Path | None = None,
    *,
    rerank: bool = True,
    split: Split = "val",
    cities: Sequence[str] = (),
    task: Task = "im2im",
    **options: Any,
) -> Evaluation:
    """Evaluate a run under the MSLS protocol, as ``python -m eval.msls`` does.

    run: a run folder, or 'builtin'. data: the root of an MSLS tree; None takes mini-MSLS, rendered on first use.
    rerank: whether the shortlist is re-ranked. cities: folders of the tree; empty takes the cities of the split.
    options: other options of the command by name, such as ``subtask="s2w"``, ``radius=10.0``, ``scope="merged"``,
    ``depth=50``, ``weight=2.0``, ``shortlist="teacher"``, ``predictions="FILE.csv"`` or ``device="cpu"``. With
    ``predictions`` and without ``rerank`` only the prediction file is scored.

    Raises VprError for input that is missing or damaged, TypeError for an unknown option, and ValueError for a value of
    the wrong type or out of range.
    """
    values = {"run": run, "data": data, "rerank": rerank, "split": split, "cities": tuple(cities), "task": task}
    stages = [ProtocolOptions, SourceOptions, RankingOptions, RerankOptions, PredictionOptions, ShardOptions]
    protocol, source, ranking, problem, predictions, cluster = fill_stages(stages, {**values, **options})
    benchmark = MSLSBenchmark(protocol.load())
    for note in benchmark.notes():
        log.warning("note: %s", note)
    answered = predictions.predictions is None or source.rerank
    return evaluate_benchmark(
        benchmark, EvaluationSettings(source, ranking, problem, predictions, cluster, answered=answered)
    )


def evaluate_benchmark(benchmark: Benchmark, settings: EvaluationSettings) -> Evaluation:
    """Answer and score a benchmark that is loaded already; errors as `evaluate`."""
    data, scored = benchmark.data, not benchmark.unscored_reason()
    answers: Answers | None = None
    predictions: np.ndarray | None = None
    results: dict[str, dict[str, Any]] = {}
    if settings.answered:
        answers = _answer(benchmark, settings)
        if scored:
            confidence = answers.confidence(data)
            for stage, values in answers.scores(data, benchmark.metrics).items():
                results[stage] = {**values, "confidence": asdict(confidence[stage])}
    elif settings.cluster.cluster:
        raise VprError("a prediction file is scored on this machine alone; leave --cluster out")
    if settings.predictions.predictions is not None:
        predictions = benchmark.read_rankings(settings.predictions.predictions, settings.predictions.strict)
        if scored:
            results["predictions"] = dict(benchmark.metrics(predictions, data.answers))
    return Evaluation(results, benchmark, answers, predictions)


def describe_reranking(reranking: Reranking) -> str:
    """One line: the score and the fusion of a re-ranking."""
    score, trust = f"re-ranked by S_global + {reranking.weight:g} x S_struct", reranking.trust
    if reranking.geometry:
        score += f" and the geometry of the first {reranking.geometry}"
    if trust is None:
        return f"{score}, fusion: {reranking.fusion}"
    fused = f"{score}, fused with the shortlist's order (lambda {trust.fusion_weight:.2f}"
    if trust.ours is None or trust.theirs is None:
        return f"{fused}; the run has no calibration, so trust is not estimated)"
    return f"{fused}; estimated right: ours {100 * trust.ours:.0f} %, the shortlist {100 * trust.theirs:.0f} %)"


def fusion_record(reranking: Reranking | None) -> dict[str, Any] | None:
    """The fusion of a re-ranking for a JSON file: ``rule``, ``lambda``, and with trust its estimates."""
    if reranking is None:
        return None
    trust = reranking.trust
    if trust is None:
        return {"rule": reranking.fusion, "lambda": None}
    estimates = {"ours": trust.ours, "theirs": trust.theirs, "agreement": trust.agreement}
    return {"rule": reranking.fusion, "lambda": trust.fusion_weight, **estimates}


def _answer(benchmark: Benchmark, settings: EvaluationSettings) -> Answers:
    """The answers of the run, on a cluster if there is one."""
    from vpr.eval.descriptors import Sharding  # these import torch, which a prediction file does not need
    from vpr.eval.evaluator import Evaluator

    shortlist = external_shortlist(benchmark, settings.source.shortlist, settings.ranking.depth)
    evaluator = Evaluator(settings.ranking, settings.rerank, choose_device(settings.ranking.device))
    with settings.cluster.connect() as cluster:
        if cluster is not None:
            evaluator = replace(evaluator, sharding=Sharding(cluster, settings.cluster.shards))
        return evaluator.answer(benchmark.data, settings.source, shortlist)


def external_shortlist(benchmark: Benchmark, source: str, depth: int) -> Shortlist | None:
    """The shortlist from the file of predictions or descriptors that ``--shortlist`` names; None if it names none."""
    from vpr.description.foreign import is_foreign
    from vpr.eval.ranking import Shortlist, foreign_shortlist, read_descriptors

    path = Path(source)
    if is_foreign(path):
        return foreign_shortlist(benchmark.data, read_descriptors(benchmark.data, path), depth)
    return Shortlist(benchmark.read_shortlist(path, depth)) if path.is_file() else None
