"""``python -m eval.compare``: runs and files of predictions side by side, above the floors."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.base.machine import choose_device
from vpr.base.settings import option, positional
from vpr.datasets.default import data_root
from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.cities import OFFICIAL_CITIES
from vpr.datasets.msls.options import SeveralProtocols
from vpr.eval.comparison_tables import Format, tabulated
from vpr.eval.files.prediction_file import check_suffix
from vpr.eval.options import RankingConfig, SourceConfig
from vpr.eval.report.subject import ReportOptions
from vpr.eval.tables import describe_counts, describe_protocol, show
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from vpr.datasets.msls.dataset import MSLS
    from vpr.eval.evaluation import Evaluator
    from vpr.eval.methods import Comparison, Method


@dataclass(frozen=True)
class CompareOptions:
    """Runs and files."""

    runs: tuple[str, ...] = positional(
        "run folders, 'builtin', or files of predictions, each as SOURCE or NAME=SOURCE; runs of one name are "
        "trainings of one method; a teacher inside a run is shown too", "RUN"
    )  # fmt: skip
    format: Format = option("text", "how the table is printed")
    submission: Path | None = option(None, "rank the test cities with the last run and write a .zip or .csv")
    json: Path | None = option(None, "write the table as JSON")
    curves: Path | None = option(None, "write Recall@N against N to this path with .png and with .pdf")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [CompareOptions, SeveralProtocols, RankingConfig, RerankOptions, ReportOptions]
    return run_command("eval.compare", "Runs and files of predictions side by side.", stages, _work, argv)


def _work(
    compared: CompareOptions,
    options: SeveralProtocols,
    ranking: RankingConfig,
    rerank: RerankOptions,
    page: ReportOptions,
) -> None:
    from vpr.eval.evaluation import Evaluator
    from vpr.eval.methods import Comparison, methods_of

    page.check()
    methods = methods_of(compared.runs)
    _check(compared, options, page, methods)
    evaluator = Evaluator(ranking, rerank, choose_device(ranking.device))
    several = options.several
    record: dict[str, dict[str, Any]] = {}
    for dataset in options.load_each():
        if dataset.without_ground_truth:
            cities = ", ".join(dataset.without_ground_truth)
            raise VprError(f"{cities}: no true positions, so nothing can be compared")
        comparison = Comparison(methods, dataset, evaluator)
        said = [describe_protocol(dataset), describe_counts(dataset.retrieval_set)]
        for block in tabulated(comparison, said, compared.format, first=not record):
            show(block)
        named = f"{dataset.protocol.task} {dataset.protocol.subtask}: " if several else ""
        record |= {named + name: row for name, row in comparison.record().items()}
    if compared.json is not None:
        write_json(compared.json, record)
    if compared.curves is not None:
        show(_draw(compared.curves, comparison))
    if page.report is not None:
        show(_write_page(page.report, comparison, said, page))
    if compared.submission is not None:
        show(_submit(compared.submission, methods[-1], dataset, evaluator))


def _check(compared: CompareOptions, options: SeveralProtocols, page: ReportOptions, methods: list[Method]) -> None:
    """Raise VprError for options that do not go together, before anything is computed."""
    if compared.submission is not None:
        check_suffix(compared.submission)
        if methods[-1].is_file:
            raise VprError(f"--submission is made by the last run, and {methods[-1].name} is a file of predictions")
    if options.several and (page.report is not None or compared.curves is not None):
        raise VprError("--report and --curves are of one protocol; give one --task and one --subtask")
    if options.task == "all" and any(method.is_file for method in methods):
        raise VprError("a file of predictions answers one task; give it as --task")


def _submit(path: Path, method: Method, dataset: MSLS, evaluator: Evaluator) -> str:
    from vpr.eval.evaluation import submit

    root = data_root(dataset.root, (), OFFICIAL_CITIES["test"])  # mini-MSLS may have been rendered in part
    test = load(root, Protocol(split="test", scope=dataset.protocol.scope)).retrieval_set
    return submit(path, test, evaluator.answer(test, SourceConfig(method.sources[0], rerank=True)))


def _write_page(path: Path, comparison: Comparison, said: list[str], options: ReportOptions) -> str:
    """The report of all methods, each by its last stage; returns what to say of it."""
    from vpr.eval.comparison_tables import differences_table
    from vpr.eval.report.page import write_report
    from vpr.eval.report.subject import Subject
    from vpr.eval.report.tables import known_of

    rows = comparison.final
    matched = [row for row in rows if row.answers is not None]
    several = [f"{len(row.rankings)} of {row.name}" for row in rows if len(row.rankings) > 1]
    if several:
        said = [*said, f"trainings: {', '.join(several)}; recalls are their means, all else is of the first of them"]
    subject = Subject(
        "Visual place recognition: " + ", ".join(row.name for row in rows), tuple(said), comparison.data,
        tuple(replace(row.stage, others=tuple(row.rankings[1:])) for row in rows),
        {row.name: row.metrics for row in rows}, known_of(comparison.dataset), differences_table(comparison),
        matched[-1].answers if matched else None, versus=True, matched=matched[-1].name if matched else "",
    )  # fmt: skip
    return write_report(path, subject, options)


def _draw(path: Path, comparison: Comparison) -> str:
    """Recall@N of every row, as PNG and PDF; returns what to say of it."""
    from vpr.base.figures import save
    from vpr.eval.recall_curves import recall_curves

    stem = path.with_suffix("") if path.suffix in (".png", ".pdf") else path
    files = [stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf")]
    for file in files:
        save(recall_curves(comparison.data, [(row.name, row.rankings, row.final) for row in comparison.rows]), file)
    return f"curves: {', '.join(map(str, files))}"


if __name__ == "__main__":
    sys.exit(main())
