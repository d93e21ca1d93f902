"""``python -m benchmarks.adaptation RUN --data DIR --cities a,b``: the size of a database from which adaptation is
worth it.

Random subsets of the database of each city are searched by the model as it is, and adapted to the subset. Prints a
Markdown table of Recall@1 before and after re-ranking: the mean over cities and subsets.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from vpr.base.machine import choose_device
from vpr.datasets.msls import Protocol, load
from vpr.datasets.ragged import Ragged
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.adaptation import adapt_cache
from vpr.eval.descriptors import DescribedSet, describe
from vpr.eval.metrics import evaluate
from vpr.eval.options import RankingOptions
from vpr.eval.ranking import find_shortlist, rerank
from vpr.retrieval.settings import RerankOptions
from vpr.run import load as load_run

SIZES = (140, 200, 300, 500, 800)
DRAWS = 3


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cities", default="cph,sf")
    arguments = parser.parse_args()
    device = choose_device("auto")
    run = load_run(arguments.run, device)
    model, calibration = run.network, run.calibration
    config, weight = RerankOptions().config(calibration), calibration.weight
    recalls: dict[int, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for city in arguments.cities.split(","):
            data = load(arguments.data, Protocol(split="val", cities=(city,))).retrieval_set
            whole = describe(model, data, Path(folder) / f"{city}.h5", device, RankingOptions(adapt=False))
            sizes = [*[size for size in SIZES if size < len(data.database)], len(data.database)]
            for size in sizes:
                for draw in range(DRAWS if size < len(data.database) else 1):
                    part = draw_subset(data, size, np.random.default_rng([draw, size]))
                    unadapted = DescribedSet.from_cache(part, whole.cache)
                    adapted = adapt_cache(whole.cache, unadapted.rows.database.ravel(), Path(folder))
                    row = []
                    for described in (unadapted, DescribedSet.from_cache(part, adapted, adapted=True)):
                        shortlist = find_shortlist(described, 100)
                        ranked = rerank(described, shortlist, config, weight=weight, fusion="similarity").ranked
                        row += [evaluate(order, part.answers)["recall@1"] for order in (shortlist.ranked, ranked)]
                    recalls.setdefault(size, []).append(row)
    print("| database | shortlist | adapted | re-ranked | adapted |\n|---|---|---|---|---|")
    for size, rows in sorted(recalls.items()):
        before, after, before_adapted, after_adapted = 100 * np.mean(rows, axis=0)
        print(f"| {size} | {before:.1f} | {before_adapted:.1f} | {after:.1f} | {after_adapted:.1f} |")


def draw_subset(data: RetrievalSet, size: int, rng: np.random.Generator) -> RetrievalSet:
    """A random subset of the database, with all queries; positives outside of the subset are removed."""
    chosen = np.sort(rng.choice(len(data.database), size, replace=False))
    place = np.full(len(data.database), -1)
    place[chosen] = np.arange(size)
    rows = [place[row][place[row] >= 0].tolist() for row in data.answers]
    entries = data.database
    database = dataclasses.replace(
        entries, images=entries.images[chosen], names=entries.names[chosen], offsets=np.array([0, size])
    )
    positions = None if data.positions is None else data.positions[chosen]
    return dataclasses.replace(data, database=database, positives=Ragged.from_rows(rows), positions=positions)


if __name__ == "__main__":
    main()
