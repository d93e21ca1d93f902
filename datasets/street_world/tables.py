"""The CSV files of the MSLS tree, from the plan alone."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd

from vpr.base.files import write_bytes
from vpr.datasets.street_world.config import CityPlan, MiniConfig
from vpr.datasets.street_world.drive import Frame, Traverse
from vpr.datasets.street_world.work import plan_street

SIDES = ("query", "database")  # in the order in which they are written
FILES = ("raw.csv", "seq_info.csv", "postprocessed.csv", "subtask_index.csv")
OLD_UNTIL, NEW_FROM = 2014, 2016  # years
SUMMER = (4, 5, 6, 7, 8, 9)  # months
METRES_PER_DEGREE = 111_320.0


def captured_at(traverse: Traverse, index: int) -> int:
    """The time of a frame, milliseconds since 1970 (local time read as UTC)."""
    weather = traverse.weather
    start = datetime(weather.year, weather.month, weather.day, weather.hour, 12, tzinfo=timezone.utc)
    return int(start.timestamp() * 1000) + 2000 * index


def lon_lat(frame: Frame) -> tuple[float, float]:
    """Longitude and latitude on a sphere around the central meridian of UTM zone 31 (3 degrees east)."""
    lat = frame.northing / METRES_PER_DEGREE
    return 3.0 + (frame.easting - 500_000.0) / (METRES_PER_DEGREE * np.cos(np.radians(lat))), lat


def subtask_flags(traverse: Traverse) -> dict[str, bool]:
    """The flags of all frames of a traverse: for x2y, x is the condition of queries and y that of the database."""
    weather, query = traverse.weather, traverse.side == "query"
    summer, old, new = weather.month in SUMMER, weather.year <= OLD_UNTIL, weather.year >= NEW_FROM
    pairs = {
        "s2w": (summer, not summer),
        "w2s": (not summer, summer),
        "o2n": (old, new),
        "n2o": (new, old),
        "d2n": (not weather.night, weather.night),
        "n2d": (weather.night, not weather.night),
    }
    return {"all": True, **{name: bool(pair[0 if query else 1]) for name, pair in pairs.items()}}


def frame_rows(traverse: Traverse, street: int, index: int, frame: Frame) -> dict[str, dict]:
    """One row for each of the four files."""
    lon, lat = lon_lat(frame)
    return {
        "raw.csv": {
            "key": frame.key,
            "lon": round(lon, 7),
            "lat": round(lat, 7),
            "ca": frame.compass,
            "captured_at": captured_at(traverse, index),
            "pano": frame.pano,
        },
        "seq_info.csv": {"key": frame.key, "sequence_key": traverse.sequence, "frame_number": frame.number},
        "postprocessed.csv": {
            "key": frame.key,
            "easting": frame.easting,
            "northing": frame.northing,
            "night": traverse.weather.night,
            "control_panel": False,
            "view_direction": traverse.view,
            "unique_cluster": street * 1000 + int(max(frame.x, 0.0) // 10),
        },
        "subtask_index.csv": {"key": frame.key, **subtask_flags(traverse)},
    }


def city_tables(config: MiniConfig, plan: CityPlan) -> dict[str, dict[str, pd.DataFrame]]:
    """The tables of a city: side, then file name, then rows aligned by position."""
    rows: dict = {side: {name: [] for name in FILES} for side in SIDES}
    for street in range(plan.streets + plan.strays):
        for traverse in plan_street(config, plan, street)[2]:
            for index, frame in enumerate(traverse.frames):
                for name, row in frame_rows(traverse, street, index, frame).items():
                    rows[traverse.side][name].append(row)
    return {side: {name: pd.DataFrame(table) for name, table in tables.items()} for side, tables in rows.items()}


def write_tables(root: Path, config: MiniConfig, plan: CityPlan) -> None:
    """Write all CSV files of a city after its images; the last file marks the city as complete."""
    for side, tables in city_tables(config, plan).items():
        for name, table in tables.items():
            write_bytes(_table(root, plan, side, name), table.to_csv(lineterminator="\n").encode())


def is_rendered(root: Path, plan: CityPlan) -> bool:
    """Whether a city is complete."""
    return _table(root, plan, SIDES[-1], FILES[-1]).is_file()


def count_images(root: Path, config: MiniConfig) -> dict[str, dict[str, int]]:
    """The number of images by city and side, of a complete tree."""
    return {
        plan.name: {side: len(pd.read_csv(_table(root, plan, side, FILES[0]))) for side in SIDES}
        for plan in config.cities
    }


def _table(root: Path, plan: CityPlan, side: str, name: str) -> Path:
    return root / plan.part / plan.name / side / name
