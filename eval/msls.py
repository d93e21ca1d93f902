"""``python -m eval.msls``: shortlists, re-ranking and Recall@k under the MSLS protocol."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import log_to, run_command
from vpr.base.files import write_json
from vpr.base.settings import output
from vpr.cluster.options import ShardOptions
from vpr.datasets.msls.options import ProtocolOptions
from vpr.eval.evaluation import EvaluationSettings, PredictionOptions, evaluate_benchmark
from vpr.eval.files.prediction_file import check_suffix
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.report.subject import ReportOptions
from vpr.eval.sets.msls import MSLSBenchmark
from vpr.eval.tables import show
from vpr.retrieval.settings import RerankOptions

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class FileOptions(PredictionOptions):
    """Files."""

    submission: Path | None = output(
        None, "write the final rankings as a submission to the challenge, .zip or .csv", "predictions"
    )
    confidence: Path | None = output(None, "write the first answer of each query and its confidence as CSV", "csv")
    json: Path | None = output(None, "write protocol, counts and results as JSON", "json")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [ProtocolOptions, SourceOptions, RankingOptions, RerankOptions, FileOptions, ReportOptions, ShardOptions]
    return run_command("eval.msls", "Evaluate on MSLS: shortlists, re-ranking, Recall@k.", stages, _work, argv)


def _work(
    options: ProtocolOptions,
    source: SourceOptions,
    ranking: RankingOptions,
    rerank: RerankOptions,
    files: FileOptions,
    page: ReportOptions,
    cluster: ShardOptions,
) -> None:
    if files.submission is not None:
        check_suffix(files.submission)
    answered = bool(files.predictions is None or source.rerank or files.submission or files.confidence)
    benchmark = MSLSBenchmark(options.load())
    show(*benchmark.header())
    for note in benchmark.notes():
        log.warning("note: %s", note)
    if answered and source.run.is_dir():
        log_to(source.run)
    evaluation = evaluate_benchmark(benchmark, EvaluationSettings(source, ranking, rerank, files, cluster, answered))
    if files.submission is not None:
        show(evaluation.write_submission(files.submission))
    show(*evaluation.blocks())
    if files.confidence is not None:
        evaluation.write_confidence(files.confidence)
    if files.json is not None:
        write_json(files.json, evaluation.record())
    if page.report is not None:  # last, because it takes longest
        show(evaluation.write_report(page.report, page))


if __name__ == "__main__":
    sys.exit(main())
