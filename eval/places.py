"""``python -m eval.places``: shortlists, re-ranking and Recall@k on any set of places."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.machine import choose_device
from vpr.base.outputs import check_outputs
from vpr.base.run_folder import read_config
from vpr.base.settings import Names, option
from vpr.cluster.options import ShardOptions
from vpr.datasets.places.options import PlaceOptions
from vpr.datasets.places.place_set import load
from vpr.eval.comparison.methods import Method, parse_methods
from vpr.eval.evaluation import EvaluationSettings
from vpr.eval.files.prediction_file import check_names
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.report.subject import ReportOptions
from vpr.eval.results import FileOptions, announce, evaluate_and_write
from vpr.eval.sets.places import KS, PlacesBenchmark
from vpr.models.builtin import resolve_run
from vpr.models.model_name import is_model_name
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from vpr.eval.comparison.comparison import Comparison


@dataclass(frozen=True)
class PlaceFileOptions(FileOptions):
    """Results and files."""

    recall: Names = option(
        Names(), "numbers of answers N of Recall@N and mAP@N; default: 1,5,10,20,100, of a shortlist up to --depth"
    )
    compare: Names = option(
        Names(),
        "more runs, prediction files and descriptors of other models, each as SOURCE or NAME=SOURCE, in one table with "
        "the run, the prediction file or the shortlist of this command",
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [PlaceOptions, SourceOptions, RankingOptions, RerankOptions, PlaceFileOptions, ReportOptions, ShardOptions]
    about = "Evaluate on any set of places: file names with positions, arrays, lists, EXIF, or no labels."
    return run_command("eval.places", about, stages, _work, argv)


def _work(
    options: PlaceOptions,
    source: SourceOptions,
    ranking: RankingOptions,
    rerank: RerankOptions,
    files: PlaceFileOptions,
    page: ReportOptions,
    cluster: ShardOptions,
) -> None:
    files.check()
    answered = files.needs_run(source.rerank)
    ks = parse_recall(files.recall, ranking.depth if answered else None)
    methods = _methods(source, files, answered)
    places = options.places()
    check_outputs([source, files, page], places.files())  # the files that were found by looking are inputs too
    benchmark = PlacesBenchmark(load(places, options.rules()), ks)
    announce(benchmark)
    _check_before_work(benchmark, files, methods)
    settings = EvaluationSettings(source, ranking, rerank, files, cluster, answered)
    compare = partial(_compare, methods, benchmark, ranking, rerank) if methods else None
    evaluate_and_write(benchmark, settings, files, page, compare)


def _methods(source: SourceOptions, files: PlaceFileOptions, answered: bool) -> list[Method]:
    """The methods of the comparison: what ranks the database, the prediction file and those of --compare; may be empty.

    A file as shortlist ranks the database, unless the run re-ranks it. Raises VprError for a missing file and for a run
    that is missing.
    """
    if not files.compare:
        return []
    by_file = not source.rerank and Path(source.shortlist).exists()
    first = [source.shortlist if by_file else str(source.run)] if answered else []
    scored = [] if files.predictions is None else [str(files.predictions)]
    methods = parse_methods([*first, *scored, *files.compare])
    for run in (place for method in methods if method.is_run for place in method.sources):
        if not is_model_name(run):
            read_config(resolve_run(run))
    return methods


def _check_before_work(benchmark: PlacesBenchmark, files: PlaceFileOptions, methods: list[Method]) -> None:
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
