"""``python -m eval.compare``: runs, prediction files and descriptors side by side, on MSLS or on several sets."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.base.machine import choose_device
from vpr.base.outputs import check_outputs
from vpr.base.settings import option, output, positional
from vpr.datasets.default_data import data_root
from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.cities import OFFICIAL_CITIES
from vpr.datasets.msls.options import ProtocolListOptions
from vpr.eval.files.prediction_file import check_suffix
from vpr.eval.options import RankingOptions, SourceOptions, TableFormat
from vpr.eval.report.subject import ReportOptions
from vpr.eval.tables import show
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    import torch

    from vpr.datasets.msls.dataset import MSLS
    from vpr.eval.comparison.comparison import Comparison
    from vpr.eval.comparison.methods import Method
    from vpr.eval.comparison.set_settings import TableSettings
    from vpr.eval.evaluator import Evaluator


@dataclass(frozen=True)
class CompareOptions:
    """Runs and files."""

    runs: tuple[str, ...] = positional(
        "run folders, 'builtin', published models, timm:NAME, prediction files, or descriptors of other models, each "
        "as SOURCE or NAME=SOURCE; runs with the same NAME are trainings of one method; a teacher inside a run has "
        "rows of its own",
        "RUN",
        minimum=0,
    )
    settings: Path | None = option(
        None,
        "YAML file that names sets and methods, in place of RUN and of the options of dataset and protocols: one table "
        "of all methods on all sets",
    )
    out: Path | None = output(
        None,
        "with --settings, the folder that keeps the result of each method on each set; default: runs/compare/NAME, by "
        "the name of the file of settings",
        "folder",
    )
    format: TableFormat = option("text", "format of the printed table")
    submission: Path | None = output(
        None, "rank the test cities with the last run and write a .zip or .csv", "predictions"
    )
    json: Path | None = output(None, "write the table as JSON", "json")
    curves: Path | None = output(None, "draw Recall@N against N into this file, as .png and as .pdf", "curves")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [CompareOptions, ProtocolListOptions, RankingOptions, RerankOptions, ReportOptions]
    about = "Compare runs, prediction files and descriptors of other models, on one set or on several."
    return run_command("eval.compare", about, stages, _work, argv)


def _work(
    compared: CompareOptions,
    options: ProtocolListOptions,
    ranking: RankingOptions,
    rerank: RerankOptions,
    page: ReportOptions,
) -> None:
    from vpr.eval.comparison.comparison import compare_methods
    from vpr.eval.comparison.methods import parse_methods
    from vpr.eval.comparison.set_settings import read_settings
    from vpr.eval.evaluator import Evaluator
    from vpr.eval.sets.msls import MSLSBenchmark

    if compared.settings is not None:
        _check_sets(compared, options, page)
        settings = read_settings(compared.settings, ranking, rerank)
        _compare_sets(compared, settings, choose_device(ranking.device))
        return
    if not compared.runs:
        raise VprError("no method is given; name runs and files, or pass --settings FILE.yaml")
    if compared.out is not None:
        raise VprError("--out is for --settings; leave it out")
    methods = parse_methods(compared.runs)
    _check(compared, options, page, methods)
    evaluator = Evaluator(ranking, rerank, choose_device(ranking.device))
    record: dict[str, dict[str, Any]] = {}
    for dataset in options.load_each():
        comparison = compare_methods(methods, MSLSBenchmark(dataset), evaluator)
        for block in comparison.blocks(compared.format, csv_header=not record):
            show(block)
        prefix = f"{dataset.protocol.task} {dataset.protocol.subtask}: " if options.has_several else ""
        record |= {prefix + name: row for name, row in comparison.record().items()}
    if compared.json is not None:
        write_json(compared.json, record)
    if compared.curves is not None:
        show(_draw(compared.curves, comparison))
    if page.report is not None:
        show(_write_page(page.report, comparison, page))
    if compared.submission is not None:
        show(_submit(compared.submission, methods[-1], dataset, evaluator))


def _compare_sets(compared: CompareOptions, settings: TableSettings, device: torch.device) -> None:
    """Print the table of a file of settings; raises VprError at the end if a pair of it failed."""
    from vpr.eval.comparison.set_comparison import compare_sets
    from vpr.eval.comparison.set_table_forms import table_blocks

    named = [path for method in settings.methods for path in method.files()]
    check_outputs([compared, *(one.options for one in settings.sets)], named)
    out = compared.out or Path("runs/compare") / settings.path.stem
    table = compare_sets(settings, out, device)
    show(*table_blocks(table, compared.format))
    if compared.json is not None:
        write_json(compared.json, table.record())
    if table.failures:
        pairs = (
            f"{len(table.failures)} of {len(settings.sets) * len(settings.methods)} evaluations failed, see the notes"
        )
        raise VprError(pairs, remedy="correct that and run the command again; it keeps the others")


def _check_sets(compared: CompareOptions, options: ProtocolListOptions, page: ReportOptions) -> None:
    """Raise VprError for options of a comparison on one set, beside a file of settings."""
    if compared.runs or options != ProtocolListOptions():
        raise VprError("--settings names sets and methods; leave RUN and the options of dataset and protocols out")
    if compared.submission is not None or compared.curves is not None or page.report is not None:
        raise VprError("--submission, --curves and --report are of one set; leave them out, or --settings")


def _check(compared: CompareOptions, options: ProtocolListOptions, page: ReportOptions, methods: list[Method]) -> None:
    """Raise VprError for options that exclude one another, before anything is computed."""
    if compared.submission is not None:
        check_suffix(compared.submission)
        if not methods[-1].is_run:
            what = "a prediction file" if methods[-1].kind == "predictions" else "a file of descriptors"
            raise VprError(f"--submission needs a run as the last method; {methods[-1].name} is {what}")
    if options.has_several and (page.report is not None or compared.curves is not None):
        raise VprError("--report and --curves need one protocol; give one --task and one --subtask")
    if options.task == "all" and any(method.kind == "predictions" for method in methods):
        raise VprError("a prediction file is for one task; pass it as --task")


def _submit(path: Path, method: Method, dataset: MSLS, evaluator: Evaluator) -> str:
    """Write the submission of a run; returns a line for the user."""
    from vpr.eval.evaluator import submit

    root = data_root(dataset.root, (), OFFICIAL_CITIES["test"])  # mini-MSLS may have been rendered in part
    test = load(root, Protocol(split="test", scope=dataset.protocol.scope)).retrieval_set
    return submit(path, test, evaluator.answer(test, SourceOptions(method.sources[0], rerank=True)))


def _write_page(path: Path, comparison: Comparison, options: ReportOptions) -> str:
    """Write the report of the last stage of each method; returns a line for the user."""
    from vpr.eval.report.page import write_report
    from vpr.eval.report.subject import Subject

    rows, lines = comparison.final, comparison.header()
    matched = [row for row in rows if row.answers is not None]
    several = [f"{len(row.rankings)} of {row.name}" for row in rows if len(row.rankings) > 1]
    if several:
        lines.append(f"trainings: {', '.join(several)}; recalls are means over them, the rest is of the first one")
    subject = Subject(
        title="Visual place recognition: " + ", ".join(row.name for row in rows),
        lines=tuple(lines),
        data=comparison.data,
        stages=tuple(replace(row.stage, others=tuple(row.rankings[1:])) for row in rows),
        results={row.name: row.metrics for row in rows},
        facets=comparison.benchmark.facets(),
        tables=comparison.report_tables(),
        answers=matched[-1].answers if matched else None,
        versus=True,
        matched=matched[-1].name if matched else "",
    )
    return write_report(path, subject, options)


def _draw(path: Path, comparison: Comparison) -> str:
    """Draw Recall@N of every row as PNG and PDF; returns a line for the user."""
    from vpr.base.figures import save
    from vpr.base.outputs import curve_files
    from vpr.eval.comparison.recall_curves import RecallCurve, recall_figure

    files = curve_files(path)
    curves = [RecallCurve(row.name, row.rankings, row.final) for row in comparison.rows]
    for file in files:
        save(recall_figure(comparison.data, curves), file)
    return f"curves: {', '.join(map(str, files))}"


if __name__ == "__main__":
    sys.exit(main())
