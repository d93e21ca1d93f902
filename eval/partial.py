"""``python -m eval.partial``: recall against the share of the mass that is transported, for places or class labels.

Writes partial.json, .csv and .png. The descriptors are computed once. Every mass re-ranks the same shortlists with the
same weight.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.files import replace_file, write_json
from vpr.base.machine import choose_device
from vpr.base.settings import Names, option, output
from vpr.datasets.labels.layouts import Layout
from vpr.datasets.msls.options import ProtocolOptions
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.tables import describe_protocol, metrics_table, show, title_of
from vpr.models.settings import RUN
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from vpr.datasets.retrieval_set import RetrievalSet
    from vpr.eval.evaluator import Evaluator
    from vpr.eval.metrics import Metrics

MASSES = Names(["1", "0.9", "0.8", "0.7", "0.6", "0.5", "0.4"])
WITHOUT = "not re-ranked"  # a row


@dataclass(frozen=True)
class PartialOptions:
    """Study."""

    run: Path = option(Path("runs/distill"), RUN)
    masses: Names = option(MASSES, "shares of the mass to transport, in (0, 1]")
    out: Path = output(Path("runs/partial"), "folder for the table and the figure", "folder")
    retrieval: bool = option(False, "evaluate on the test half of a labelled set instead of MSLS")
    layout: Layout = option("folders", "layout of the labelled images in --data, with --retrieval")


@dataclass(frozen=True, eq=False)
class Study:
    """The data of a study, and how they are scored."""

    title: str
    data: RetrievalSet
    evaluator: Evaluator
    metrics: Metrics
    columns: tuple[str, ...]  # metrics of the table and the figure


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [PartialOptions, ProtocolOptions, RankingOptions, RerankOptions]
    return run_command("eval.partial", "Recall against the mass that is transported.", stages, _work, argv)


def _work(options: PartialOptions, protocol: ProtocolOptions, ranking: RankingOptions, rerank: RerankOptions) -> None:
    masses = [_parse_mass(text) for text in options.masses]
    if not masses or rerank.mass is not None:
        raise VprError("--mass: pass the shares of the mass as --masses" if masses else "--masses: give at least one")
    if options.retrieval:
        study = _label_study(options, protocol, ranking, rerank)
    else:
        study = _place_study(protocol, ranking, rerank)
    show(study.title)
    rows: dict[str, dict[str, float]] = {}
    for mass in masses:
        evaluator = replace(study.evaluator, rerank=replace(study.evaluator.rerank, mass=mass))
        answers = evaluator.answer(study.data, SourceOptions(options.run, rerank=True))
        scores = answers.scores(study.data, study.metrics)
        rows = {WITHOUT: scores["shortlist"], **rows, f"mass {mass:g}": scores["rerank"]}
    show(metrics_table(rows, study.columns))
    _write(options.out, study, masses, rows)
    show(f"written: {options.out}/partial.json, .csv, .png")


def _parse_mass(text: str) -> float:
    """A share of the mass; raises VprError if it is not a number in (0, 1]."""
    try:
        mass = float(text)
    except ValueError:
        raise VprError(f"--masses: {text!r} is not a number; give values in (0, 1], as 1,0.9,0.8") from None
    if not 0 < mass <= 1:
        raise VprError(f"--masses: {text} is out of range, give values in (0, 1]")
    return mass


def _place_study(protocol: ProtocolOptions, ranking: RankingOptions, rerank: RerankOptions) -> Study:
    """A study on MSLS."""
    from vpr.eval.evaluator import Evaluator, require_positions
    from vpr.eval.metrics import evaluate

    dataset = protocol.load()
    require_positions(dataset)
    evaluator = Evaluator(ranking, rerank, choose_device(ranking.device))
    columns = ("recall@1", "recall@5", "map@10")
    return Study(describe_protocol(dataset), dataset.retrieval_set, evaluator, evaluate, columns)


def _label_study(
    options: PartialOptions, protocol: ProtocolOptions, ranking: RankingOptions, rerank: RerankOptions
) -> Study:
    """A study on the test half of a labelled set."""
    from vpr.datasets.labels.options import LabelOptions
    from vpr.eval.labels.label_evaluator import label_evaluator, labelled_folder
    from vpr.eval.labels.label_metrics import evaluate_labels

    split = LabelOptions(options.layout, labelled_folder(protocol)).load()
    data = split.testing.retrieval_set()
    evaluator = label_evaluator(options.run, data, split, ranking, rerank)
    title = f"{options.layout}: {len(data.queries)} images, each a query"
    return Study(title, data, evaluator, evaluate_labels, ("p@1", "rp", "map@r"))


def _write(out: Path, study: Study, masses: list[float], rows: dict[str, dict[str, float]]) -> None:
    """Write the table as JSON and CSV, and the figure."""
    import pandas as pd
    from matplotlib.figure import Figure

    from vpr.base.figures import COLOURS, save, style

    write_json(out / "partial.json", {"protocol": study.title, "results": rows})
    with replace_file(out / "partial.csv") as temporary:
        pd.DataFrame(rows).T.to_csv(temporary, index_label="row")
    with style():
        figure = Figure(figsize=(4, 3), layout="constrained")
        axes = figure.subplots()
        for metric, colour in zip(study.columns, COLOURS[1:]):
            values = [100 * rows[f"mass {mass:g}"][metric] for mass in masses]
            axes.plot(masses, values, "o-", color=colour, label=title_of(metric))
            axes.axhline(100 * rows[WITHOUT][metric], color=colour, linestyle=":")
        axes.set_xlabel("mass transported (dotted: not re-ranked)")
        axes.set_ylabel("%")
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        save(figure, out / "partial.png")


if __name__ == "__main__":
    sys.exit(main())
