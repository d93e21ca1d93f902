"""``python -m benchmarks.locating DATABASE QUERIES``: accuracy and speed of `vpr.map` and `vpr.locate`.

Both arguments are sources for `vpr.map add`: folders or lists. Locating does not see the true positions of the queries.
Prints the time from folder to answer, the shares of queries whose first match and whose combined position are within
25 m of the truth, and the expected calibration error (ECE) of the probabilities. The ECE of correct probabilities is
not 0 for few queries, so its expected value is printed too. Then half of the places are left out of the map, and it
prints the area under the ROC curve (AUROC) by which numbers separate queries on and off the map.
"""

import argparse
import dataclasses
import tempfile
import time
from itertools import groupby
from pathlib import Path

import numpy as np

from vpr.maps.building import add_photos
from vpr.maps.checking import CheckResult, check_answers, check_config, photo_places
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.sources.positions import Photo, find_photos
from vpr.retrieval.reliability import calibration_error, chance_error
from vpr.run import Run, load

RADIUS_M = 25.0
BLOCK_M = 100.0  # side of the squares by which places are left out, so that neighbours are left out together


def describe_map(model: Run, folder: Path, database: list[Photo]) -> Map:
    """Make a map of the database."""
    add_photos(folder, model, database)
    return Map.open(folder, model)


def check(photo_map: Map, queries: list[Photo], config: LocateConfig) -> CheckResult:
    """Locate queries, with ``config.sequence`` folder by folder, and compare the answers with the truth."""
    paths = [query.path for query in queries]
    parts = [[*part] for _, part in groupby(paths, lambda path: path.parent)] if config.sequence else [paths]
    located = [one for part in parts for one in photo_map.locate_all(part, check_config(config))]
    return check_answers(located, queries, photo_map.finder.places, RADIUS_M, config.threshold)


def position_is_right(result: CheckResult) -> np.ndarray:
    """Whether the combined position of each known photo lies within 25 m of the truth, (K,) bool."""
    return np.array([one.error_m <= RADIUS_M for one in result.known], bool)


def known_probabilities(result: CheckResult) -> np.ndarray:
    """The probabilities of the known photos, (K,); NaN if there are none."""
    return np.array([one.located.probability for one in result.known], float)


def print_report(name: str, result: CheckResult) -> None:
    """Print the figures of one way of locating."""
    if not result.known:
        print(f"{name}: too few photos: no query has a photo of the map within 25 m")
        return
    mean, probabilities = position_is_right(result), known_probabilities(result)
    some = np.isfinite(probabilities)
    calibration = "no probabilities, as the map has too few photos"
    if some.any():
        calibration = (f"ECE {100 * calibration_error(probabilities[some], mean[some]):.1f} % "
                       f"(by chance {100 * chance_error(probabilities[some]):.1f} %)")  # fmt: skip
    print(f"{name}: first match within 25 m {100 * result.recall():.1f} %, "
          f"position within 25 m {100 * mean.mean():.1f} %, {calibration}")  # fmt: skip
    right = [one for one in result.known if one.is_right() and one.error_m <= RADIUS_M]
    closest = np.median([one.match_errors_m[0] for one in right]) if right else np.nan
    errors = np.median([one.error_m for one in right]) if right else np.nan
    on_map = np.mean([one.on_map for one in result.photos])
    print(f"    median error where right: first match {closest:.1f} m, position {errors:.1f} m; "
          f"on the map {100 * on_map:.1f} %")  # fmt: skip


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
    half_map, all_places = describe_map(model, folder, half), photo_places(database)
    is_known = np.array([np.linalg.norm(all_places - one, axis=1).min() <= RADIUS_M for one in photo_places(queries)])
    answers = check(half_map, queries, config).photos
    is_near = np.array([one.is_known for one in answers])
    on_map = np.array([one.on_map for one in answers])
    probabilities = np.array([one.located.probability for one in answers], float)
    familiar = np.array([one.located.familiarity for one in answers], float)
    has_scores = is_known & np.isfinite(probabilities * familiar)  # small maps have neither
    if len({*is_near[has_scores].tolist()}) < 2:
        count = f"{is_near[has_scores].sum()} of {has_scores.sum()}"
        print(f"too few photos to measure refusals: {count} queries are on half of the map")
        return
    is_left_out = is_known & ~is_near
    told = np.array([one.located.on_map_probability for one in answers], float)
    scores = probabilities, familiar, told
    of_probability, of_familiarity, of_told = (
        100 * roc_auc_score(is_near[has_scores], score[has_scores]) for score in scores
    )
    print(
        f"half of the places left out: {is_near.sum()} queries on the map, {is_left_out.sum()} not; AUROC of the "
        f"probability {of_probability:.1f} %, of the familiarity {of_familiarity:.1f} %, of the on-map "
        f"probability {of_told:.1f} %; reported as not on the map: {100 * np.mean(~on_map[is_left_out]):.1f} % of "
        f"those off the map, {100 * np.mean(~on_map[is_near]):.1f} % of those on it"
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
    with tempfile.TemporaryDirectory() as folder:
        photo_map = describe_map(model, Path(folder) / "map", database)
        made_at = time.perf_counter()
        photo_map.locate(queries[0].path, config)
        answered_at = time.perf_counter()
        print(f"{len(database)} photos; from folder to map {made_at - start:.1f} s, to the first answer "
              f"{answered_at - start:.1f} s")  # fmt: skip
        result = check(photo_map, queries, config)
        print(f"{len(queries)} queries, {len(result.known)} with a photo within 25 m; "
              f"{1000 * (time.perf_counter() - answered_at) / len(queries):.0f} ms a query")  # fmt: skip
        print_report("photos", result)
        if arguments.sequence:
            print_report("drives", check(photo_map, queries, dataclasses.replace(config, sequence=True)))
        print_refusal(model, Path(folder) / "half", database, queries, config)


if __name__ == "__main__":
    main()
