"""``python -m eval.msls``: shortlists, re-ranking and Recall@k under the MSLS protocol."""

from __future__ import annotations

import sys

from vpr.base.command import run_command
from vpr.cluster.options import ShardOptions
from vpr.datasets.msls.options import ProtocolOptions
from vpr.eval.evaluation import EvaluationSettings
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.report.subject import ReportOptions
from vpr.eval.results import FileOptions, announce, evaluate_and_write
from vpr.eval.sets.msls import MSLSBenchmark
from vpr.retrieval.settings import RerankOptions


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
    files.check()
    benchmark = MSLSBenchmark(options.load())
    announce(benchmark)
    answered = files.needs_run(source.rerank)
    evaluate_and_write(benchmark, EvaluationSettings(source, ranking, rerank, files, cluster, answered), files, page)


if __name__ == "__main__":
    sys.exit(main())
