"""``python -m eval.compare``: runs side by side, before and after re-ranking, above the floors."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.msls import Protocol, load
from datasets.msls.options import ProtocolOptions
from eval.files.prediction_file import check_suffix
from eval.options import RankingConfig, SourceConfig
from eval.tables import describe_counts, describe_protocol, metrics_table, show
from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.base.machine import choose_device
from vpr.base.settings import option, positional
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from datasets.retrieval_set import RetrievalSet
    from eval.evaluation import Evaluator

COLUMNS = ("recall@1", "recall@5", "recall@10")


@dataclass(frozen=True)
class CompareOptions:
    """Runs and files."""

    runs: tuple[Path, ...] = positional("run folders, or 'builtin'; a teacher inside one is shown too", "RUN")
    submission: Path | None = option(None, "rank the test cities with the last run and write a .zip or .csv")
    json: Path | None = option(None, "write the table as JSON")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [CompareOptions, ProtocolOptions, RankingConfig, RerankOptions]
    return run_command("eval.compare", "Runs side by side, before and after re-ranking.", stages, _work, argv)


def _work(compared: CompareOptions, options: ProtocolOptions, ranking: RankingConfig, rerank: RerankOptions) -> None:
    from eval.evaluation import Evaluator, submit
    from eval.floors import chance, thumbnails

    if compared.submission is not None:
        check_suffix(compared.submission)
    evaluator = Evaluator(ranking, rerank, choose_device(ranking.device))
    dataset = options.load()
    if dataset.without_ground_truth:
        raise VprError(f"{', '.join(dataset.without_ground_truth)}: no true positions, so nothing can be compared")
    data = dataset.retrieval_set
    rows: dict[str, dict[str, float]] = {}
    teachers: set[str] = set()
    for folder in compared.runs:
        rows |= _rows(folder, data, evaluator, teachers)
    rows = {"chance": chance(data), "7x7-pixel thumbnails": thumbnails(data)} | rows
    show(describe_protocol(dataset), describe_counts(data), metrics_table(rows, COLUMNS))
    if compared.json is not None:
        write_json(compared.json, rows)
    if compared.submission is not None:
        test = load(dataset.root, Protocol(split="test", scope=dataset.protocol.scope)).retrieval_set
        answers = evaluator.answer(test, SourceConfig(compared.runs[-1], rerank=True))
        show(submit(compared.submission, test, answers))


def _rows(folder: Path, data: RetrievalSet, evaluator: Evaluator, teachers: set[str]) -> dict[str, dict[str, float]]:
    """Two rows of the table for the teacher inside a run, unless it stands above already, and two for the run itself.

    teachers: fingerprints of those that stand above.
    """
    from vpr.description.spec import cache_spec
    from vpr.models.builtin import run_of
    from vpr.models.loading import TEACHER, load_teacher

    named: dict[str, str] = {}
    if (run_of(folder) / TEACHER).is_dir():
        fingerprint = cache_spec(load_teacher(folder, evaluator.device)).fingerprint
        named = {} if fingerprint in teachers else {f"NetVLAD of {folder.name}": "teacher"}
        teachers.add(fingerprint)
    rows: dict[str, dict[str, float]] = {}
    for name, shortlist in {**named, folder.name: "student"}.items():
        scores = evaluator.answer(data, SourceConfig(folder, shortlist, rerank=True)).scores(data)
        rows |= {name: scores["shortlist"], f"{name}, re-ranked": scores["rerank"]}
    return rows


if __name__ == "__main__":
    sys.exit(main())
