"""``python -m benchmarks.reliability OUT.png NAME=DATABASE,QUERIES ...``: are the probabilities of `vpr.locate` right?

DATABASE and QUERIES are what `vpr.map add` takes, with positions. Each NAME has a panel: queries by probability, in ten
bins, against the share whose position lies within 25 m, over the queries that have a photo of the map within 25 m. It
prints the expected calibration error too, beside what chance alone gives for so many queries and for 208 of them.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.locating import RADIUS_M, chance_error, described, places, right
from vpr.base.figures import COLOURS, save, style
from vpr.eval.confidence import calibration_error, probability_bins
from vpr.maps.options import LocateConfig
from vpr.maps.sources.positions import find_photos
from vpr.run import Run, load

FEW = 208  # queries of a city of mini-MSLS, size small


def answers(model: Run, database: Path, queries: Path, crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of queries (Q,), and whether they are right (Q,) bool."""
    there, asked = (find_photos((side,), crs).photos for side in (database, queries))
    truth, known = places(asked), places(there)
    answerable = np.array([np.linalg.norm(known - one, axis=1).min() <= RADIUS_M for one in truth])
    with tempfile.TemporaryDirectory() as folder:
        photo_map = described(model, Path(folder) / "map", there)
        located = photo_map.locate_all([photo.path for photo in asked], LocateConfig())
    sure = np.array([one.probability for one in located], float)
    return sure[answerable], right(located, truth, False)[answerable]


def draw(axes: Any, name: str, sure: np.ndarray, correct: np.ndarray) -> None:
    """A panel."""
    axes.plot([0, 100], [0, 100], color=COLOURS[0], linewidth=1)
    bins = probability_bins(sure)
    at, share = ([100 * side[bin_].mean() for bin_ in bins] for side in (sure, correct))
    half = [100 * np.sqrt(correct[bin_].mean() * (1 - correct[bin_].mean()) / bin_.sum()) for bin_ in bins]
    axes.errorbar(at, share, yerr=half, marker="o", markersize=4, color=COLOURS[2])
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", xlabel="probability, %",
             title=f"{name}: {len(sure)} queries,\nerror {100 * calibration_error(sure, correct):.1f}")  # fmt: skip


def main() -> None:
    """The command."""
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sides", nargs="+", metavar="NAME=DATABASE,QUERIES")
    parser.add_argument("--crs", default="")
    given = parser.parse_args()
    model = load()
    with style():
        figure = Figure(figsize=(2.4 * len(given.sides), 2.8), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(given.sides), sharey=True))
        panels[0].set_ylabel("right, %")
        for axes, side in zip(panels, given.sides):
            name, _, paths = side.partition("=")
            database, queries = map(Path, paths.split(","))
            sure, correct = answers(model, database, queries, given.crs)
            some = np.random.default_rng(0).permutation(len(sure))[:FEW]
            print(f"{name}: {len(sure)} queries, calibration error {100 * calibration_error(sure, correct):.1f}, by "
                  f"chance alone {100 * chance_error(sure):.1f}, of {len(some)} {100 * chance_error(sure[some]):.1f}",
                  flush=True)  # fmt: skip
            draw(axes, name, sure, correct)
    save(figure, given.out)


if __name__ == "__main__":
    main()
