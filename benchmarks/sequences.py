"""``python -m benchmarks.sequences RUN``: simple ways to compare sequences, measured on the validation cities."""

import argparse
from pathlib import Path

import numpy as np
import torch

from vpr.datasets.default_data import data_root
from vpr.datasets.msls import Protocol, load
from vpr.eval.descriptors import DescribedSet, default_cache, describe
from vpr.eval.metrics import evaluate
from vpr.eval.options import RankingOptions
from vpr.eval.tables import metrics_table, show
from vpr.retrieval.fusion import reorder
from vpr.retrieval.search import search_groups
from vpr.retrieval.sequences import compare_frames
from vpr.retrieval.settings import RerankConfig
from vpr.retrieval.vector_index import VectorIndex
from vpr.run import load as load_run

DEPTH = 50
STRUCTURAL = {
    "best partner, mean over query frames": lambda s: s.max(3).mean(1),
    "best pair of frames": lambda s: s.max(3).max(1),
    "mean over all pairs": lambda s: s.mean((1, 3)),
    "centre frames": lambda s: s[:, s.shape[1] // 2, :, s.shape[3] // 2],
}


def main() -> None:
    """Print a table for each sequence task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seq-length", type=int, default=5)
    arguments = parser.parse_args()
    root, cpu, config = data_root(arguments.data), torch.device("cpu"), RankingOptions()
    run = load_run(arguments.run, cpu)
    model, weight = run.network, run.calibration.weight
    for task in ("im2seq", "seq2im", "seq2seq"):
        data = load(root, Protocol(task=task, seq_length=arguments.seq_length)).retrieval_set
        cache = default_cache(arguments.run / "cache", model, data, config)
        described = describe(model, data, cache, cpu, config)
        title = f"{task}, {arguments.seq_length} frames, {len(data.scored)} queries"
        show(title, metrics_table(compare_choices(described, weight)))


def compare_choices(described: DescribedSet, weight: float) -> dict[str, dict[str, float]]:
    """The metrics of each choice of descriptor before re-ranking, and of structural score after it."""
    data, cache, rows = described.data, described.cache, described.rows
    centres = [np.asarray(cache.globals_[side[:, side.shape[1] // 2]]) for side in (rows.query, rows.database)]
    results = {}
    shortlists = {"descriptor of the centre frame": centres, "mean descriptor": described.global_descriptors()}
    for name, (queries, database) in shortlists.items():
        similarity, ranked = search_groups(queries, VectorIndex(database), data.spans(), DEPTH)
        results[name] = evaluate(ranked, data.positives)
    frames = compare_frames(described.index, cache, rows, ranked, RerankConfig(), title="comparing frames").structural
    for name, reduce in STRUCTURAL.items():
        results[f"re-ranked, {name}"] = evaluate(reorder(ranked, similarity + weight * reduce(frames)), data.positives)
    return results


if __name__ == "__main__":
    main()
