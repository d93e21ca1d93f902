"""``python -m benchmarks.drives``: drives located frame by frame, by votes, and by the filter.

Drives: those of cities of mini-MSLS as they are (8 frames), with every third frame of them, and all drives of a city as
one; and walks of 150 frames along rendered streets, by night and in rain, on the map of a walk by day on the other side
of the road. Prints a Markdown table: the share of frames whose first match is in their place, the expected calibration
error, and for half of the places left out of the map the shares of frames refused off and on the map. *Votes* are what
vpr 0.1 did: the mean probability of two frames on each side that may be reached by 20 m a frame.
"""

import argparse
import dataclasses
import tempfile
import time
from itertools import groupby
from pathlib import Path

import numpy as np

from benchmarks.locating import BLOCK_M, describe_map
from tools.photo_folder import write_side
from vpr.datasets.default_data import ensure_mini_msls
from vpr.datasets.street_world.walk import LIST, Pass, Walk, write_walk
from vpr.maps.candidates import Candidates
from vpr.maps.checking import photo_places
from vpr.maps.locating import MapContext, locate
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.results import Located
from vpr.maps.sources.positions import Photo, find_photos
from vpr.maps.tracking import Tracker
from vpr.retrieval.reliability import calibration_error
from vpr.run import Run, load

WALK_CRS = "EPSG:32631"
WALKS = [Walk(seed, 150, step, seed % 7) for seed in range(100, 106) for step in (2.0, 6.0)]
PASSES = {"day": Pass("day", -1.5), "night": Pass("night", 1.5, 0.1, 0.3), "rain": Pass("rain", 1.0, -0.1, 0.4)}
WINDOW, REACH_M = 2, 20.0
VOTES_THRESHOLD, VOTES_FAMILIARITY = 0.5, 0.1
ALONE, DRIVE = LocateConfig(), LocateConfig(sequence=True)
METHODS = ("single", "votes", "filter", "live")


def votes(found: Candidates, context: MapContext) -> tuple[np.ndarray, np.ndarray]:
    """The votes of a drive: rows of the map and probabilities, (T,) each."""
    assert context.curve is not None
    probabilities = found.probabilities(context.curve)
    result = np.zeros(probabilities.shape)
    for frame in range(len(found)):
        around = range(max(0, frame - WINDOW), min(len(found), frame + WINDOW + 1))
        voters = [other for other in around if other == frame or found.has_rivals[other]]
        for other in voters:
            apart = np.linalg.norm(found.places[frame][:, None] - found.places[other][None], axis=2)
            near = apart <= found.place_m + REACH_M * abs(other - frame)
            mine = probabilities[frame] if other == frame else np.where(near, probabilities[other][None], 0).max(1)
            result[frame] += mine / len(voters)
        if len(voters) > 1:
            odds = np.exp(0.5) * (result[frame] / np.maximum(1 - result[frame], 1e-9)) ** 2
            result[frame] = odds / (1 + odds)
    best = result.argmax(1)
    return found.rows[np.arange(len(found)), best], result.max(1)


@dataclasses.dataclass
class Outcome:
    """What one method answered."""

    right: list[bool] = dataclasses.field(default_factory=list)
    probabilities: list[float] = dataclasses.field(default_factory=list)
    on_map: list[bool] = dataclasses.field(default_factory=list)

    def add(self, right: bool, probability: float | None, on_map: bool) -> None:
        """Add the answer to one frame."""
        self.right.append(right)
        self.probabilities.append(np.nan if probability is None else probability)
        self.on_map.append(on_map)


def answer(photo_map: Map, drives: list[Candidates], truths: list[np.ndarray]) -> dict[str, Outcome]:
    """The answers of all methods to the frames of drives. truths: their true places (T, 3)."""
    context, outcomes = photo_map.context(), {name: Outcome() for name in METHODS}
    places, row_of = context.photos.places, {key: row for row, key in enumerate(context.table.keys)}

    def add(name: str, located: list[Located], truth: np.ndarray) -> None:
        for one, true in zip(located, truth):
            apart = np.linalg.norm(places[row_of[one.matches[0].photo]] - true)
            outcomes[name].add(bool(apart <= photo_map.place_m), one.probability, one.on_map)

    for found, truth in zip(drives, truths):
        names = [str(number) for number in range(len(found))]
        alone = locate(found, names, context, ALONE)
        add("single", alone, truth)
        for row, probability, true, one in zip(*votes(found, context), truth, alone):
            is_familiar = one.familiarity is None or one.familiarity >= VOTES_FAMILIARITY
            is_right = bool(np.linalg.norm(places[row] - true) <= photo_map.place_m)
            outcomes["votes"].add(is_right, float(probability), bool(probability >= VOTES_THRESHOLD) and is_familiar)
        add("filter", locate(found, names, context, DRIVE), truth)
        tracker = Tracker(photo_map.find, context, ALONE)
        add("live", [tracker.add_found(found.take(slice(n, n + 1)), name) for n, name in enumerate(names)], truth)
    return outcomes


def find_drives(photo_map: Map, drives: list[list[Photo]]) -> list[Candidates]:
    """The candidates of the frames of drives."""
    found = [photo_map.find([photo.path for photo in drive])[0] for drive in drives]
    return [one for one in found if one is not None]


def cells(outcomes: dict[str, Outcome], answerable: np.ndarray) -> str:
    """Recall and calibration error of each method, of the frames (T,) bool that have a photo in their place."""
    texts = []
    for outcome in outcomes.values():
        right, probabilities = np.array(outcome.right)[answerable], np.array(outcome.probabilities)[answerable]
        known = np.isfinite(probabilities)
        error = 100 * calibration_error(probabilities[known], right[known])
        texts.append(f"{100 * right.mean():.1f}, {error:.1f}")
    return " | ".join(texts)


def print_row(name: str, photo_map: Map, drives: list[Candidates], truths: list[np.ndarray]) -> None:
    """Answer drives, and print a row of the table."""
    start = time.process_time()
    outcomes = answer(photo_map, drives, truths)
    milliseconds = 1000 * (time.process_time() - start) / sum(map(len, drives))
    places = photo_map.context().photos.places
    nearest_m = np.array([np.linalg.norm(places - one, axis=1).min() for one in np.concatenate(truths)])
    shares = cells(outcomes, nearest_m <= photo_map.place_m)
    print(f"| {name} | {photo_map.place_m:.1f} | {shares} | {milliseconds:.1f} |", flush=True)


def split(photos: list[Photo]) -> list[list[Photo]]:
    """The drives of photos: one per folder, in the order of names."""
    photos = sorted(photos, key=lambda photo: photo.path)
    return [[*drive] for _, drive in groupby(photos, lambda photo: photo.path.parent)]


def print_city(model: Run, name: str, folder: Path) -> None:
    """The rows of a city, written by `tools.photo_folder`."""
    photo_map = describe_map(model, folder / "map", find_photos((folder / "database",)).photos)
    drives = split(find_photos((folder / "query",)).photos)
    found, truths = find_drives(photo_map, drives), [photo_places(drive) for drive in drives]
    print_row(name, photo_map, found, truths)
    print_row(f"{name}, every third frame", photo_map, [one.take(slice(None, None, 3)) for one in found],
              [truth[::3] for truth in truths])  # fmt: skip
    print_row(f"{name}, one drive", photo_map, [Candidates.join(found)], [np.concatenate(truths)])


def print_refusals(model: Run, name: str, folder: Path) -> None:
    """Leave half of the places of a city out of the map; what each method refuses."""
    database = find_photos((folder / "database",)).photos
    squares = [tuple(np.round(place / BLOCK_M).astype(int)) for place in photo_places(database)]
    distinct = sorted(set(squares))
    kept = {distinct[n] for n in np.random.default_rng(0).permutation(len(distinct))[: len(distinct) // 2]}
    half = [photo for photo, square in zip(database, squares) if square in kept]
    photo_map = describe_map(model, folder / "half", half)
    drives = split(find_photos((folder / "query",)).photos)
    truths = [photo_places(drive) for drive in drives]
    found, truth = find_drives(photo_map, drives), np.concatenate(truths)

    def nearest_m(photos: list[Photo]) -> np.ndarray:
        places = photo_places(photos)
        return np.array([np.linalg.norm(places - one, axis=1).min() for one in truth])

    is_near, is_known = nearest_m(half) <= photo_map.place_m, nearest_m(database) <= photo_map.place_m
    for kind, several, true in (("", found, truths), (", one drive", [Candidates.join(found)], [truth])):
        outcomes = answer(photo_map, several, true)
        shares = [[100 * np.mean(~np.array(one.on_map)[side]) for side in (is_known & ~is_near, is_near)]
                  for one in outcomes.values()]  # fmt: skip
        print(f"| {name}{kind} | {' | '.join(f'{off:.0f}, {on:.0f}' for off, on in shares)} |", flush=True)


def print_walks(model: Run, folder: Path, walks: list[Walk]) -> None:
    """A row for each pass of each walk."""
    for walk in walks:
        home = folder / f"{walk.seed}-{walk.step_m:g}"
        write_walk(home, walk, PASSES)
        photo_map = describe_map(model, home / "map", find_photos((home / "day" / LIST,), WALK_CRS).photos)
        for name in ("night", "rain"):
            frames = sorted(find_photos((home / name / LIST,), WALK_CRS).photos, key=lambda photo: photo.path)
            title = f"walk {walk.seed}, {walk.step_m:g} m, {name}"
            print_row(title, photo_map, find_drives(photo_map, [frames]), [photo_places(frames)])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="mini-MSLS; default: the cache folder")
    parser.add_argument("--cities", default="cph,sf")
    parser.add_argument("--walks", type=int, default=len(WALKS), help="number of walks")
    parser.add_argument("--run", default="builtin")
    arguments = parser.parse_args()
    model, cities = load(arguments.run), [city for city in arguments.cities.split(",") if city]
    root = arguments.data or ensure_mini_msls(None, "small", 0, None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("first match in its place, calibration error, per cent\n")
        print(f"| drives | a place, m | {' | '.join(METHODS)} | ms a frame, all |\n|---|---|---|---|---|---|---|")
        for city in cities:
            for side in ("database", "query"):
                write_side(root, city, side, folder / city)
            print_city(model, city, folder / city)
        print_walks(model, folder, WALKS[: arguments.walks])
        print(
            f"\nrefused off the map, and on it, per cent\n\n| drives | {' | '.join(METHODS)} |\n|---|---|---|---|---|"
        )
        for city in cities:
            print_refusals(model, city, folder / city)


if __name__ == "__main__":
    main()
