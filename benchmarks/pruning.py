"""``python -m benchmarks.pruning RUN``: pruning on real descriptors: equal first ranks, and skipped transport."""

import argparse
from pathlib import Path

import torch

from vpr.datasets.default_data import data_root
from vpr.datasets.msls import Protocol, load
from vpr.eval.descriptors import default_cache, describe
from vpr.eval.options import RankingOptions
from vpr.eval.ranking import find_shortlist
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.settings import RerankConfig
from vpr.run import load as load_run

DEPTH = 100


def main() -> None:
    """Print one line for each number of ranks that pruning keeps exact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cities", nargs="*", default=[])
    arguments = parser.parse_args()
    cpu, config = torch.device("cpu"), RankingOptions()
    data = load(data_root(arguments.data), Protocol(cities=tuple(arguments.cities))).retrieval_set
    run = load_run(arguments.run, cpu)
    model, weight = run.network, run.calibration.weight
    described = describe(model, data, default_cache(arguments.run / "cache", model, data, config), cpu, config)
    ranked = find_shortlist(described, DEPTH).ranked
    full = described.compare(ranked, RerankConfig(), weight=weight)
    for rank in (1, 5, 10):
        pruned = described.compare(ranked, RerankConfig(prune=rank), weight=weight)
        scores = (weighted_sum(found.global_similarity, found.structural, weight) for found in (full, pruned))
        first, found = (reorder(ranked, score)[:, :rank] for score in scores)
        same = (first == found).all(axis=1).mean()
        skipped = (pruned.structural - full.structural > 1e-3).mean()
        print(
            f"first {rank}: the same for {100 * same:.2f} % of {len(ranked)} queries, "
            f"{100 * skipped:.0f} % of the transport skipped"
        )


if __name__ == "__main__":
    main()
