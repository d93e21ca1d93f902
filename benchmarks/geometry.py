"""``python -m benchmarks.geometry NAME=TREE/CITY ...``: what the geometry of matches is worth.

It measures the weights in the box. For each set: Recall@1 with and without ``--geometry``, and with a constant weight
of geometry; how well numbers tell right from wrong first answers, and known from unknown places (half of the places, by
squares of 100 m, left out), as area under the ROC curve. Logistic regressions are fitted on the sets that ``--fit``
names. Also the processor time of re-ranking without and with geometry, in turns. Prints Markdown tables. ``--json
FILE`` writes for each query its candidates with their score and their geometry.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.base.files import write_json
from vpr.base.machine import choose_device
from vpr.datasets.msls import Protocol, load
from vpr.eval.confidence import first_is_right
from vpr.eval.descriptors import DescribedSet, describe
from vpr.eval.options import RankingOptions
from vpr.eval.ranking import find_shortlist
from vpr.retrieval.confidence import separation
from vpr.retrieval.fusion import add_geometry, first_columns, reorder, weighted_sum
from vpr.retrieval.rerank import marginal_guides
from vpr.retrieval.settings import Calibration
from vpr.run import load as load_run
from vpr.transport.geometry import PatchGeometry, pair_geometry

FIRST, DEPTH, SQUARE_M = 20, 100, 100.0
TIMED_QUERIES, ROUNDS = 32, 9
CONSTANT = (0.25, 0.5, 1.0, 2.0)  # weights of geometry that are the same for all queries
TODAY = ("S_struct", "separation")
GEOMETRY = ("score", "separation by geometry", "stretch", "residual", "same first answer")


@dataclass(frozen=True, eq=False)
class Measured:
    """The first candidates of Q queries in today's order, (Q, FIRST), and their geometry."""

    scores: np.ndarray  # S_global + w S_struct
    structural: np.ndarray
    ranked: np.ndarray
    places: np.ndarray  # (Q, FIRST, 2) metres
    geometry: PatchGeometry  # of the Q * FIRST pairs

    @property
    def geometry_scores(self) -> np.ndarray:
        """(Q, FIRST) float32."""
        return self.geometry.score.reshape(self.ranked.shape)

    def order(self, lam: float | None = None) -> np.ndarray:
        """Scores with geometry: the rule of `add_geometry`, or a constant weight."""
        if lam is None:
            return add_geometry(self.scores, self.geometry_scores, FIRST, self.places)
        return standardise(self.scores) + lam * standardise(self.geometry_scores)

    def features(self) -> np.ndarray:
        """(Q, 7) of the first answer with geometry: `TODAY`, then `GEOMETRY`."""
        order = self.order()
        first = order.argmax(1)
        rows = np.arange(len(order))
        stretch = self.geometry.stretch.max(1).reshape(self.ranked.shape)[rows, first]
        residual = self.geometry.residual.reshape(self.ranked.shape)[rows, first]
        moved = reorder(self.structural, order)
        by_geometry, there = self.geometry_scores, self.places
        places = np.take_along_axis(there, np.argsort(-order, 1, kind="stable")[:, :, None], 1)
        return np.column_stack(
            [
                moved[:, 0],
                separation(moved, places),
                by_geometry[rows, first],
                separation(reorder(by_geometry, order), places),
                np.minimum(stretch, 10),
                residual,
                (by_geometry.argmax(1) == self.scores.argmax(1)).astype(float),
            ]
        )


def standardise(values: np.ndarray) -> np.ndarray:
    """Rows (Q, K) in standard deviations from their mean."""
    return (values - values.mean(1, keepdims=True)) / np.maximum(values.std(1, keepdims=True), 1e-9)


def measure(described: DescribedSet, calibration: Calibration, left_out: np.ndarray | None = None) -> Measured:
    """Today's first candidates of all queries, without the database entries that are left out (N,) bool."""
    data, config = described.data, calibration.config()
    shortlist = find_shortlist(described, DEPTH if left_out is None else len(data.database)).ranked
    if left_out is not None:
        kept = np.where(left_out[shortlist], -1, shortlist)
        shortlist = np.take_along_axis(kept, np.argsort(kept < 0, axis=1, kind="stable"), 1)[:, :DEPTH]
    compared = described.compare(shortlist, config, weight=calibration.weight, title="re-ranking")
    scores = weighted_sum(compared.global_similarity, compared.structural, calibration.weight)
    columns = first_columns(scores, FIRST)
    scores, structural, ranked = (np.take_along_axis(x, columns, 1) for x in (scores, compared.structural, shortlist))
    sides = [described.rows.query[:, 0], described.rows.database[:, 0]]
    patches = [described.cache.read_patches(rows) for rows in sides]
    guides = [
        marginal_guides(np.asarray(described.cache.globals_[rows]), side, config.marginals)
        for rows, side in zip(sides, patches)
    ]
    pairs = np.repeat(np.arange(len(ranked)), FIRST), ranked.ravel()
    geometry = pair_geometry(*patches, *guides, pairs, config.transport)
    places = data.places(ranked)
    if places is None:
        raise SystemExit("the set has no positions")
    return Measured(scores, structural, ranked, places, geometry)


def cost(described: DescribedSet, calibration: Calibration) -> tuple[float, float]:
    """Milliseconds of processor time to re-rank a query, without and with geometry: medians, taken in turns."""
    shortlist = find_shortlist(described, DEPTH).ranked[:TIMED_QUERIES]
    configs = [calibration.config(geometry=count) for count in (0, FIRST)]
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):  # the first round compiles
        for config, taken in zip(configs, times):
            start = time.process_time()
            described.compare(shortlist, config, queries=slice(TIMED_QUERIES), weight=calibration.weight)
            taken.append(1000 * (time.process_time() - start) / len(shortlist))
    without, with_geometry = (float(np.median(taken[1:])) for taken in times)
    return without, with_geometry


def unknown_places(described: DescribedSet) -> tuple[np.ndarray, np.ndarray]:
    """The database entries to leave out (N,) bool, and which queries lose all their positives (Q,) bool.

    Of the squares of 100 m a random half is left out. Queries that keep only some of their positives are not scored.
    """
    data = described.data
    places = data.places(np.arange(len(data.database))[None])
    assert places is not None
    squares = np.unique(np.floor(places[0] / SQUARE_M), axis=0, return_inverse=True)[1].ravel()
    chosen = np.random.default_rng(0).permutation(squares.max() + 1) < (squares.max() + 1) // 2
    out = chosen[squares]
    return out, np.array([len(rows) > 0 and bool(out[rows].all()) for rows in data.answers])


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", metavar="NAME=TREE/CITY")
    parser.add_argument("--fit", default="amsterdam", help="names of the sets that the regressions are fitted on")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    run, sets = load_run(Path("builtin"), choose_device("auto")), dict(each.split("=") for each in arguments.sets)
    recalls, costs, right, known, records = [], [], {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, where in sets.items():
            data = load(Path(where).parent, Protocol(split="val", cities=(Path(where).name,))).retrieval_set
            described = describe(run.network, data, Path(folder) / f"{name}.h5", run.device, RankingOptions())
            measured, rows = measure(described, run.calibration), data.scored
            costs.append((name, *cost(described, run.calibration)))
            orders = [measured.scores, *[measured.order(lam) for lam in CONSTANT], measured.order()]
            answers = [first_is_right(reorder(measured.ranked, order)[rows], data, rows) for order in orders]
            recalls.append((name, [100 * answer.mean() for answer in answers]))
            right[name] = measured.features()[rows], answers[-1]
            out, lost = unknown_places(described)
            kept = np.array([len(r) > 0 and not out[r].any() for r in data.answers])
            told = kept | lost
            known[name] = measure(described, run.calibration, out).features()[told], kept[told]
            records[name] = as_record(measured, data.answers)
    print("| R@1 | today | " + " | ".join(f"{lam:g}" for lam in CONSTANT) + " | by its separation |")
    print("|---" * (len(CONSTANT) + 3) + "|")
    for name, values in recalls:
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    print("\n| | ms a query without geometry | with | ratio |\n|---|---|---|---|")
    for name, without, with_geometry in costs:
        print(f"| {name} | {without:.2f} | {with_geometry:.2f} | {with_geometry / without:.2f} |")
    for title, table in (("right first answers", right), ("known places", known)):
        print_areas(title, table, arguments.fit.split(","))
    if arguments.json:
        write_json(arguments.json, records)


def as_record(measured: Measured, answers: object) -> dict[str, list]:
    """The candidates of each query for a JSON file."""
    shape = measured.ranked.shape
    right = [[bool(c in rows) for c in ranked] for ranked, rows in zip(measured.ranked, answers)]
    fields = {"determinant": measured.geometry.determinant, "inlier_mass": measured.geometry.inlier_mass}
    fields |= {"residual": measured.geometry.residual, "geometry": measured.geometry.score}
    fields |= {"stretch": measured.geometry.stretch.max(1), "shrink": measured.geometry.stretch.min(1)}
    record = {name: np.round(values.reshape(shape), 4).tolist() for name, values in fields.items()}
    return {"score": measured.scores.tolist(), "s_struct": measured.structural.tolist(), "right": right, **record}


def print_areas(title: str, table: dict[str, tuple[np.ndarray, np.ndarray]], fitted: list[str]) -> None:
    """Print the area under the ROC curve of single numbers, and of regressions without and with geometry."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = [np.concatenate(side) for side in zip(*(table[name] for name in fitted))]
    columns = {"today's numbers": slice(0, 2), "geometry's": slice(2, 7), "both": slice(0, 7)}
    models = {
        name: make_pipeline(StandardScaler(), LogisticRegression()).fit(train[0][:, part], train[1])
        for name, part in columns.items()
    }
    names = [*TODAY, *GEOMETRY[:2], *models]
    print(f"\n| AUROC, {title} | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for name, (features, truth) in table.items():
        values = [features[:, column] for column in range(4)]
        values += [model.decision_function(features[:, columns[key]]) for key, model in models.items()]
        areas = [f"{100 * roc_auc_score(truth, value):.1f}" for value in values]
        print(f"| {name}{' (fitted)' if name in fitted else ''} | " + " | ".join(areas) + " |")


if __name__ == "__main__":
    main()
