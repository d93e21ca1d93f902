"""``python -m eval.retrieval``: image retrieval with class labels, before and after re-ranking."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vpr.base.command import log_to, run_command
from vpr.base.files import write_json
from vpr.base.run_folder import revision
from vpr.base.settings import option, output
from vpr.datasets.labels.options import LabelOptions
from vpr.eval.evaluation import describe_reranking, fusion_record
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.report.subject import ReportOptions, Subject, answer_stages
from vpr.eval.tables import metrics_table, show
from vpr.models.builtin import split_run
from vpr.models.settings import RUN
from vpr.retrieval.settings import RerankOptions

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class EvalOptions:
    """Model and files."""

    run: Path = option(Path("runs/retrieval"), RUN)
    rerank: bool = option(False, "re-rank the shortlist by S_global + weight * S_struct")
    all_test: bool = option(False, "test on all classes, also on those of the training side")
    count_query: bool = option(False, "count the query as one of its positives, as the code of the paper does")
    cache: Path | None = output(
        None, "HDF5 file that caches the descriptors; default: a file in the run folder", "cache"
    )
    json: Path | None = output(None, "write counts and results as JSON", "json")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [EvalOptions, LabelOptions, RankingOptions, RerankOptions, ReportOptions]
    return run_command("eval.retrieval", "Evaluate image retrieval with class labels.", stages, _work, argv)


def _work(
    options: EvalOptions, labels: LabelOptions, ranking: RankingOptions, rerank: RerankOptions, page: ReportOptions
) -> None:
    from functools import partial

    from vpr.eval.baselines import colour_histograms, thumbnails
    from vpr.eval.labels.label_evaluator import is_trained_on_classes, label_evaluator
    from vpr.eval.labels.label_metrics import chance_of_labels, evaluate_labels
    from vpr.eval.report.page import write_report

    run = split_run(options.run)[0]
    if run.is_dir():
        log_to(run)
    split = labels.load()
    images = split.images if options.all_test else split.testing
    data = images.retrieval_set()
    classes = len(np.unique(images.classes))
    lines = [f"{labels.layout}: {len(images.files)} images of {classes} classes, each a query"]
    show(*lines)
    if remark := split.size_remark():
        log.warning("note: %s", remark)
    counts = data.counts()
    evaluator = label_evaluator(options.run, data, split, ranking, rerank)
    metrics = partial(evaluate_labels, count_query=options.count_query)
    answers = evaluator.answer(data, SourceOptions(options.run, rerank=options.rerank, cache=options.cache))
    results = answers.scores(data, metrics)
    baselines = {
        "chance": chance_of_labels(data.answers, counts["database"] - 1),
        "7x7-pixel thumbnails": thumbnails(data, metrics, evaluator.full_depth),
        "colours": colour_histograms(data, metrics, evaluator.full_depth),
    }
    show(metrics_table(baselines | results, tuple(results["shortlist"])))
    reranking = answers.reranking
    if reranking is not None:
        lines.append(describe_reranking(reranking))
        show(lines[-1])
    if options.json is not None:
        record = {
            "protocol": {"layout": labels.layout, "classes": classes, "all_test": options.all_test},
            "counts": counts,
            "results": results,
            "floors": baselines,  # the key of version 0.1.0, kept for programs that read the file
            "latency_ms": answers.latency_ms(),
            "adapted": answers.adapted,
            "weight": None if reranking is None else reranking.weight,
            "fusion": fusion_record(reranking),
            "dataset": data.fingerprint,
            "revision": revision(),
        }
        write_json(options.json, record)
    if page.report is not None:
        stages = answer_stages(answers)
        if not is_trained_on_classes(options.run):  # probabilities that were calibrated on streets do not hold here
            stages = tuple(replace(stage, probability=None) for stage in stages)
        subject = Subject("Image retrieval", tuple(lines), data, stages, results, answers=answers)
        show(write_report(page.report, subject, page))


if __name__ == "__main__":
    sys.exit(main())
