"""Shortlists with scores, fused in several ways: ``python -m benchmarks.fusion RUN RUN ... --city CITY [--data DIR]``.

Each run re-ranks the shortlists by the global descriptors of the other runs, of the teacher of the first run, and of
thumbnails. Prints a Markdown table of Recall@1: of the shortlist, of our score alone, of ranks or scores that are fused
with lambda from the agreement, and of scores with lambda from agreement and separations (``--fusion trust``).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from vpr.datasets.default_data import data_root
from vpr.datasets.msls import Protocol, load
from vpr.eval.baselines import thumbnail_descriptors
from vpr.eval.descriptors import DescribedSet, describe
from vpr.eval.metrics import evaluate
from vpr.eval.options import RankingOptions
from vpr.eval.ranking import search_shortlist
from vpr.models.loading import load_teacher
from vpr.retrieval.fusion import estimate_trust, fuse_with_trust, reorder, weighted_sum
from vpr.retrieval.settings import RerankOptions
from vpr.retrieval.vector_index import VectorIndex
from vpr.run import load as load_run

CPU = torch.device("cpu")


def main() -> None:
    """Describe the city by every model, and print a row for each pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--city", default="amsterdam")
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    data = load(data_root(arguments.data), Protocol(split="val", cities=(arguments.city,))).retrieval_set
    with tempfile.TemporaryDirectory() as folder:
        models = {run.name: load_run(run, CPU).network for run in arguments.runs}
        teacher = load_teacher(arguments.runs[0], CPU)
        described: dict[str, DescribedSet] = {}
        for name, model in [*models.items(), ("NetVLAD", teacher)]:
            described[name] = describe(model, data, Path(folder) / f"{name}.h5", CPU, RankingOptions())
        global_descriptors = {name: one.global_descriptors() for name, one in described.items()}
    sides = (data.queries.images[:, 0], data.database.images[:, 0])
    global_descriptors["thumbnails"] = tuple(thumbnail_descriptors(data, paths) for paths in sides)
    print("| ours | shortlist | as it is | ours alone | ranks, agreement | scores, agreement | scores, both | lambda |")
    print("|---|---|---|---|---|---|---|---|")
    for run in arguments.runs:
        loaded = load_run(run, CPU)
        calibration, curves = loaded.calibration, loaded.curves
        for name, (queries, database) in global_descriptors.items():
            if name == run.name:
                continue
            shortlist, ours = search_shortlist(data, queries, VectorIndex(database), 100), described[run.name]
            ranked, similarity = shortlist.ranked, shortlist.similarity
            similarities = ours.compare(ranked, RerankOptions().config(calibration))
            scores = weighted_sum(similarities.global_similarity, similarities.structural, calibration.weight)
            places = data.places(ranked)
            agreement = estimate_trust(scores, similarities.structural, places, curves).fusion_weight
            both = estimate_trust(scores, similarities.structural, places, curves, similarity).fusion_weight
            orders = [-np.arange(ranked.shape[1]) + 0.0 * scores, scores, fuse_with_trust(scores, agreement)]
            orders += [fuse_with_trust(scores, agreement, similarity), fuse_with_trust(scores, both, similarity)]
            recalls = [100 * evaluate(reorder(ranked, order), data.answers)["recall@1"] for order in orders]
            cells = " | ".join(f"{recall:.1f}" for recall in recalls)
            print(f"| {run.name} | {name} | {cells} | {both:.2f} |", flush=True)


if __name__ == "__main__":
    main()
