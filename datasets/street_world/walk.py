"""A walk along one long street in several passes: another light, another camera, another side of the road."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.base.files import write_bytes
from vpr.datasets.street_world import columns as c
from vpr.datasets.street_world.camera import draw_camera
from vpr.datasets.street_world.city import make_city
from vpr.datasets.street_world.config import MiniConfig
from vpr.datasets.street_world.drive import Frame
from vpr.datasets.street_world.ground import centre_line
from vpr.datasets.street_world.seeds import rng_for
from vpr.datasets.street_world.shadow import shadow_map
from vpr.datasets.street_world.street import Street, make_street
from vpr.datasets.street_world.traffic import draw_traffic
from vpr.datasets.street_world.weather import draw_weather, indoor_light
from vpr.datasets.street_world.work import render_frame

EASTING, NORTHING = 400_000.0, 5_000_000.0  # of the start, metres
LIST = "list.csv"


@dataclass(frozen=True)
class Pass:
    """One pass of a walk."""

    weather: str  # one of `weather.CONDITIONS`
    lane_m: float = 0.0  # to the left of the middle of the road
    yaw: float = 0.0  # of the camera to the left, radians
    shift: float = 0.0  # of all frames along the street, in steps


@dataclass(frozen=True)
class Walk:
    """A walk. Equal ones give equal bytes."""

    seed: int
    frames: int  # of each pass
    step_m: float
    number: int = 0  # of the street in its city
    size: int = 112  # image side, pixels
    supersample: int = 2  # rays a pixel side

    @property
    def street(self) -> Street:
        """The street."""
        return make_street(make_city(self.seed, "walk"), self.number, (self.frames - 1) * self.step_m)


def write_walk(folder: Path, walk: Walk, passes: Mapping[str, Pass]) -> None:
    """Render the passes of a walk into folders of their names; ``list.csv`` there has eastings and northings."""
    street = walk.street
    for name, one in passes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        table = io.StringIO(newline="")
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("file", "easting", "northing"))
        for frame, data in _render_pass(walk, street, name, one):
            write_bytes(folder / name / f"{frame.key}.jpg", data)
            rows.writerow((f"{frame.key}.jpg", frame.easting, frame.northing))
        write_bytes(folder / name / LIST, table.getvalue().encode())


def _render_pass(walk: Walk, street: Street, name: str, one: Pass) -> list[tuple[Frame, bytes]]:
    """The frames of a pass, and their JPEGs."""
    words = (walk.seed, "walk", walk.number, name)
    rng = rng_for(*words, "render")
    weather = draw_weather(one.weather, rng)
    prims = np.concatenate([street.prims, draw_traffic(street, rng)])
    camera = draw_camera(weather.night, street.ground[c.G_EYE], rng)
    light = weather.light if street.scene != "passage" else indoor_light(weather, rng)
    scene = (prims, light, shadow_map(street, light))
    config = MiniConfig(seed=walk.seed, size=walk.size, supersample=walk.supersample)
    frames = [_plan_frame(walk, street, one, words, number) for number in range(walk.frames)]
    return [(frame, render_frame(config, street, frame, camera, scene, words)) for frame in frames]


def _plan_frame(walk: Walk, street: Street, one: Pass, words: tuple, number: int) -> Frame:
    """Draw the pose of one frame."""
    rng = rng_for(*words, number)
    x = float((number + one.shift) * walk.step_m + rng.normal(0, 0.1 * walk.step_m))
    y = float(centre_line(street.ground, x) + one.lane_m + rng.normal(0, 0.3))
    ahead = centre_line(street.ground, x + 0.5) - centre_line(street.ground, x - 0.5)
    heading = float(np.arctan2(ahead, 1.0) + one.yaw + rng.normal(0, np.radians(5)))
    roll = float(rng.normal(0, 0.02))
    return Frame(f"{number:05d}", number, x, y, heading, roll, False, EASTING + x, NORTHING + y, 0.0)
