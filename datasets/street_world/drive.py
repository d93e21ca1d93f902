"""Plans the traverses of a street and the pose of each frame, without rendering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr.datasets.street_world.city import City
from vpr.datasets.street_world.columns import G_ROAD
from vpr.datasets.street_world.config import CityPlan, MiniConfig
from vpr.datasets.street_world.ground import centre_line
from vpr.datasets.street_world.seeds import mapillary_key, rng_for
from vpr.datasets.street_world.street import Street
from vpr.datasets.street_world.weather import DATABASE_FIRST, DATABASE_SECOND, QUERY, Weather, draw_weather

STEP_M = 10.0  # between frames
PITCH_M = 400.0  # between streets: far beyond any positive
TURN = {"Forward": 0.0, "Backward": np.pi, "Sideways": np.pi / 2}


@dataclass(frozen=True)
class Frame:
    """The plan of one photograph."""

    key: str
    number: int  # frame_number in its sequence
    x: float  # camera in street coordinates, metres
    y: float
    heading: float  # of the optical axis, radians in street coordinates
    roll: float  # slope of the horizon in the picture
    pano: bool
    easting: float  # metres, with a GPS error of 0.7 m
    northing: float
    compass: float  # degrees, clockwise from north


@dataclass(frozen=True)
class Traverse:
    """One drive along a street."""

    words: tuple  # seed, city, street number, side, traverse number: the seed of its random numbers
    side: str  # query or database
    sequence: str
    view: str  # Forward, Backward or Sideways
    weather: Weather
    frames: tuple[Frame, ...]


def street_length(config: MiniConfig) -> float:
    """The length of each street that is driven, metres."""
    return (config.frames - 1) * STEP_M


def street_origin(city: City, number: int) -> tuple[float, float, float]:
    """Easting and northing (m) of a street's first frame, and its heading (radians, from east to north)."""
    rng = rng_for(city.seed, city.name, "origin", number)
    east = 400_000.0 + PITCH_M * (number % 16) + rng.uniform(0, 60)
    north = city.northing + PITCH_M * (number // 16) + rng.uniform(0, 60)
    heading = city.heading + rng.integers(4) * np.pi / 2 + rng.normal(0, 0.2)
    return east, north, float(heading)


def is_stray(plan: CityPlan, number: int) -> bool:
    """Whether a street is driven only by queries."""
    return number >= plan.streets


def pick(table: dict[str, float], rng: np.random.Generator, without: tuple = ()) -> str:
    """Draw a name from a table of shares, except the names in ``without``."""
    names = [name for name in table if name not in without]
    shares = np.array([table[name] for name in names])
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def plan_traverses(config: MiniConfig, plan: CityPlan, city: City, street: Street, number: int) -> list[Traverse]:
    """All traverses of one street, database first."""
    rng = rng_for(config.seed, city.name, "traverses", number)
    main = ("Forward", "Sideways")[int(rng.random() < 0.15)]
    sign = 1 if rng.random() < 0.5 else -1
    kinds, used = [], ()
    if not is_stray(plan, number):
        kinds.append(("database", pick(DATABASE_FIRST, rng)))
        if rng.random() < plan.second_database:
            kinds.append(("database", pick(DATABASE_SECOND, rng)))
        used = tuple(name for _, name in kinds)
    for _ in range(plan.queries):
        name = pick(QUERY, rng, used if plan.queries > 1 else ())
        used += (name,)
        kinds.append(("query", name))
    traverses = []
    for index, (side, name) in enumerate(kinds):
        view = "Backward" if side == "query" and rng.random() < 0.04 else main
        words = (config.seed, city.name, number, side, index)
        traverses.append(plan_traverse(config, city, street, number, (side, name, view, sign), words))
    return traverses


def plan_traverse(config: MiniConfig, city: City, street: Street, number: int, kind: tuple, words: tuple) -> Traverse:
    """Draw one traverse: its weather, its sequence and a pose every 10 m."""
    side, name, view, sign = kind
    rng = rng_for(*words, "drive")
    weather = draw_weather(name, rng)
    phase = 0.0 if side == "database" else rng.uniform(-5, 5)
    lane = rng.uniform(-1.6, 1.6)
    frames, frame_number = [], int(rng.integers(0, 40))
    for index in range(config.frames):
        x = index * STEP_M + phase + rng.normal(0, 0.6)
        frames.append(plan_frame(config, city, street, number, (x, lane, view, sign), (*words, index), frame_number))
        frame_number += 1 + int(rng.random() < 0.04) * int(rng.integers(1, 4))
    return Traverse(words, side, mapillary_key(*words, "sequence"), view, weather, tuple(frames))


def plan_frame(
    config: MiniConfig, city: City, street: Street, number: int, pose: tuple, words: tuple, frame_number: int
) -> Frame:
    """Draw the pose of one frame and its place in the world."""
    x, lane, view, sign = pose
    rng = rng_for(*words, "frame")
    limit = 0.6 * street.ground[G_ROAD]
    y = centre_line(street.ground, x) + float(np.clip(lane + rng.normal(0, 0.6), -limit, limit))
    tangent = np.arctan2(centre_line(street.ground, x + 0.5) - centre_line(street.ground, x - 0.5), 1.0)
    heading = tangent + sign * TURN[view] + rng.normal(0, np.radians(9.0))
    east, north, turn = street_origin(city, number)
    easting = east + x * np.cos(turn) - y * np.sin(turn) + rng.normal(0, 0.7)
    northing = north + x * np.sin(turn) + y * np.cos(turn) + rng.normal(0, 0.7)
    compass = float((90.0 - np.degrees(heading + turn) + rng.normal(0, 2.0)) % 360.0)
    roll = float(rng.normal(0, 0.025))
    pano = bool(rng.random() < 0.015)
    return Frame(
        mapillary_key(*words),
        frame_number,
        float(x),
        float(y),
        float(heading),
        roll,
        pano,
        round(float(easting), 3),
        round(float(northing), 3),
        round(compass, 3),
    )
