"""``python -m benchmarks.locating DATABASE QUERIES``: how good, and how fast, `vpr.map` and `vpr.locate` are.

Both are what `vpr.map add` takes: folders or lists. The truth are the positions of the queries, which locating does not
see. It prints the time from folder to answer, the share of queries whose first match, and whose combined position, lie
within 25 m, the expected calibration error of the probabilities, and how well they refuse places that the map does not
have: the area under the ROC where half of the database's places are left out. Of few queries the calibration error is
not 0 for right probabilities either; what chance alone gives stands beside it.
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
from vpr.maps.geodesy import places_of
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.results import Located
from vpr.maps.sources.positions import Photo, find_photos
from vpr.run import Run, load

RADIUS_M = 25.0
BLOCK_M = 100.0  # places are left out by squares of this side, so that neighbours go together


def places(photos: list[Photo]) -> np.ndarray:
    """Of photos (N, 3), metres."""
    return places_of(np.array([photo.latitude for photo in photos]), np.array([photo.longitude for photo in photos]))


def right(located: list[Located], truth: np.ndarray, first: bool) -> np.ndarray:
    """Whether each first match, or each combined position, lies within 25 m of the truth (Q, 3)."""
    at = [one.matches[0] if first else one for one in located]
    found = places_of(np.array([one.latitude for one in at]), np.array([one.longitude for one in at]))
    return np.linalg.norm(found - truth, axis=1) <= RADIUS_M


def described(model: Run, folder: Path, database: list[Photo]) -> Map:
    """A new map."""
    add_photos(folder, model, database)
    return Map.open(folder, model)


def chance_error(probabilities: np.ndarray, draws: int = 200) -> float:
    """What the calibration error of right probabilities (Q,) is on average, of so few queries."""
    rng = np.random.default_rng(0)
    drawn = [rng.random(len(probabilities)) < probabilities for _ in range(draws)]
    return float(np.mean([calibration_error(probabilities, right) for right in drawn]))


def report(name: str, located: list[Located], truth: np.ndarray, answerable: np.ndarray) -> None:
    """The figures of one way of locating, over the queries that have a photo within 25 m (Q,) bool."""
    if not answerable.any():
        print(f"{name}: too few photos: no query has one within 25 m")
        return
    sure = np.array([one.probability for one in located], float)
    told = answerable & np.isfinite(sure)
    first, mean = right(located, truth, True), right(located, truth, False)
    calibration = "no probabilities, of so few photos"
    if told.any():
        calibration = (f"ECE {100 * calibration_error(sure[told], mean[told]):.1f} % "
                       f"(chance alone gives {100 * chance_error(sure[told]):.1f} %)")  # fmt: skip
    print(f"{name}: first match within 25 m {100 * first[answerable].mean():.1f} %, "
          f"position within 25 m {100 * mean[answerable].mean():.1f} %, "
          f"{calibration}")  # fmt: skip
    errors = np.array([np.linalg.norm(places_of(np.array([one.latitude]), np.array([one.longitude]))[0] - true)
                       for one, true in zip(located, truth)])  # fmt: skip
    closest = np.array([np.linalg.norm(places_of(np.array([one.matches[0].latitude]),
                                                 np.array([one.matches[0].longitude]))[0] - true)
                        for one, true in zip(located, truth)])  # fmt: skip
    both = first & mean
    print(
        f"    median error where right: first match {np.median(closest[both]):.1f} m, position "
        f"{np.median(errors[both]):.1f} m; told as on the map {100 * np.mean([one.on_map for one in located]):.1f} %"
    )


def refusal(model: Run, folder: Path, database: list[Photo], queries: list[Photo], config: LocateConfig) -> None:
    """Leave half of the places out of the map; print how well probabilities tell their queries from the others."""
    from sklearn.metrics import roc_auc_score

    def square(photo: Photo) -> tuple[int, int]:
        x, y, z = places([photo])[0]
        return round(x / BLOCK_M) + 7 * round(y / BLOCK_M), round(z / BLOCK_M)

    squares = sorted({square(photo) for photo in database})
    kept = {one for number, one in enumerate(np.random.default_rng(0).permutation(len(squares))) if number % 2}
    if not kept:
        print(f"too few photos to leave half of the places out: all lie within {BLOCK_M:.0f} m")
        return
    half = [photo for photo in database if squares.index(square(photo)) in kept]
    there, all_ = places(half), places(database)
    truth = places(queries)
    near = np.array([np.linalg.norm(there - one, axis=1).min() <= RADIUS_M for one in truth])
    known = np.array([np.linalg.norm(all_ - one, axis=1).min() <= RADIUS_M for one in truth])
    located = described(model, folder, half).locate_all([query.path for query in queries], config)
    on_map, sure = np.array([one.on_map for one in located]), np.array([one.probability for one in located], float)
    familiar = np.array([one.familiarity for one in located], float)
    told = known & np.isfinite(sure * familiar)  # small maps tell neither
    if len({*near[told].tolist()}) < 2:
        print(f"too few photos to tell refusals: {near[told].sum()} of {told.sum()} queries are on half of the map")
        return
    print(f"half of the places left out: {near.sum()} queries on the map, {(known & ~near).sum()} not; "
          f"AUROC of the probability {100 * roc_auc_score(near[told], sure[told]):.1f} %, of the "
          f"familiarity {100 * roc_auc_score(near[told], familiar[told]):.1f} %, of their product "
          f"{100 * roc_auc_score(near[told], (sure * familiar)[told]):.1f} %; told as not on the map: "
          f"{100 * np.mean(~on_map[known & ~near]):.1f} % of those, {100 * np.mean(~on_map[near]):.1f} % of the "
          "others")  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--crs", default="")
    parser.add_argument("--run", default="builtin")
    parser.add_argument("--sequence", action="store_true", help="each folder of queries is a drive")
    given = parser.parse_args()
    start, model, config = time.perf_counter(), load(given.run), LocateConfig()
    database, queries = (find_photos((side,), given.crs).photos for side in (given.database, given.queries))
    if not database or not queries:
        parser.error(f"too few photos have a position: {len(database)} of the database, {len(queries)} queries")
    truth, there = places(queries), places(database)
    answerable = np.array([np.linalg.norm(there - one, axis=1).min() <= RADIUS_M for one in truth])
    with tempfile.TemporaryDirectory() as folder:
        photo_map = described(model, Path(folder) / "map", database)
        made = time.perf_counter()
        photo_map.locate(queries[0].path, config)
        answered = time.perf_counter()
        print(f"{len(database)} photos; from folder to map {made - start:.1f} s, to the first answer "
              f"{answered - start:.1f} s")  # fmt: skip
        located = photo_map.locate_all([query.path for query in queries], config)
        print(f"{len(queries)} queries, {answerable.sum()} with a photo within 25 m; "
              f"{1000 * (time.perf_counter() - answered) / len(queries):.0f} ms a query")  # fmt: skip
        report("photos", located, truth, answerable)
        if given.sequence:
            drive = dataclasses.replace(config, sequence=True)
            parts = [[*part] for _, part in groupby([query.path for query in queries], lambda path: path.parent)]
            voted = [one for part in parts for one in photo_map.locate_all(part, drive)]
            report("drives", voted, truth, answerable)
        refusal(model, Path(folder) / "half", database, queries, config)


if __name__ == "__main__":
    main()
