"""``python -m eval.compare``: runs side by side under one protocol, each before and after re-ranking, above the floors."""

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

from datasets.default import data_root
from datasets.errors import DatasetError
from datasets.msls import MSLS, Protocol, load
from eval.evaluation import rank, score, write_outcome
from eval.floors import chance, thumbnails
from eval.options import ProtocolConfig, RankingConfig
from eval.prediction_file import PredictionError
from eval.submission import check_suffix
from eval.tables import describe_counts, describe_protocol, metrics_table, show
from vpr.command import fill, make_parser, run
from vpr.device import choose_device
from vpr.errors import VprError
from vpr.files import write_json
from vpr.rerank import RerankConfig
from vpr.runs import TEACHER

COLUMNS = ("recall@1", "recall@5", "recall@10")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = make_parser(
        "eval.compare", "Runs side by side, before and after re-ranking.", ProtocolConfig, RankingConfig, RerankConfig
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders; a teacher inside one is shown too")
    parser.add_argument("--data", default="", help="root of an MSLS tree; mini-MSLS when left out")
    parser.add_argument("--submission", type=Path, help="rank the test cities with the last run and write a .zip or .csv")
    parser.add_argument("--json", type=Path, help="write the table as JSON")
    return run(_work, parser, argv, (DatasetError, PredictionError))


def _work(arguments: argparse.Namespace) -> int:
    protocol, rerank = fill(ProtocolConfig, arguments), fill(RerankConfig, arguments)
    check_suffix(arguments.submission)
    ranking = dataclasses.replace(fill(RankingConfig, arguments), rerank=True)
    device = choose_device(ranking.device)
    dataset = load(data_root(arguments.data), protocol.protocol())
    if dataset.without_ground_truth:
        raise VprError(f"{', '.join(dataset.without_ground_truth)}: no true positions, so nothing can be compared")
    rows = {}
    for folder in arguments.runs:
        choice = dataclasses.replace(ranking, run=str(folder))
        if (folder / TEACHER).is_dir():
            teacher = dataclasses.replace(choice, shortlist="teacher")
            rows |= _rows(f"NetVLAD of {folder.name}", dataset, protocol, teacher, rerank, device)
        rows |= _rows(folder.name, dataset, protocol, choice, rerank, device)
    floors = {"chance": chance(dataset, protocol.scope), "7x7-pixel thumbnails": thumbnails(dataset, protocol.scope)}
    show(describe_protocol(dataset, protocol.scope), describe_counts(dataset), metrics_table(floors | rows, COLUMNS))
    if arguments.json:
        write_json(arguments.json, floors | rows)
    if arguments.submission:
        test = load(dataset.root, Protocol(split="test"))
        last = dataclasses.replace(ranking, run=str(arguments.runs[-1]))
        write_outcome(arguments.submission, test, rank(test, protocol.scope, last, rerank, device))
    return 0


def _rows(
    name: str, dataset: MSLS, protocol: ProtocolConfig, ranking: RankingConfig, rerank: RerankConfig, device: torch.device
) -> dict[str, dict[str, float]]:
    """Two rows of the table: the shortlist and its re-ranking."""
    results = score(dataset, rank(dataset, protocol.scope, ranking, rerank, device))
    return {name: results["shortlist"], f"{name}, re-ranked": results["rerank"]}


if __name__ == "__main__":
    sys.exit(main())
