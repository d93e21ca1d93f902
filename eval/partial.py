"""``python -m eval.partial``: recall against the share of the mass that is transported, for places or class labels.

Writes partial.json, .csv and .png. The descriptors are computed once; every mass re-ranks the same shortlists with the
same weight.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.files import replacing, write_json
from vpr.base.machine import choose_device
from vpr.base.settings import Names, option
from vpr.datasets.labels.layouts import Layout
from vpr.datasets.msls.options import ProtocolOptions
from vpr.eval.options import RankingConfig, SourceConfig
from vpr.eval.tables import describe_protocol, metrics_table, show, title_of
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from vpr.datasets.retrieval_set import RetrievalSet
    from vpr.eval.evaluation import Evaluator
    from vpr.eval.metrics import Metrics

MASSES = Names(["1", "0.9", "0.8", "0.7", "0.6", "0.5", "0.4"])


@dataclass(frozen=True)
class PartialOptions:
    """Study."""

    run: Path = option(Path("runs/distill"), "run folder of the structural model, or 'builtin'")
    masses: Names = option(MASSES, "shares of the mass, in (0, 1]")
    out: Path = option(Path("runs/partial"), "folder of the table and the figure")
    retrieval: bool = option(False, "on the test half of a labelled set, instead of MSLS")
    layout: Layout = option("folders", "with --retrieval: how the images of --data lie")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [PartialOptions, ProtocolOptions, RankingConfig, RerankOptions]
    return run_command("eval.partial", "Recall against the mass that is transported.", stages, _work, argv)


def _work(study: PartialOptions, options: ProtocolOptions, ranking: RankingConfig, rerank: RerankOptions) -> None:
    masses = [_mass(given) for given in study.masses]
    if not masses or rerank.mass is not None:
        raise VprError("--mass: give the shares by --masses here" if masses else "--masses: give at least one")
    prepared = _labels if study.retrieval else _places
    said, data, evaluator, metrics, shown = prepared(study, options, ranking, rerank)
    show(said)
    rows: dict[str, dict[str, float]] = {}
    for mass in masses:
        at = replace(evaluator, rerank=replace(evaluator.rerank, mass=mass))
        scores = at.answer(data, SourceConfig(study.run, rerank=True)).scores(data, metrics)
        rows = {"not re-ranked": scores["shortlist"], **rows, f"mass {mass:g}": scores["rerank"]}
    show(metrics_table(rows, shown))
    _write(study.out, said, masses, rows, shown)
    show(f"written: {study.out}/partial.json, .csv, .png")


def _mass(given: str) -> float:
    try:
        mass = float(given)
    except ValueError:
        raise VprError(f"--masses: {given!r} is no number") from None
    if not 0 < mass <= 1:
        raise VprError(f"--masses: {given} is out of range, give values in (0, 1]")
    return mass


Prepared = tuple[str, "RetrievalSet", "Evaluator", "Metrics", tuple[str, ...]]


def _places(study: PartialOptions, options: ProtocolOptions, ranking: RankingConfig, rerank: RerankOptions) -> Prepared:
    """MSLS: what it is, the set, the evaluator, the metrics, and which of them are shown."""
    from vpr.eval.evaluation import Evaluator
    from vpr.eval.metrics import evaluate

    dataset = options.load()
    if dataset.without_ground_truth:
        raise VprError(f"{', '.join(dataset.without_ground_truth)}: no true positions, so nothing can be compared")
    evaluator = Evaluator(ranking, rerank, choose_device(ranking.device))
    return describe_protocol(dataset), dataset.retrieval_set, evaluator, evaluate, ("recall@1", "recall@5", "map@10")


def _labels(study: PartialOptions, options: ProtocolOptions, ranking: RankingConfig, rerank: RerankOptions) -> Prepared:
    """As `_places`, of the test half of a labelled set."""
    from vpr.datasets.labels import load
    from vpr.datasets.labels.mini import labelled_root
    from vpr.eval.label_metrics import evaluate_labels
    from vpr.eval.labelled import label_evaluator, only_data

    halves = load(study.layout, labelled_root(only_data(options), study.layout))
    data = halves.testing.retrieval_set()
    evaluator = label_evaluator(study.run, data, halves, ranking, rerank)
    said = f"{study.layout}: {len(data.queries)} images, each a query"
    return said, data, evaluator, evaluate_labels, ("p@1", "rp", "map@r")


def _write(
    out: Path, said: str, masses: list[float], rows: dict[str, dict[str, float]], shown: tuple[str, ...]
) -> None:
    """The table as JSON and CSV, and the figure."""
    import pandas as pd
    from matplotlib.figure import Figure

    from vpr.base.figures import COLOURS, save, style

    write_json(out / "partial.json", {"protocol": said, "results": rows})
    with replacing(out / "partial.csv") as temporary:
        pd.DataFrame(rows).T.to_csv(temporary, index_label="row")
    with style():
        figure = Figure(figsize=(4, 3), layout="constrained")
        axes = figure.subplots()
        for metric, colour in zip(shown, COLOURS[1:]):
            values = [100 * rows[f"mass {mass:g}"][metric] for mass in masses]
            axes.plot(masses, values, "o-", color=colour, label=title_of(metric))
            axes.axhline(100 * rows["not re-ranked"][metric], color=colour, linestyle=":")
        axes.set_xlabel("mass transported (dotted: not re-ranked)")
        axes.set_ylabel("%")
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        save(figure, out / "partial.png")


if __name__ == "__main__":
    sys.exit(main())
