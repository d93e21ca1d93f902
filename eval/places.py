"""``python -m eval.places``: shortlists, re-ranking and Recall@k on any set of places."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpr.base.command import log_to, run_command
from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.base.machine import choose_device
from vpr.base.outputs import check_outputs
from vpr.base.run_folder import read_config
from vpr.base.settings import Names, option, output
from vpr.cluster.options import ShardOptions
from vpr.datasets.places.options import PlaceOptions
from vpr.datasets.places.place_set import load
from vpr.eval.comparison.methods import Method, parse_methods
from vpr.eval.evaluation import EvaluationSettings, PredictionOptions, evaluate_benchmark
from vpr.eval.files.prediction_file import check_names, check_suffix
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.report.subject import ReportOptions
from vpr.eval.sets.places import KS, PlacesBenchmark
from vpr.eval.tables import show
from vpr.models.builtin import resolve_run
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from vpr.eval.comparison.comparison import Comparison

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class FileOptions(PredictionOptions):
    """Results and files."""

    recall: Names = option(
        Names(), "numbers of answers N of Recall@N and mAP@N; default: 1,5,10,20,100, of a shortlist up to --depth"
    )
    compare: Names = option(
        Names(),
        "more runs, prediction files and descriptors of other models, each as SOURCE or NAME=SOURCE, in one table with "
        "--run or --predictions",
    )
    submission: Path | None = output(None, "write the final rankings as a prediction file, .zip or .csv", "predictions")
    confidence: Path | None = output(None, "write the first answer of each query and its confidence as CSV", "csv")
    json: Path | None = output(None, "write protocol, counts and results as JSON", "json")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [PlaceOptions, SourceOptions, RankingOptions, RerankOptions, FileOptions, ReportOptions, ShardOptions]
    about = "Evaluate on any set of places: file names with positions, arrays, lists, EXIF, or no labels."
    return run_command("eval.places", about, stages, _work, argv)


def _work(
    options: PlaceOptions,
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
    ks = parse_recall(files.recall, ranking.depth if answered else None)
    methods = _methods(source, files, answered)
    places = options.places()
    check_outputs([source, files, page], places.files())  # the files that were found by looking are inputs too
    benchmark = PlacesBenchmark(load(places, options.rules()), ks)
    show(*benchmark.header())
    for note in benchmark.notes():
        log.warning("note: %s", note)
    _check_before_work(benchmark, files, methods)
    if answered and source.run.is_dir():
        log_to(source.run)
    evaluation = evaluate_benchmark(benchmark, EvaluationSettings(source, ranking, rerank, files, cluster, answered))
    if files.submission is not None:
        show(evaluation.write_submission(files.submission))
    show(*evaluation.blocks())
    if files.confidence is not None:
        evaluation.write_confidence(files.confidence)
    record = evaluation.record()
    if files.json is not None:
        write_json(files.json, record)  # before the comparison, which may fail
    if methods:
        comparison = _compare(methods, benchmark, ranking, rerank)
        show(*comparison.blocks()[len(benchmark.header()) :])
        if files.json is not None:
            write_json(files.json, record | {"comparison": comparison.record()})
    if page.report is not None:  # last, because it takes longest
        show(evaluation.write_report(page.report, page))


def _methods(source: SourceOptions, files: FileOptions, answered: bool) -> list[Method]:
    """The methods of the comparison: the run, if it is used, the prediction file and those of --compare; may be empty.

    Raises VprError for a missing prediction file and for a run that is missing.
    """
    if not files.compare:
        return []
    first = [str(source.run)] if answered else []
    scored = [] if files.predictions is None else [str(files.predictions)]
    methods = parse_methods([*first, *scored, *files.compare])
    for run in (place for method in methods if method.is_run for place in method.sources):
        read_config(resolve_run(run))
    return methods


def _check_before_work(benchmark: PlacesBenchmark, files: FileOptions, methods: list[Method]) -> None:
    """Raise VprError for what would fail after the photos are described."""
    benchmark.require_positives()
    if files.submission is not None:
        check_names(files.submission, benchmark.data.queries.names.tolist(), benchmark.data.database.names.tolist())
    if methods:
        benchmark.require_answers()
    for method in methods:
        if method.kind == "predictions":
            benchmark.read_rankings(method.sources[0], files.strict and method.sources[0] == files.predictions)


def parse_recall(texts: Names, depth: int | None) -> tuple[int, ...]:
    """The numbers of answers, rising; without any, those of `KS` that the shortlist has.

    depth: candidates of the shortlist; None for a prediction file alone, whose rows may have any length. Raises
    VprError for anything else, and for more than the shortlist has.
    """
    ks = set[int]()
    for text in texts:
        if not (text.isascii() and text.isdecimal() and int(text) > 0):
            raise VprError(f"--recall: {text!r} is not a number of answers; give whole numbers above 0, as 1,5,10")
        ks.add(int(text))
    if not ks:
        return tuple(k for k in KS if depth is None or k <= depth)
    if depth is not None and max(ks) > depth:
        raise VprError(
            f"--recall: {max(ks)} is more than the {depth} candidates of a shortlist; pass --depth {max(ks)}"
        )
    return tuple(sorted(ks))


def _compare(
    methods: list[Method], benchmark: PlacesBenchmark, ranking: RankingOptions, rerank: RerankOptions
) -> Comparison:
    """Several runs and prediction files on one set."""
    from vpr.eval.comparison.comparison import compare_methods
    from vpr.eval.evaluator import Evaluator

    return compare_methods(methods, benchmark, Evaluator(ranking, rerank, choose_device(ranking.device)))


if __name__ == "__main__":
    sys.exit(main())
