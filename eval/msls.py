"""``python -m eval.msls``: shortlists, re-ranking and Recall@k under the MSLS protocol."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.command import log_to, run_command
from vpr.base.errors import VprError
from vpr.base.files import replacing, write_json
from vpr.base.machine import choose_device
from vpr.base.run_folder import revision
from vpr.base.settings import option
from vpr.cluster.options import ShardOptions
from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.msls.known_counts import count_remarks
from vpr.datasets.msls.options import ProtocolOptions
from vpr.eval.files.foreign import read_rankings, read_shortlist
from vpr.eval.files.prediction_file import check_suffix
from vpr.eval.metrics import evaluate
from vpr.eval.options import RankingConfig, SourceConfig
from vpr.eval.report.subject import ReportOptions, Stage, Subject, stages_of
from vpr.eval.tables import confidence_table, describe_counts, describe_protocol, metrics_table, show
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from vpr.eval.confidence import ConfidenceScore
    from vpr.eval.evaluation import Answers
    from vpr.eval.ranking import Reranking

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class FileOptions:
    """Files."""

    predictions: Path | None = option(None, "score this prediction file, without a model")
    strict: bool = option(False, "panoramas and unknown keys in it are an error")
    submission: Path | None = option(None, "write the final rankings as a .zip or .csv for the challenge")
    confidence: Path | None = option(None, "write each query's first answer and how sure it is as CSV")
    json: Path | None = option(None, "write protocol, counts and results as JSON")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [ProtocolOptions, SourceConfig, RankingConfig, RerankOptions, FileOptions, ReportOptions, ShardOptions]
    return run_command("eval.msls", "Evaluate on MSLS: shortlists, re-ranking, Recall@k.", stages, _work, argv)


def _work(
    options: ProtocolOptions,
    source: SourceConfig,
    ranking: RankingConfig,
    rerank: RerankOptions,
    files: FileOptions,
    page: ReportOptions,
    cluster: ShardOptions,
) -> None:
    if files.submission is not None:
        check_suffix(files.submission)
    page.check()
    dataset = options.load()
    show(describe_protocol(dataset), describe_counts(dataset.retrieval_set))
    for remark in [*count_remarks(dataset), *_left_out(dataset)]:
        log.warning("note: %s", remark)
    answers: Answers | None = None
    results: dict[str, dict[str, float]] = {}
    confidence: dict[str, ConfidenceScore] = {}
    ranked: np.ndarray | None = None
    if files.predictions is None or source.rerank or files.submission is not None or files.confidence is not None:
        answers = _answer(dataset, source, ranking, rerank, cluster)
        if not dataset.without_ground_truth:
            results, confidence = answers.scores(dataset.retrieval_set), answers.confidence(dataset.retrieval_set)
    elif cluster.cluster:
        raise VprError("a file of predictions is scored on this machine alone; leave --cluster out")
    if files.predictions is not None:
        ranked = read_rankings(files.predictions, dataset, files.strict)
        results |= (
            {} if dataset.without_ground_truth else {"predictions": evaluate(ranked, dataset.retrieval_set.answers)}
        )
    if files.submission is not None and answers is not None:
        from vpr.eval.evaluation import submit

        show(submit(files.submission, dataset.retrieval_set, answers))
    _report(dataset, answers, results, confidence)
    if files.confidence is not None and answers is not None:
        with replacing(files.confidence) as temporary:
            answers.table(dataset.retrieval_set).to_csv(temporary, index=False)
    if files.json is not None:
        sure = {name: asdict(score) for name, score in confidence.items()}
        write_json(files.json, _record(dataset, answers, results, sure))
    if page.report is not None:  # last: it takes longest
        show(_write_page(dataset, answers, ranked, results, page, page.report))


def _answer(
    dataset: MSLS, source: SourceConfig, ranking: RankingConfig, rerank: RerankOptions, options: ShardOptions
) -> Answers:
    from vpr.description.foreign import is_foreign, read_foreign
    from vpr.eval.described import Sharding
    from vpr.eval.evaluation import Evaluator  # torch comes with it: scoring a file does without
    from vpr.eval.ranking import Shortlist, foreign_shortlist

    if source.run.is_dir():
        log_to(source.run)
    given, named = None, Path(source.shortlist)
    if is_foreign(named):
        given = foreign_shortlist(dataset.retrieval_set, read_foreign(named), ranking.depth)
    elif named.is_file():
        given = Shortlist(read_shortlist(named, dataset, ranking.depth))
    evaluator = Evaluator(ranking, rerank, choose_device(ranking.device))
    with options.joined() as cluster:
        if cluster is not None:
            evaluator = replace(evaluator, sharding=Sharding(cluster, options.shards))
        return evaluator.answer(dataset.retrieval_set, source, given)


def _left_out(dataset: MSLS) -> list[str]:
    notes = [
        f"{city} is left out: the protocol leaves it without queries or without database" for city in dataset.skipped
    ]
    notes += [f"{city} has no raw.csv: its panoramas are not known and stay in" for city in dataset.with_panoramas]
    return notes


def _report(
    dataset: MSLS,
    answers: Answers | None,
    results: dict[str, dict[str, float]],
    confidence: dict[str, ConfidenceScore],
) -> None:
    """Print the results, or why there is no score."""
    if dataset.without_ground_truth:
        cities = ", ".join(dataset.without_ground_truth)
        show(f"no score: {cities} has no postprocessed.csv, so the true positions are unknown; write a --submission")
        return
    show(metrics_table(results))
    if answers is not None and answers.reranking is not None:
        show(_how(answers.reranking))
    measured = {name: score for name, score in confidence.items() if score.auprc["ours"] is not None}
    if measured:
        show(confidence_table({name: {**score.auprc, "ece": score.ece} for name, score in measured.items()}))
    if answers is not None and answers.latency_ms():
        show("; ".join(f"{name.replace('_', ' ')} {value:.2f} ms" for name, value in answers.latency_ms().items()))


def _how(reranking: Reranking) -> str:
    """One line: by what the answers were re-ranked."""
    said = f"re-ranked by S_global + {reranking.weight:g} x S_struct"
    trust = reranking.trust
    if trust is None:
        return f"{said}, fusion: {reranking.fusion}"
    said += f", fused with the shortlist's order (lambda {trust.lambda_:.2f}"
    if trust.ours is None or trust.theirs is None:
        return f"{said}; the run has no calibration to estimate trust by)"
    return f"{said}; estimated right: ours {100 * trust.ours:.0f} %, the shortlist {100 * trust.theirs:.0f} %)"


def _write_page(
    dataset: MSLS,
    answers: Answers | None,
    predictions: np.ndarray | None,
    results: dict[str, dict[str, float]],
    options: ReportOptions,
    path: Path,
) -> str:
    """Write the report to its file; returns what to say of it."""
    from vpr.eval.report.page import write_report
    from vpr.eval.report.tables import by_subtask, known_of

    data = dataset.retrieval_set
    stages: tuple[Stage, ...] = () if predictions is None else (Stage("predictions", predictions),)
    stages += () if answers is None else stages_of(answers)
    said = [describe_protocol(dataset), describe_counts(data)]
    said += [] if answers is None or answers.reranking is None else [_how(answers.reranking)]
    tables = None if data.positives is None else by_subtask(dataset, stages)
    subject = Subject(
        f"Visual place recognition: {', '.join(city.name for city in dataset.cities)}",
        tuple(said), data, stages, results, known_of(dataset), () if tables is None else (tables,), answers,
        versus=predictions is not None,
    )  # fmt: skip
    return write_report(path, subject, options)


def _fusion(reranking: Reranking) -> dict[str, Any]:
    trust = reranking.trust
    if trust is None:
        return {"rule": reranking.fusion, "lambda": None}
    estimates = {"ours": trust.ours, "theirs": trust.theirs, "agreement": trust.agreement}
    return {"rule": reranking.fusion, "lambda": trust.lambda_, **estimates}


def _record(
    dataset: MSLS, answers: Answers | None, results: dict[str, dict[str, float]], confidence: dict[str, Any]
) -> dict:
    protocol, reranking = dataset.protocol, None if answers is None else answers.reranking
    return {
        "protocol": {
            "split": protocol.split,
            "cities": [city.name for city in dataset.cities],
            "task": protocol.task,
            "subtask": protocol.subtask,
            "seq_length": protocol.seq_length,
            "radius_m": protocol.radius_m,
            "scope": protocol.scope,
        },
        "counts": dataset.retrieval_set.counts(),
        "results": {
            name: {**metrics, **({"confidence": confidence[name]} if name in confidence else {})}
            for name, metrics in results.items()
        },
        "latency_ms": {} if answers is None else answers.latency_ms(),
        "adapted": answers is not None and answers.adapted,
        "weight": None if reranking is None else reranking.weight,
        "fusion": None if reranking is None else _fusion(reranking),
        "dataset": dataset.fingerprint,
        "revision": revision(),
    }


if __name__ == "__main__":
    sys.exit(main())
