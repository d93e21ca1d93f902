"""What ``eval.msls`` and ``eval.places`` share: the files that an evaluation writes, and the order of its work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpr.base.command import log_to
from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.base.pair_files import check_pair_names
from vpr.base.settings import PositiveInt, option, output
from vpr.description.foreign_files import check_names, require_features
from vpr.eval.evaluation import EvaluationSettings, PredictionOptions, evaluate_benchmark
from vpr.eval.files.prediction_file import check_suffix
from vpr.eval.report.subject import ReportOptions
from vpr.eval.tables import show
from vpr.models.builtin import split_run

if TYPE_CHECKING:
    from vpr.eval.comparison.comparison import Comparison
    from vpr.eval.sets.benchmark import Benchmark

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class FileOptions(PredictionOptions):
    """Files."""

    submission: Path | None = output(
        None, "write the final rankings as a prediction file, .zip or .csv; on MSLS, a submission", "predictions"
    )
    pairs: Path | None = output(
        None,
        "write the first database photos of each query as pairs of names, as pairs.txt of hloc; names are paths below "
        "the folder that holds all photos",
        "pairs",
    )
    pairs_per_query: PositiveInt = option(20, "number of database photos of each query in --pairs")
    descriptors: Path | None = output(
        None,
        "write the global descriptors of both sides, as they were searched: FILE.h5 for hloc, or a folder as "
        "VPR-methods-evaluation writes it",
        "descriptors",
    )
    confidence: Path | None = output(None, "write the first answer of each query and its confidence as CSV", "csv")
    json: Path | None = output(None, "write protocol, counts and results as JSON", "json")

    def check(self) -> None:
        """Raise VprError for the name of a file that cannot be written."""
        if self.submission is not None:
            check_suffix(self.submission)
        if self.descriptors is not None:
            require_features(self.descriptors)

    def needs_run(self, rerank: bool) -> bool:
        """Whether the run ranks the database, or a prediction file alone is scored."""
        return bool(
            self.predictions is None or rerank or self.submission or self.confidence or self.pairs or self.descriptors
        )

    def check_names(self, benchmark: Benchmark) -> None:
        """Raise VprError for the name of a photo that the pairs cannot have, before anything is computed."""
        sides = benchmark.data.queries.images, benchmark.data.database.images
        for name, path, check in (
            ("pairs", self.pairs, check_pair_names),
            ("descriptors", self.descriptors, check_names),
        ):
            if path is None:
                continue
            if any(side.shape[1] > 1 for side in sides):
                raise VprError(f"--{name} is for single photos, not for sequences; leave it out, or pass --task im2im")
            for side in sides:
                check(path, side.ravel().tolist())


def announce(benchmark: Benchmark) -> None:
    """Print what is evaluated, and log what is odd about it."""
    show(*benchmark.header())
    for note in benchmark.notes():
        log.warning("note: %s", note)


def evaluate_and_write(
    benchmark: Benchmark,
    settings: EvaluationSettings,
    files: FileOptions,
    page: ReportOptions,
    compare: Callable[[], Comparison] | None = None,
) -> None:
    """Evaluate, print the results, and write the files. compare: the comparison with other methods, if there is one.

    Errors as `evaluate_benchmark`.
    """
    files.check_names(benchmark)
    run = split_run(settings.source.run)[0]
    if settings.answered and run.is_dir():
        log_to(run)
    evaluation = evaluate_benchmark(benchmark, settings)
    if files.submission is not None:
        show(evaluation.write_submission(files.submission))
    if files.pairs is not None:
        show(evaluation.write_pairs(files.pairs, files.pairs_per_query))
    if files.descriptors is not None:
        show(evaluation.write_descriptors(files.descriptors))
    show(*evaluation.blocks())
    if files.confidence is not None:
        evaluation.write_confidence(files.confidence)
    record = evaluation.record()
    if files.json is not None:
        write_json(files.json, record)  # before the comparison, which may fail
    if compare is not None:
        comparison = compare()
        show(*comparison.blocks()[len(benchmark.header()) :])
        if files.json is not None:
            write_json(files.json, record | {"comparison": comparison.record()})
    if page.report is not None:  # last, because it takes longest
        show(evaluation.write_report(page.report, page))
