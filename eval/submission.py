"""``python -m eval.submission FILE``: report every fault of a submission file before it is uploaded."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import positional
from vpr.datasets.msls.options import DatasetOptions
from vpr.eval.files.faults import find_faults

MAX_PRINTED = 20  # faults of one kind; the others are counted


@dataclass(frozen=True)
class SubmissionOptions:
    """Submission."""

    file: Path = positional("the submission: a .csv, or a .zip with one .csv at its root", "FILE")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code, 1 if there is a fault."""
    description = "Check a submission file against the MSLS protocol and report each fault."
    return run_command("eval.submission", description, [SubmissionOptions, DatasetOptions(split="test")], _work, argv)


def _work(options: SubmissionOptions, dataset_options: DatasetOptions) -> int:
    dataset = dataset_options.load()
    faults = find_faults(options.file, dataset)
    for line in summarise(faults):
        print(line)
    if faults:
        print(f"{options.file}: not valid, {len(faults)} fault(s)")
        return 1
    cities = ", ".join(city.name for city in dataset.cities)
    data = dataset.retrieval_set
    print(f"{options.file}: valid for {cities} ({len(data.queries)} queries, {len(data.database)} database entries)")
    return 0


def summarise(faults: Iterable[tuple[str, str]]) -> list[str]:
    """One line for each fault, ``kind: place``. After `MAX_PRINTED` lines of a kind: the number of the others.

    faults: kind and place of each.
    """
    by_kind: dict[str, list[str]] = {}
    for kind, place in faults:
        by_kind.setdefault(kind, []).append(place)
    lines = []
    for kind, places in by_kind.items():
        lines += [f"{kind}: {place}" for place in places[:MAX_PRINTED]]
        if len(places) > MAX_PRINTED:
            lines.append(f"{kind}: {len(places) - MAX_PRINTED} more")
    return lines


if __name__ == "__main__":
    sys.exit(main())
