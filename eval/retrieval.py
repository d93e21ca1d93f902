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
from vpr.base.settings import option
from vpr.datasets.labels.options import LabelOptions
from vpr.eval.options import RankingConfig, SourceConfig
from vpr.eval.report.subject import ReportOptions, Subject, stages_of
from vpr.eval.tables import metrics_table, show
from vpr.retrieval.settings import RerankOptions

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class EvalOptions:
    """Model and files."""

    run: Path = option(Path("runs/retrieval"), "run folder of the structural model, or 'builtin'")
    rerank: bool = option(False, "re-rank the first --depth by S_global + weight * S_struct")
    all_test: bool = option(False, "test on all classes, those of the training half too")
    count_query: bool = option(False, "count the query among the right answers, as the code of the paper does")
    cache: Path | None = option(None, "HDF5 descriptor cache; one in the run folder when left out")
    json: Path | None = option(None, "write counts and results as JSON")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [EvalOptions, LabelOptions, RankingConfig, RerankOptions, ReportOptions]
    return run_command("eval.retrieval", "Evaluate image retrieval with class labels.", stages, _work, argv)


def _work(
    options: EvalOptions, labels: LabelOptions, ranking: RankingConfig, rerank: RerankOptions, page: ReportOptions
) -> None:
    from functools import partial

    from vpr.eval.floors import colour_histograms, thumbnails
    from vpr.eval.label_metrics import chance_of_labels, evaluate_labels
    from vpr.eval.labelled import label_evaluator, of_classes
    from vpr.eval.report.page import write_report

    page.check()
    if options.run.is_dir():
        log_to(options.run)
    halves = labels.load()
    tested = halves.every if options.all_test else halves.testing
    data = tested.retrieval_set()
    classes = len(np.unique(tested.classes))
    said = [f"{labels.layout}: {len(tested.files)} images of {classes} classes, each a query"]
    show(said[0])
    if remark := halves.remark():
        log.warning("note: %s", remark)
    counts = data.counts()
    evaluator = label_evaluator(options.run, data, halves, ranking, rerank)
    source = SourceConfig(options.run, rerank=options.rerank, cache=options.cache)
    metrics = partial(evaluate_labels, count_query=options.count_query)
    answers = evaluator.answer(data, source)
    results = answers.scores(data, metrics)
    floors = {"chance": chance_of_labels(data.answers, counts["database"] - 1)}
    floors["7x7-pixel thumbnails"] = thumbnails(data, metrics, evaluator.deepest)
    floors["colours"] = colour_histograms(data, metrics, evaluator.deepest)
    show(metrics_table(floors | results, tuple(results["shortlist"])))
    if answers.reranking is not None:
        said.append(f"re-ranked by S_global + {answers.reranking.weight:g} x S_struct")
        show(said[-1])
    if options.json is not None:
        record = {
            "protocol": {"layout": labels.layout, "classes": classes, "all_test": options.all_test},
            "counts": counts,
            "results": results,
            "floors": floors,
            "latency_ms": answers.latency_ms(),
            "adapted": answers.adapted,
            "weight": None if answers.reranking is None else answers.reranking.weight,
            "dataset": data.fingerprint,
            "revision": revision(),
        }
        write_json(options.json, record)
    if page.report is not None:
        stages = stages_of(answers)
        if not of_classes(options.run):  # what is probable on streets is not what is probable here
            stages = tuple(replace(stage, probability=None) for stage in stages)
        subject = Subject("Image retrieval", tuple(said), data, stages, results, answers=answers)
        show(write_report(page.report, subject, page))


if __name__ == "__main__":
    sys.exit(main())
