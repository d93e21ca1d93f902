"""Small MSLS trees on disk for tests, written by pandas as the official files were."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from vpr.datasets.msls.metadata import Frames

SUBTASKS = ("all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d")
COLUMNS = {
    "raw.csv": ("key", "lon", "lat", "ca", "captured_at", "pano"),
    "seq_info.csv": ("key", "sequence_key", "frame_number"),
    "postprocessed.csv": (
        "key", "easting", "northing", "night", "control_panel", "view_direction", "unique_cluster",
    ),
    "subtask_index.csv": ("key", *SUBTASKS),
}  # fmt: skip


def make_rows(count: int, prefix: str, **columns: object) -> pd.DataFrame:
    """``count`` frames of one sequence along the x axis, 100 m apart; ``columns`` replace defaults."""
    numbers = np.arange(count)
    rows = pd.DataFrame({"key": [f"{prefix}{number:04d}" for number in numbers]})
    rows = rows.assign(lon=0.0, lat=0.0, ca=90.0, captured_at=0, pano=False)
    rows = rows.assign(sequence_key=f"{prefix}seq", frame_number=numbers)
    rows = rows.assign(easting=500_000.0 + 100 * numbers, northing=6_000_000.0)
    rows = rows.assign(night=False, control_panel=False, view_direction="Forward", unique_cluster=numbers)
    return rows.assign(**dict.fromkeys(SUBTASKS, True)).assign(**columns)


def random_rows(rng: np.random.Generator, count: int, prefix: str) -> pd.DataFrame:
    """Frames with gaps, short and interrupted sequences, panoramas, flags, and points exactly 25 m apart.

    Positions lie on a 5 m grid, where distances of exactly 10 m and 25 m are common.
    """
    new_sequence = rng.random(count) < 0.15
    names = rng.integers(0, 4, count)[np.cumsum(new_sequence)] if count else []
    gaps = rng.choice([1, 1, 1, 1, 1, 1, 2, 0, -1], count)
    return make_rows(
        count,
        prefix,
        sequence_key=[f"{prefix}s{name}" for name in names],
        frame_number=np.cumsum(gaps),
        easting=500_000.0 + 5 * rng.integers(0, 40, count),
        northing=6_000_000.0 + 5 * rng.integers(0, 20, count),
        pano=rng.random(count) < 0.15,
        night=rng.random(count) < 0.2,
        view_direction=rng.choice(["Forward", "Backward", "Sideways"], count),
        **{name: rng.random(count) < 0.7 for name in SUBTASKS},
    )


def write_side(folder: Path, rows: pd.DataFrame, files: tuple[str, ...] = tuple(COLUMNS)) -> None:
    """The CSVs named in ``files``, without images."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in files:
        rows[list(COLUMNS[name])].to_csv(folder / name)


def write_city(root: Path, city: str, query: pd.DataFrame, database: pd.DataFrame, branch: str = "train_val") -> Path:
    """Both sides of one city; returns its folder."""
    folder = root / branch / city
    write_side(folder / "query", query)
    write_side(folder / "database", database)
    return folder


def edit(path, old, new, count=1):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))


def same(first, second):
    """Whether two Frames hold equal arrays of equal type."""
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(Frames)]
    return all(
        (a is None and b is None)
        or (a.dtype.kind == b.dtype.kind and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
        for a, b in pairs
    )


def assert_one_line(error, *parts):
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
