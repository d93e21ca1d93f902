"""Submission files: written whole, and checked before somebody uploads them.

    python -m eval.submission FILE --data DIR --split test

names each fault of a prediction file (.csv, or a zip with exactly one .csv at its root) and exits with
1 when there is one.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from datasets.errors import DatasetError
from datasets.msls import DEFAULT_SEQ_LENGTH, MSLS, Protocol, Split, Subtask, Task, load
from eval.prediction_file import PredictionError, format_predictions, write_whole
from eval.predictions import name_rankings
from eval.submission_check import faults_of_file
from vpr.command import make_parser, run

ZIP_TIME = (2020, 1, 1, 0, 0, 0)  # fixed, so that the same predictions make the same bytes
SHOWN = 20  # faults of one kind that are printed before the rest is counted


def check_suffix(path: Path | None) -> None:
    """Raise PredictionError, a ValueError, for a submission that is neither a .csv nor a .zip; None is no submission."""
    if path is not None and path.suffix not in (".csv", ".zip"):
        raise PredictionError(f"{path}: a submission is a .csv or a .zip; choose one of these suffixes")


def write_submission(path: Path, dataset: MSLS, ranked: np.ndarray, header: Sequence[str] = ()) -> Path:
    """Write the rankings of all queries as ``path``: a .csv, or a .zip with one .csv at its root.

    ``ranked``: (Q, K) int, pooled numbering, every row full and free of repeats. The file appears whole
    or not at all. Raises ValueError for another suffix, a row with a gap or a repeat, or a wrong Q.
    """
    path = Path(path)
    check_suffix(path)
    if len(ranked) != dataset.query_offsets[-1]:
        raise ValueError(f"{len(ranked)} rankings for {dataset.query_offsets[-1]} queries; rank every query")
    ordered = np.sort(ranked, axis=1)
    if (ordered < 0).any() or (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError("a ranking has a gap or a repeat; give every query as many different predictions")
    data = format_predictions(*name_rankings(dataset, ranked), header).encode("utf-8")
    if path.suffix == ".zip":
        data = _zipped(path.with_suffix(".csv").name, data)
    return write_whole(path, data)


def _zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def main(argv: list[str] | None = None) -> int:
    """The command; 0 for a valid file, 1 when a fault was named or the tree cannot be read."""
    return run(check, _parser(), argv, expected=(DatasetError,))


def check(arguments: argparse.Namespace) -> int:
    """Print the faults of the file, or that it is valid for which cities."""
    dataset = load(arguments.data, _protocol(arguments))
    faults = faults_of_file(arguments.file, dataset)
    for line in summarise(faults):
        print(line)
    if faults:
        print(f"{arguments.file}: not valid, {len(faults)} fault(s)")
        return 1
    cities = ", ".join(city.name for city in dataset.cities)
    queries, database = dataset.query_offsets[-1], dataset.database_offsets[-1]
    print(f"{arguments.file}: valid for {cities} ({queries} queries, {database} database entries)")
    return 0


def summarise(faults: Iterable[tuple[str, str]]) -> list[str]:
    """One line a fault, ``kind: where``, up to SHOWN of each kind and then their number."""
    by_kind: dict[str, list[str]] = {}
    for kind, where in faults:
        by_kind.setdefault(kind, []).append(where)
    lines = []
    for kind, places in by_kind.items():
        lines += [f"{kind}: {where}" for where in places[:SHOWN]]
        if len(places) > SHOWN:
            lines.append(f"{kind}: {len(places) - SHOWN} more")
    return lines


def _protocol(arguments: argparse.Namespace) -> Protocol:
    """The protocol of the arguments; a sequence task without a length takes the usual one."""
    cities = tuple(name for name in arguments.cities.split(",") if name)
    length = arguments.seq_length or (1 if arguments.task == "im2im" else DEFAULT_SEQ_LENGTH)
    protocol = Protocol(split=arguments.split, cities=cities, subtask=arguments.subtask)
    return replace(protocol, task=arguments.task, seq_length=length)


def _parser() -> argparse.ArgumentParser:
    defaults = Protocol(split="test")
    parser = make_parser("eval.submission", "Check a submission file against the MSLS protocol and name each fault.")
    parser.add_argument("file", type=Path, help="the .csv or .zip to check")
    parser.add_argument("--data", type=Path, required=True, help="MSLS folder, holding train_val/ and test/")
    parser.add_argument("--split", choices=get_args(Split), default=defaults.split, help="split of the file")
    parser.add_argument("--cities", default="", help="comma-separated cities; empty: all of the split there are")
    parser.add_argument("--task", choices=get_args(Task), default=defaults.task, help="task of the file")
    parser.add_argument(
        "--seq-length", type=int, help=f"frames of a sequence, odd; {DEFAULT_SEQ_LENGTH} for sequence tasks"
    )
    parser.add_argument("--subtask", choices=get_args(Subtask), default=defaults.subtask, help="subtask")
    return parser


if __name__ == "__main__":
    sys.exit(main())
