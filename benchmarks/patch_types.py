"""``python -m benchmarks.patch_types RUN --data DIR --cities a,b``: the types of cached patches.

For each type prints the bytes of an image's patches, Recall@1 before and after re-ranking, how far S_struct is from
that of float16, and the time of re-ranking: the first time, with the file on disk only (cold), and again (warm).
Rounds are interleaved.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.base.machine import choose_device
from vpr.cache import PatchType
from vpr.datasets.msls import Protocol, load
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.descriptors import describe
from vpr.eval.metrics import evaluate
from vpr.eval.options import RankingOptions
from vpr.eval.ranking import find_shortlist
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.settings import RerankOptions
from vpr.run import Run
from vpr.run import load as load_run

TYPES: tuple[PatchType, ...] = ("float16", "int8", "pq28", "pq14")
DEPTH, ROUNDS = 100, 3


@dataclass(frozen=True)
class Round:
    """One re-ranking from a file on disk."""

    cold_ms: float  # per query, the first time
    warm_ms: float
    recalls: tuple[float, float]  # Recall@1 of the shortlist and after re-ranking
    ranked: np.ndarray  # (Q, K) the shortlist
    structural: np.ndarray  # (Q, K) S_struct of its pairs


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cities", default="cph,sf")
    arguments = parser.parse_args()
    run, cities = load_run(arguments.run, choose_device("cpu")), tuple(arguments.cities.split(","))
    data = load(arguments.data, Protocol(split="val", cities=cities)).retrieval_set
    with tempfile.TemporaryDirectory() as folder:
        caches = {kind: Path(folder) / kind / "a.h5" for kind in TYPES}
        for kind, path in caches.items():
            path.parent.mkdir()
            describe(run.network, data, path, run.device, RankingOptions(patches=kind))
        rounds: dict[str, list[Round]] = {kind: [] for kind in TYPES}
        for _ in range(ROUNDS):
            for kind in TYPES:
                rounds[kind].append(measure(run, data, caches[kind], kind))
    spec = run.spec
    print(f"{len(data.database)} database images, {len(data.queries)} queries, {DEPTH} candidates")
    print("| patches | bytes an image | shortlist | re-ranked | S_struct off by | cold, ms a query | warm |")
    print("|---|---|---|---|---|---|---|")
    for kind, found in rounds.items():
        size = spec.patches * {"float16": 2 * spec.dim, "int8": spec.dim, "pq28": 28, "pq14": 14}[kind]
        error = mean_error(found[0], rounds["float16"][0])
        cold, warm = (np.median([getattr(one, name) for one in found]) for name in ("cold_ms", "warm_ms"))
        first, last = (100 * recall for recall in found[0].recalls)
        print(f"| {kind} | {size:,} | {first:.1f} | {last:.1f} | {error:.4f} | {cold:.2f} | {warm:.2f} |")


def measure(run: Run, data: RetrievalSet, path: Path, kind: PatchType) -> Round:
    """Re-rank twice from a cache that is there."""
    described = describe(run.network, data, path, run.device, RankingOptions(patches=kind))
    shortlist = find_shortlist(described, DEPTH)
    config, weight = RerankOptions().config(run.calibration), run.calibration.weight
    for file in path.parent.glob("*.h5"):
        drop_pages(file)
    start = time.perf_counter()
    found = described.compare(shortlist.ranked, config, weight=weight)
    cold = time.perf_counter() - start
    start = time.perf_counter()
    described.compare(shortlist.ranked, config, weight=weight)
    warm = time.perf_counter() - start
    ms = 1000 / len(shortlist.ranked)
    scores = weighted_sum(found.global_similarity, found.structural, weight)
    orders = shortlist.ranked, reorder(shortlist.ranked, scores)
    first, last = (evaluate(order, data.answers)["recall@1"] for order in orders)
    return Round(cold * ms, warm * ms, (first, last), shortlist.ranked, found.structural)


def mean_error(found: Round, exact: Round) -> float:
    """The mean absolute difference of S_struct over the pairs that are in both shortlists."""
    errors = []
    for rows, values, exact_rows, exact_values in zip(found.ranked, found.structural, exact.ranked, exact.structural):
        _, mine, theirs = np.intersect1d(rows, exact_rows, return_indices=True)
        errors.append(np.abs(values[mine] - exact_values[theirs]))
    return float(np.concatenate(errors).mean())


def drop_pages(path: Path) -> None:
    """Drop the pages of a file from memory (Linux); the next read comes from the disk."""
    os.sync()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
