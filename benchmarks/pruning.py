"""``python -m benchmarks.pruning RUN``: exact pruning on real descriptors: the first ranks, and the share of transport skipped."""

import argparse
from pathlib import Path

import numpy as np
import torch

from datasets.default import data_root
from datasets.msls import Protocol, load
from eval.models import Describer, structural_weight
from eval.ranking import Rows, compare_shortlist, sequence_descriptors, shortlist
from vpr.rerank import RerankConfig, reorder
from vpr.runs import load_student

DEPTH = 100


def main() -> None:
    """Print one line for each number of ranks kept exact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", default="")
    parser.add_argument("--cities", nargs="*", default=[])
    arguments = parser.parse_args()
    cpu = torch.device("cpu")
    dataset = load(data_root(arguments.data), Protocol(cities=tuple(arguments.cities)))
    cache = Describer(arguments.run / "cache", cpu).describe(load_student(arguments.run, cpu), dataset)
    rows, weight = Rows.of(dataset, cache), structural_weight(arguments.run, -1)
    sides = (sequence_descriptors(cache, side) for side in (rows.query, rows.database))
    _, ranked = shortlist(dataset, *sides, "city", DEPTH)
    full = compare_shortlist(cache, rows, ranked, RerankConfig(), weight=weight)
    for kept in (1, 5, 10):
        pruned = compare_shortlist(cache, rows, ranked, RerankConfig(prune=kept), weight=weight)
        first, found = (reorder(ranked, s.combined(weight))[:, :kept] for s in (full, pruned))
        same = (first == found).all(axis=1).mean()
        skipped = (pruned.structural - full.structural > 1e-3).mean()
        print(f"first {kept}: the same for {100 * same:.2f} % of {len(ranked)} queries, {100 * skipped:.0f} % of the transport skipped")


if __name__ == "__main__":
    main()
