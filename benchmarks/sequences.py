"""``python -m benchmarks.sequences RUN``: the simple ways to compare sequences, measured on the validation cities."""

import argparse
from pathlib import Path

import numpy as np
import torch

from datasets.default import data_root
from datasets.msls import MSLS, Protocol, load
from eval.metrics import evaluate
from eval.models import Describer, structural_weight
from eval.ranking import Rows, compare_frames, sequence_descriptors, shortlist
from eval.tables import metrics_table, show
from vpr.rerank import RerankConfig, reorder
from vpr.runs import load_student

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
    parser.add_argument("--data", default="")
    parser.add_argument("--seq-length", type=int, default=5)
    arguments = parser.parse_args()
    root, cpu = data_root(arguments.data), torch.device("cpu")
    model, weight = load_student(arguments.run, cpu), structural_weight(arguments.run, -1)
    for task in ("im2seq", "seq2im", "seq2seq"):
        dataset = load(root, Protocol(task=task, seq_length=arguments.seq_length))
        cache = Describer(arguments.run / "cache", cpu).describe(model, dataset)
        show(f"{task}, {arguments.seq_length} frames, {len(dataset.scored)} queries", metrics_table(choices(dataset, cache, weight)))


def choices(dataset: MSLS, cache, weight: float) -> dict[str, dict[str, float]]:
    """Metrics of each choice: of the descriptor without re-ranking, of the structural score with the mean descriptor."""
    rows = Rows.of(dataset, cache)
    centres = [np.asarray(cache.globals_[side[:, side.shape[1] // 2]]) for side in (rows.query, rows.database)]
    means = [sequence_descriptors(cache, side) for side in (rows.query, rows.database)]
    results = {}
    for name, (queries, database) in {"descriptor of the centre frame": centres, "mean descriptor": means}.items():
        similarity, ranked = shortlist(dataset, queries, database, "city", DEPTH)
        results[name] = evaluate(ranked, dataset.positives)
    frames = compare_frames(cache, rows, ranked, RerankConfig(), "comparing frames").structural
    for name, reduce in STRUCTURAL.items():
        results[f"re-ranked, {name}"] = evaluate(reorder(ranked, similarity + weight * reduce(frames)), dataset.positives)
    return results


if __name__ == "__main__":
    main()
