"""Shortlists with scores, fused in several ways: ``python -m benchmarks.fusion RUN RUN ... --city CITY [--data DIR]``.

Every run re-ranks the shortlists by the global descriptors of the others, of the teacher inside the first run, and of
thumbnails. Recall@1 as a Markdown table: as it is, ours alone, fused by ranks or by scores with lambda by agreement,
and by scores with lambda by agreement and separations (what ``--fusion trust`` does).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from vpr.datasets.default import data_root
from vpr.datasets.msls import Protocol, load
from vpr.eval.baselines import thumbnail_descriptors
from vpr.eval.descriptors import DescribedSet, describe
from vpr.eval.metrics import evaluate
from vpr.eval.options import RankingConfig
from vpr.eval.ranking import search_shortlist
from vpr.models.loading import load_teacher
from vpr.retrieval.fusion import reorder, trust, trusted, weighted_sum
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
            described[name] = describe(model, data, Path(folder) / f"{name}.h5", CPU, RankingConfig())
        globals_ = {name: one.global_descriptors() for name, one in described.items()}
    sides = (data.queries.images[:, 0], data.database.images[:, 0])
    globals_["thumbnails"] = tuple(thumbnail_descriptors(data, paths) for paths in sides)
    print("| ours | shortlist | as it is | ours alone | ranks, agreement | scores, agreement | scores, both | lambda |")
    print("|---|---|---|---|---|---|---|---|")
    for run in arguments.runs:
        loaded = load_run(run, CPU)
        fixed, curves = loaded.calibration, loaded.curves
        for name, (queries, database) in globals_.items():
            if name == run.name:
                continue
            shortlist, ours = search_shortlist(data, queries, VectorIndex(database), 100), described[run.name]
            ranked, similarity = shortlist.ranked, shortlist.similarity
            found = ours.compare(ranked, RerankOptions().config(fixed))
            scores = weighted_sum(found.global_, found.structural, fixed.weight)
            places = data.places(ranked)
            agreed = trust(scores, found.structural, places, curves).lambda_
            both = trust(scores, found.structural, places, curves, similarity).lambda_
            tried = [-np.arange(ranked.shape[1]) + 0.0 * scores, scores, trusted(scores, agreed)]
            tried += [trusted(scores, agreed, similarity), trusted(scores, both, similarity)]
            recalls = [100 * evaluate(reorder(ranked, order), data.answers)["recall@1"] for order in tried]
            shown = " | ".join(f"{recall:.1f}" for recall in recalls)
            print(f"| {run.name} | {name} | {shown} | {both:.2f} |", flush=True)


if __name__ == "__main__":
    main()
