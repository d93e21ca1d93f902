"""``python -m benchmarks.reliability OUT.png NAME=DATABASE,QUERIES ...``: are the probabilities of `vpr.locate` right?

DATABASE and QUERIES are sources for `vpr.map add`, with positions. For each NAME it draws a panel: ten bins of queries
by probability, against the share of right positions (within 25 m), of the queries that have a photo of the map within
25 m. It also prints the expected calibration error, and its value by chance for all queries and for 208 of them.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.locating import check, describe_map, known_probabilities, position_is_right
from vpr.base.figures import COLOURS, save, style
from vpr.maps.options import LocateConfig
from vpr.maps.sources.positions import find_photos
from vpr.retrieval.reliability import calibration_error, chance_error, probability_bins
from vpr.run import Run, load

MINI_QUERIES = 208  # queries of a city of mini-MSLS, size small


def locate_queries(model: Run, database: Path, queries: Path, crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of queries (Q,), and whether their positions are right (Q,) bool."""
    photos, query_photos = (find_photos((side,), crs).photos for side in (database, queries))
    with tempfile.TemporaryDirectory() as folder:
        result = check(describe_map(model, Path(folder) / "map", photos), query_photos, LocateConfig())
    return known_probabilities(result), position_is_right(result)


def draw_panel(axes: Any, name: str, probabilities: np.ndarray, right: np.ndarray) -> None:
    """Draw the panel of one name."""
    axes.plot([0, 100], [0, 100], color=COLOURS[0], linewidth=1)
    bins = probability_bins(probabilities)
    at, share = ([100 * side[members].mean() for members in bins] for side in (probabilities, right))
    half = [100 * np.sqrt(right[members].mean() * (1 - right[members].mean()) / members.sum()) for members in bins]
    axes.errorbar(at, share, yerr=half, marker="o", markersize=4, color=COLOURS[2])
    error = 100 * calibration_error(probabilities, right)
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", xlabel="probability, %",
             title=f"{name}: {len(probabilities)} queries,\nerror {error:.1f}")  # fmt: skip


def main() -> None:
    """The command."""
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sides", nargs="+", metavar="NAME=DATABASE,QUERIES")
    parser.add_argument("--crs", default="")
    arguments = parser.parse_args()
    model = load()
    with style():
        figure = Figure(figsize=(2.4 * len(arguments.sides), 2.8), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(arguments.sides), sharey=True))
        panels[0].set_ylabel("right, %")
        for axes, side in zip(panels, arguments.sides):
            name, _, paths = side.partition("=")
            database, queries = map(Path, paths.split(","))
            probabilities, right = locate_queries(model, database, queries, arguments.crs)
            sample = np.random.default_rng(0).permutation(len(probabilities))[:MINI_QUERIES]
            error = 100 * calibration_error(probabilities, right)
            by_chance, of_few = (100 * chance_error(some) for some in (probabilities, probabilities[sample]))
            print(
                f"{name}: {len(probabilities)} queries, calibration error {error:.1f}, by chance {by_chance:.1f}, "
                f"for {len(sample)} queries {of_few:.1f}",
                flush=True,
            )
            draw_panel(axes, name, probabilities, right)
    save(figure, arguments.out)


if __name__ == "__main__":
    main()
