"""``python -m eval.msls``: shortlists, re-ranking and Recall@k under the MSLS protocol."""

import argparse
import logging
import sys
from pathlib import Path

import numpy as np

from datasets.default import data_root
from datasets.errors import DatasetError
from datasets.known_counts import count_remarks
from datasets.msls import MSLS, load
from eval.evaluation import Outcome, rank, score, write_outcome
from eval.options import ProtocolConfig, RankingConfig
from eval.prediction_file import PredictionError, read_predictions
from eval.predictions import UNKNOWN_QUERY, resolve
from eval.submission import check_suffix
from eval.tables import describe_counts, describe_protocol, metrics_table, show
from vpr.command import fill, log_to, make_parser, run
from vpr.device import choose_device
from vpr.files import write_json
from vpr.rerank import RerankConfig
from vpr.runs import revision

log = logging.getLogger("vpr")

def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = make_parser(
        "eval.msls", "Evaluate on MSLS: shortlists, re-ranking, Recall@k.", ProtocolConfig, RankingConfig, RerankConfig
    )
    parser.add_argument("--data", default="", help="root of an MSLS tree; mini-MSLS when left out")
    parser.add_argument("--predictions", type=Path, help="score this prediction file, without a model")
    parser.add_argument("--strict", action="store_true", help="panoramas and unknown keys in it are an error")
    parser.add_argument("--submission", type=Path, help="write the final rankings as a .zip or .csv for the challenge")
    parser.add_argument("--json", type=Path, help="write protocol, counts and results as JSON")
    return run(_work, parser, argv, (DatasetError, PredictionError))


def _work(arguments: argparse.Namespace) -> int:
    protocol, ranking = fill(ProtocolConfig, arguments), fill(RankingConfig, arguments)
    check_suffix(arguments.submission)
    dataset = load(data_root(arguments.data), protocol.protocol())
    show(describe_protocol(dataset, protocol.scope), describe_counts(dataset))
    for remark in [*count_remarks(dataset), *_left_out(dataset)]:
        log.warning("note: %s", remark)
    outcome = Outcome()
    if arguments.predictions is None or ranking.rerank or arguments.submission:
        if Path(ranking.run).is_dir():
            log_to(Path(ranking.run))
        outcome = rank(dataset, protocol.scope, ranking, fill(RerankConfig, arguments), choose_device(ranking.device))
    if arguments.predictions:
        outcome.ranked["predictions"] = _predictions(arguments, dataset, protocol)
    if arguments.submission:
        write_outcome(arguments.submission, dataset, outcome)
    results = _report(dataset, outcome)
    if arguments.json:
        write_json(arguments.json, _record(dataset, protocol, outcome, results))
    return 0


def _left_out(dataset: MSLS) -> list[str]:
    notes = [f"{city} is left out: the protocol leaves it without queries or without database" for city in dataset.skipped]
    notes += [f"{city} has no raw.csv, so its panoramas cannot be told and stay in" for city in dataset.with_panoramas]
    return notes


def _predictions(arguments: argparse.Namespace, dataset: MSLS, protocol: ProtocolConfig) -> np.ndarray:
    """The rankings of a prediction file; what is odd about it is named and counted, or with --strict an error."""
    leniency = "error" if arguments.strict else "count"
    resolved = resolve(read_predictions(arguments.predictions), dataset, protocol.scope, leniency, leniency)
    for problem in resolved.problems:
        if problem.kind == UNKNOWN_QUERY:
            raise PredictionError(f"{arguments.predictions}: {problem}; is the file for another dataset or split?")
        log.warning("%s: %s", arguments.predictions, problem)
    return resolved.ranked


def _report(dataset: MSLS, outcome: Outcome) -> dict[str, dict[str, float]]:
    """Score, print, and return the results; say why when there is no score."""
    if dataset.without_ground_truth:
        cities = ", ".join(dataset.without_ground_truth)
        show(f"no score: {cities} has no postprocessed.csv, so the true positions are unknown; write a --submission")
        return {}
    results = score(dataset, outcome)
    show(metrics_table(results))
    if outcome.weight is not None:
        show(f"re-ranked by S_global + {outcome.weight:g} x S_struct, fusion: {outcome.fusion}")
    if outcome.latency_ms:
        show("; ".join(f"{name.replace('_', ' ')} {value:.2f} ms" for name, value in outcome.latency_ms.items()))
    return results


def _record(dataset: MSLS, config: ProtocolConfig, outcome: Outcome, results: dict) -> dict:
    protocol = dataset.protocol
    return {
        "protocol": {
            "split": protocol.split,
            "cities": [city.name for city in dataset.cities],
            "task": protocol.task,
            "subtask": protocol.subtask,
            "seq_length": protocol.seq_length,
            "radius_m": protocol.radius_m,
            "scope": config.scope,
        },
        "counts": dataset.counts(),
        "results": results,
        "latency_ms": outcome.latency_ms,
        "weight": outcome.weight,
        "fusion": outcome.fusion,
        "dataset": dataset.fingerprint,
        "revision": revision(),
    }


if __name__ == "__main__":
    sys.exit(main())
