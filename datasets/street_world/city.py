"""The styles of a city: building types, colours, streets and plants."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from vpr.datasets.street_world import columns as c
from vpr.datasets.street_world.seeds import rng_for

SCENES = ("downtown", "terrace", "suburb", "park", "country", "industrial", "passage", "vista")
STYLES = 10  # building styles of a city
BLOCK_POOL = 5  # facade sequences that aliased blocks share
ALIASED = 0.35  # share of the blocks that repeat a sequence of the pool


@dataclass(frozen=True)
class City:
    """The properties that all streets of a city share."""

    name: str
    seed: int
    styles: np.ndarray  # (STYLES, BUILDING_WIDTH)
    scene_shares: np.ndarray  # (len(SCENES),) sums to 1
    species: np.ndarray  # (4,) shares of broadleaf, conifer, palm and bush
    heading: float  # direction of the street grid, radians
    hills: float  # height of the far hills, tangent
    towers: float  # height of the far towers, tangent
    northing: float  # UTM northing of the city's corner, metres


def rgb(rng: np.random.Generator, hue: tuple, saturation: tuple, value: tuple) -> np.ndarray:
    """Draw a linear RGB albedo from ranges of HSV."""
    colour = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value))
    return np.array(colour) ** 2.0


def draw_style(rng: np.random.Generator) -> np.ndarray:
    """Draw one building style: the mean values from which its buildings deviate."""
    b = np.zeros(c.BUILDING_WIDTH)
    material = rng.choice(6, p=[0.27, 0.28, 0.15, 0.12, 0.08, 0.10])
    wall = {
        c.BRICK: lambda: rgb(rng, (-0.01, 0.09), (0.25, 0.65), (0.4, 0.75)),
        c.PLASTER: lambda: rgb(rng, (0.0, 0.75), (0.05, 0.4), (0.6, 0.95)),
        c.STONE: lambda: rgb(rng, (0.06, 0.14), (0.05, 0.3), (0.5, 0.85)),
        c.WOOD: lambda: rgb(rng, (0.0, 0.65), (0.05, 0.6), (0.45, 0.95)),
        c.GLASS: lambda: rgb(rng, (0.45, 0.6), (0.05, 0.25), (0.3, 0.6)),
        c.CONCRETE: lambda: rgb(rng, (0.05, 0.15), (0.02, 0.12), (0.45, 0.75)),
    }[material]()
    b[c.B_WALL_R : c.B_WALL_B + 1] = wall
    light_trim = rng.random() < 0.7
    b[c.B_TRIM_R : c.B_TRIM_B + 1] = rgb(rng, (0, 1), (0, 0.12), (0.8, 0.95) if light_trim else (0.2, 0.5))
    b[c.B_ROOF_R : c.B_ROOF_B + 1] = rgb(rng, (-0.02, 0.1), (0.05, 0.6), (0.3, 0.6))
    b[c.B_MATERIAL] = material
    b[c.B_FLOOR] = rng.uniform(2.8, 4.0)
    b[c.B_GROUND] = rng.uniform(3.2, 4.6)
    b[c.B_BAY] = rng.uniform(1.9, 4.2)
    b[c.B_WINDOW_W], b[c.B_WINDOW_H] = rng.uniform(0.32, 0.72), rng.uniform(0.42, 0.68)
    b[c.B_ARCH], b[c.B_MULLION] = rng.random() < 0.2, rng.integers(0, 4)
    b[c.B_SHUTTER], b[c.B_BALCONY] = rng.random() < 0.2, rng.random() < 0.25
    b[c.B_CORNICE] = rng.choice([0, 1, 2])
    b[c.B_STAIN] = rng.uniform(0.05, 0.3)
    b[c.B_ROOF_KIND] = rng.choice(5, p=[0.35, 0.3, 0.13, 0.14, 0.08])
    b[c.B_ROOF_H] = 0.4 if b[c.B_ROOF_KIND] == c.FLAT else rng.uniform(2.0, 4.0)
    return b


def make_city(seed: int, name: str) -> City:
    """Make the styles of a city from the seed and its name only."""
    rng = rng_for(seed, "city", name)
    shares = np.array([0.20, 0.23, 0.18, 0.08, 0.09, 0.06, 0.05, 0.11]) * rng.uniform(0.6, 1.4, len(SCENES))
    species = rng.dirichlet([4.0, 1.2, 0.35, 0.8])
    return City(
        name=name,
        seed=seed,
        styles=np.stack([draw_style(rng) for _ in range(STYLES)]),
        scene_shares=shares / shares.sum(),
        species=species,
        heading=rng.uniform(0, np.pi / 2),
        hills=rng.uniform(0.0, 0.3) * (rng.random() < 0.6),
        towers=rng.uniform(0.05, 0.4) * (rng.random() < 0.7),
        northing=float(np.round(rng.uniform(3.0e6, 6.0e6))),
    )
