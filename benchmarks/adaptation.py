"""``python -m benchmarks.adaptation RUN --data DIR --cities a,b``: from what size of the database adaptation pays.

Of each city's database some entries are drawn, with the queries that they answer; Recall@1 before and after re-ranking
as the model is, and adapted to those entries. Markdown on standard output, the mean over cities and draws.
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
from vpr.eval.options import RankingConfig
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
    model, fixed = run.network, run.calibration
    config, weight = RerankOptions().config(fixed), fixed.weight
    found: dict[int, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for city in arguments.cities.split(","):
            data = load(arguments.data, Protocol(split="val", cities=(city,))).retrieval_set
            whole = describe(model, data, Path(folder) / f"{city}.h5", device, RankingConfig(adapt=False))
            sizes = [*[size for size in SIZES if size < len(data.database)], len(data.database)]
            for size in sizes:
                for draw in range(DRAWS if size < len(data.database) else 1):
                    part = drawn(data, size, np.random.default_rng([draw, size]))
                    plain = DescribedSet.from_cache(part, whole.cache)
                    adapted = adapt_cache(whole.cache, plain.rows.database.ravel(), Path(folder))
                    row = []
                    for described in (plain, DescribedSet.from_cache(part, adapted, adapted=True)):
                        shortlist = find_shortlist(described, 100)
                        ranked = rerank(described, shortlist, config, weight=weight, fusion="similarity").ranked
                        row += [evaluate(order, part.answers)["recall@1"] for order in (shortlist.ranked, ranked)]
                    found.setdefault(size, []).append(row)
    print("| database | shortlist | adapted | re-ranked | adapted |\n|---|---|---|---|---|")
    for size, rows in sorted(found.items()):
        before, after, before_adapted, after_adapted = 100 * np.mean(rows, axis=0)
        print(f"| {size} | {before:.1f} | {before_adapted:.1f} | {after:.1f} | {after_adapted:.1f} |")


def drawn(data: RetrievalSet, size: int, rng: np.random.Generator) -> RetrievalSet:
    """Some entries of the database, and all queries; those that none of the entries answers are set apart."""
    chosen = np.sort(rng.choice(len(data.database), size, replace=False))
    place = np.full(len(data.database), -1)
    place[chosen] = np.arange(size)
    rows = [place[row][place[row] >= 0].tolist() for row in data.answers]
    side = data.database
    database = dataclasses.replace(
        side, images=side.images[chosen], names=side.names[chosen], offsets=np.array([0, size])
    )
    positions = None if data.positions is None else data.positions[chosen]
    return dataclasses.replace(data, database=database, positives=Ragged.from_rows(rows), positions=positions)


if __name__ == "__main__":
    main()
