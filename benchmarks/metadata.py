"""Measure the readers of MSLS on synthetic metadata: time of a cold and of a warm load, memory, and scoring.

    python -m benchmarks.metadata --rows 12000 --cities 1
    python -m benchmarks.metadata --rows 1600000 --cities 22 --split train
    python -m benchmarks.metadata --growth
    python -m benchmarks.metadata --scoring

Each size is loaded in a new process, whose clock starts after the imports. Cold: without the metadata cache (the CSVs
were just written, so the system still has them in memory). Warm: the second load.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.metadata import FILES, SUBTASK_NAMES
from vpr.eval.files.prediction_file import read_predictions, write_predictions
from vpr.eval.files.resolve import resolve
from vpr.eval.files.submission import name_rankings
from vpr.eval.metrics import evaluate

FRAMES_A_SEQUENCE = 25
STEP_M = 8.0  # metres between frames
ROWS_A_ROAD = 150  # rows of each side on one road, so that each place is passed several times
SPAN_M = 12_000.0  # a city of 40,000 rows is a square of this side; larger cities are larger
DRIFT_M = 3.0  # standard deviation of the position across and along the road
GROWTH_ROWS = (25_000, 50_000, 100_000, 200_000, 400_000, 800_000)
ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)
COLUMNS = {
    "raw.csv": ["key", "lon", "lat", "ca", "captured_at", "pano"],
    "seq_info.csv": ["key", "sequence_key", "frame_number"],
    "postprocessed.csv": [
        "key", "easting", "northing", "night", "control_panel", "view_direction", "unique_cluster",
    ],
    "subtask_index.csv": ["key", *SUBTASK_NAMES],
}  # fmt: skip


def random_keys(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count,) str of 22 characters, as those of Mapillary."""
    return ALPHABET[rng.integers(0, 64, (count, 22))].copy().view("S22")[:, 0].astype("U22")


def make_roads(rng: np.random.Generator, rows: int) -> np.ndarray:
    """(roads, 3) float64: easting and northing of the start in metres, heading in radians."""
    span_m = SPAN_M * (rows / 40_000) ** 0.5
    return rng.random((rows // ROWS_A_ROAD + 1, 3)) * [span_m, span_m, 2 * np.pi]


def make_side(rng: np.random.Generator, rows: int, roads: np.ndarray) -> pd.DataFrame:
    """Drives along roads, with values of the length of those in the real files."""
    sequence = np.arange(rows) // FRAMES_A_SEQUENCE
    drives = sequence[-1] + 1
    road = roads[rng.integers(0, len(roads), drives)][sequence]
    along = np.arange(rows) % FRAMES_A_SEQUENCE * STEP_M
    direction = np.stack([np.cos(road[:, 2]), np.sin(road[:, 2])], axis=1)
    position = road[:, :2] + along[:, None] * direction + rng.normal(0, DRIFT_M, (rows, 2))
    position += [345_678.9, 6_171_234.5]
    table = pd.DataFrame({"key": random_keys(rng, rows)})
    table = table.assign(lon=12.5 + position[:, 0] * 1e-5, lat=55.7, ca=rng.random(rows) * 360)
    table = table.assign(captured_at=1_500_000_000_000 + np.arange(rows), pano=rng.random(rows) < 0.01)
    table = table.assign(sequence_key=random_keys(rng, drives)[sequence])
    table = table.assign(frame_number=np.arange(rows) % FRAMES_A_SEQUENCE + (rng.random(rows) < 0.01))
    table = table.assign(easting=position[:, 0], northing=position[:, 1], night=rng.random(rows) < 0.05)
    views = rng.choice(["Forward", "Backward", "Sideways"], rows, p=[0.8, 0.1, 0.1])
    table = table.assign(control_panel=False, view_direction=views, unique_cluster=sequence)
    return table.assign(all=True, **{name: rng.random(rows) < 0.3 for name in SUBTASK_NAMES[1:]})


def make_tree(root: Path, rows: int, cities: int, query_share: float = 1 / 3) -> None:
    """Write the metadata of this many cities, with this many rows in all cities together."""
    rng = np.random.default_rng(rows)
    for city in range(cities):
        make_city(root / "train_val" / f"city{city:02d}", rng, rows // cities, query_share)


def make_city(folder: Path, rng: np.random.Generator, rows: int, query_share: float = 1 / 3) -> dict[str, list[str]]:
    """Write the metadata of one city into a new folder; returns the keys of its images by side."""
    queries = max(1, int(rows * query_share))
    roads, keys = make_roads(rng, rows), {}
    for side, count in (("query", queries), ("database", rows - queries)):
        (folder / side).mkdir(parents=True)
        table = make_side(rng, count, roads)
        for name in FILES:
            table[COLUMNS[name]].to_csv(folder / side / name)
        keys[side] = table["key"].tolist()
    return keys


def measure(root: Path, split: str) -> dict[str, float]:
    """Load once, in a new process; returns seconds and the peak memory of the process."""
    names = tuple(sorted(path.name for path in (root / "train_val").iterdir()))
    protocol = Protocol(split=split, cities=names)
    start, start_cpu = time.perf_counter(), time.process_time()
    dataset = load(root, protocol)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pairs = sum(len(city.positives.values) for city in dataset.cities)
    figures = {"seconds": seconds, "cpu_seconds": cpu, "memory_gb": memory / 1e9}
    return figures | {"queries": sum(len(city.scored) for city in dataset.cities), "positives": pairs}


def time_load(rows: int, cities: int, split: str) -> None:
    """Print one line: cold and warm seconds and peak memory for a tree of this size."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "msls"
        make_tree(root, rows, cities)
        environment = {**os.environ, "VPR_CACHE_DIR": str(Path(folder) / "cache")}
        command = [sys.executable, "-m", "benchmarks.metadata", "--measure", str(root), "--split", split]
        cold, warm = (
            json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
            for _ in range(2)
        )
    print(
        f"| {rows:>9,} | {cities:>2} | {split:<5} | {cold['seconds']:7.3f} s | {cold['cpu_seconds']:7.3f} s"
        f" | {warm['seconds']:7.3f} s | {warm['cpu_seconds']:7.3f} s"
        f" | {cold['cpu_seconds'] / rows * 1e6:5.2f} us | {cold['memory_gb']:5.2f} GB"
        f" | {cold['queries']:>9,} | {cold['positives']:>10,} |",
        flush=True,
    )


def time_scoring(queries: int = 11_000, depth: int = 100, database: int = 19_000) -> None:
    """Print the seconds for reading, resolving and scoring a file of this size."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tree(root, queries + database, 1, queries / (queries + database))
        dataset = load(root, Protocol(cities=("city00",)), cache=False)
        rng = np.random.default_rng(0)
        size = len(dataset.retrieval_set.database)
        # An odd stride walks through the database without a repeat.
        first = rng.integers(0, size, (len(dataset.retrieval_set.queries), 1))
        ranked = (first + 7 * np.arange(depth)) % size
        path = root / "predictions.csv"
        write_predictions(path, *name_rankings(dataset.retrieval_set, ranked))
        megabytes = path.stat().st_size / 1e6
        start, start_cpu = time.perf_counter(), time.process_time()
        resolved = resolve(read_predictions(path), dataset)
        figures = evaluate(resolved.ranked, dataset.positives)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    print(
        f"{len(ranked):,} queries x {depth} predictions on {size:,} entries, {megabytes:.0f} MB:"
        f" read, resolved and scored in {seconds:.2f} s, {cpu:.2f} s CPU (recall@20 {figures['recall@20']:.4f})"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=12_000, help="rows of all cities together")
    parser.add_argument("--cities", type=int, default=1, help="number of cities")
    parser.add_argument("--split", choices=("train", "val"), default="val", help="protocol: training or validation")
    parser.add_argument("--growth", action="store_true", help="print a table over growing sizes of one city")
    parser.add_argument(
        "--scoring", action="store_true", help="measure the reading and scoring of a prediction file instead"
    )
    parser.add_argument("--measure", type=Path, help="(internal) load this tree and print the figures as JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.split)))
    elif arguments.scoring:
        time_scoring()
    else:
        print(
            "| rows | cities | split | cold | cold CPU | warm | warm CPU | cold CPU a row"
            " | memory | queries | positives |"
        )
        print("|-:|-:|-|" + "-:|" * 8)
        for rows in GROWTH_ROWS if arguments.growth else (arguments.rows,):
            time_load(rows, arguments.cities, arguments.split)
    return 0


if __name__ == "__main__":
    sys.exit(main())
