"""``python -m benchmarks.locating DATABASE QUERIES``: accuracy and speed of `vpr.map` and `vpr.locate`.

Both arguments are sources for `vpr.map add`: folders or lists. Locating does not see the true positions of the queries.
Prints the time from folder to answer, the shares of queries whose first match and whose combined position are within
25 m of the truth, and the expected calibration error (ECE) of the probabilities. The ECE of correct probabilities is
not 0 for few queries, so its expected value is printed too. Then half of the places are left out of the map, and it
prints the area under the ROC curve (AUROC) by which the probability separates queries on and off the map.
"""

import argparse
import dataclasses
import tempfile
import time
from itertools import groupby
from pathlib import Path

import numpy as np

from vpr.eval.confidence import calibration_error
from vpr.maps.building import add_photos
from vpr.maps.geodesy import to_places
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.results import Located
from vpr.maps.sources.positions import Photo, find_photos
from vpr.run import Run, load

RADIUS_M = 25.0
BLOCK_M = 100.0  # side of the squares by which places are left out, so that neighbours are left out together


def photo_places(photos: list[Photo]) -> np.ndarray:
    """Places of photos (N, 3), metres."""
    return to_places(np.array([photo.latitude for photo in photos]), np.array([photo.longitude for photo in photos]))


def is_right(located: list[Located], truth: np.ndarray, first: bool) -> np.ndarray:
    """Whether each first match, or each combined position, lies within 25 m of the truth (Q, 3)."""
    at = [one.matches[0] if first else one for one in located]
    found = to_places(np.array([one.latitude for one in at]), np.array([one.longitude for one in at]))
    return np.linalg.norm(found - truth, axis=1) <= RADIUS_M


def describe_map(model: Run, folder: Path, database: list[Photo]) -> Map:
    """Make a map of the database."""
    add_photos(folder, model, database)
    return Map.open(folder, model)


def chance_error(probabilities: np.ndarray, draws: int = 200) -> float:
    """The expected calibration error of correct probabilities (Q,), which is not 0 for few queries."""
    rng = np.random.default_rng(0)
    draws_right = [rng.random(len(probabilities)) < probabilities for _ in range(draws)]
    return float(np.mean([calibration_error(probabilities, right) for right in draws_right]))


def print_report(name: str, located: list[Located], truth: np.ndarray, answerable: np.ndarray) -> None:
    """Print the figures of one way of locating. answerable: (Q,) bool, queries that have a photo within 25 m."""
    if not answerable.any():
        print(f"{name}: too few photos: no query has a photo of the map within 25 m")
        return
    probabilities = np.array([one.probability for one in located], float)
    has_probability = answerable & np.isfinite(probabilities)
    first, mean = is_right(located, truth, True), is_right(located, truth, False)
    calibration = "no probabilities, as the map has too few photos"
    if has_probability.any():
        calibration = (f"ECE {100 * calibration_error(probabilities[has_probability], mean[has_probability]):.1f} % "
                       f"(by chance {100 * chance_error(probabilities[has_probability]):.1f} %)")  # fmt: skip
    print(f"{name}: first match within 25 m {100 * first[answerable].mean():.1f} %, "
          f"position within 25 m {100 * mean[answerable].mean():.1f} %, "
          f"{calibration}")  # fmt: skip
    errors = np.array([np.linalg.norm(to_places(np.array([one.latitude]), np.array([one.longitude]))[0] - true)
                       for one, true in zip(located, truth)])  # fmt: skip
    closest = np.array([np.linalg.norm(to_places(np.array([one.matches[0].latitude]),
                                                 np.array([one.matches[0].longitude]))[0] - true)
                        for one, true in zip(located, truth)])  # fmt: skip
    right = first & mean
    print(
        f"    median error where right: first match {np.median(closest[right]):.1f} m, position "
        f"{np.median(errors[right]):.1f} m; on the map {100 * np.mean([one.on_map for one in located]):.1f} %"
    )


def print_refusal(model: Run, folder: Path, database: list[Photo], queries: list[Photo], config: LocateConfig) -> None:
    """Leave half of the places out of the map, and print how well probabilities separate their queries."""
    from sklearn.metrics import roc_auc_score

    def square(photo: Photo) -> tuple[int, int]:
        x, y, z = photo_places([photo])[0]
        return round(x / BLOCK_M) + 7 * round(y / BLOCK_M), round(z / BLOCK_M)

    squares = sorted({square(photo) for photo in database})
    kept_squares = {one for number, one in enumerate(np.random.default_rng(0).permutation(len(squares))) if number % 2}
    if not kept_squares:
        print(f"too few photos to leave half of the places out: all are within {BLOCK_M:.0f} m")
        return
    half = [photo for photo in database if squares.index(square(photo)) in kept_squares]
    half_places, all_places = photo_places(half), photo_places(database)
    truth = photo_places(queries)
    is_near = np.array([np.linalg.norm(half_places - one, axis=1).min() <= RADIUS_M for one in truth])
    is_known = np.array([np.linalg.norm(all_places - one, axis=1).min() <= RADIUS_M for one in truth])
    located = describe_map(model, folder, half).locate_all([query.path for query in queries], config)
    on_map = np.array([one.on_map for one in located])
    probabilities = np.array([one.probability for one in located], float)
    familiar = np.array([one.familiarity for one in located], float)
    has_scores = is_known & np.isfinite(probabilities * familiar)  # small maps have neither
    if len({*is_near[has_scores].tolist()}) < 2:
        count = f"{is_near[has_scores].sum()} of {has_scores.sum()}"
        print(f"too few photos to measure refusals: {count} queries are on half of the map")
        return
    is_left_out = is_known & ~is_near
    scores = probabilities, familiar, probabilities * familiar
    of_probability, of_familiarity, of_product = (
        100 * roc_auc_score(is_near[has_scores], score[has_scores]) for score in scores
    )
    print(
        f"half of the places left out: {is_near.sum()} queries on the map, {is_left_out.sum()} not; AUROC of the "
        f"probability {of_probability:.1f} %, of the familiarity {of_familiarity:.1f} %, of their product "
        f"{of_product:.1f} %; reported as not on the map: {100 * np.mean(~on_map[is_left_out]):.1f} % of those off "
        f"the map, {100 * np.mean(~on_map[is_near]):.1f} % of those on it"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--crs", default="")
    parser.add_argument("--run", default="builtin")
    parser.add_argument("--sequence", action="store_true", help="each folder of queries is a drive")
    arguments = parser.parse_args()
    start, model, config = time.perf_counter(), load(arguments.run), LocateConfig()
    database, queries = (find_photos((side,), arguments.crs).photos for side in (arguments.database, arguments.queries))
    if not database or not queries:
        parser.error(f"too few photos have a position: {len(database)} of the database, {len(queries)} queries")
    truth, map_places = photo_places(queries), photo_places(database)
    answerable = np.array([np.linalg.norm(map_places - one, axis=1).min() <= RADIUS_M for one in truth])
    with tempfile.TemporaryDirectory() as folder:
        photo_map = describe_map(model, Path(folder) / "map", database)
        made_at = time.perf_counter()
        photo_map.locate(queries[0].path, config)
        answered_at = time.perf_counter()
        print(f"{len(database)} photos; from folder to map {made_at - start:.1f} s, to the first answer "
              f"{answered_at - start:.1f} s")  # fmt: skip
        located = photo_map.locate_all([query.path for query in queries], config)
        print(f"{len(queries)} queries, {answerable.sum()} with a photo within 25 m; "
              f"{1000 * (time.perf_counter() - answered_at) / len(queries):.0f} ms a query")  # fmt: skip
        print_report("photos", located, truth, answerable)
        if arguments.sequence:
            drive = dataclasses.replace(config, sequence=True)
            parts = [[*part] for _, part in groupby([query.path for query in queries], lambda path: path.parent)]
            located_drives = [one for part in parts for one in photo_map.locate_all(part, drive)]
            print_report("drives", located_drives, truth, answerable)
        print_refusal(model, Path(folder) / "half", database, queries, config)


if __name__ == "__main__":
    main()
