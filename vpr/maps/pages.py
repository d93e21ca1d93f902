"""HTML of located photos: a piece for notebooks, and a page that needs no other file."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vpr.base.errors import VprError
from vpr.base.pages import environment, style
from vpr.description.thumbnails import SIZES, Size, thumbnail

PACKAGE = "vpr.maps"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SHOWN = 4  # matches of a photo that a page shows
BUDGET = 40_000_000  # bytes of all pictures of a page
WIDTH, TALLEST, MARGIN = 1000, 600, 40  # of the sketch, in its own units
LEAST_M = 25.0  # that a sketch spans
DOTS = 4000  # photos of the map in the sketch
METRES = 111_320.0  # a degree of latitude, about


class Shown(Protocol):
    """What a page needs to know of a photo, which `vpr.maps.results.Located` has."""

    @property
    def photo(self) -> str:
        """Its path."""

    @property
    def on_map(self) -> bool:
        """Whether its position is told."""

    @property
    def latitude(self) -> float:
        """Degrees, WGS 84."""

    @property
    def longitude(self) -> float:
        """Degrees, WGS 84."""

    @property
    def matches(self) -> Sequence[Any]:
        """Best first, each with its ``photo``."""

    def said(self) -> str:
        """In one line."""

    def showing(self, matches: int) -> Shown:
        """With the first matches alone."""


@dataclass(frozen=True)
class Sketch:
    """A map's photos and located photos as dots, north up."""

    photos: list[tuple[float, float]]
    located: list[tuple[int, float, float]]  # with the number of each
    height: int
    bar: float  # the length of the scale bar
    bar_said: str  # what it stands for
    left_out: bool  # whether the map has more photos than there are dots
    width: int = WIDTH
    margin: int = MARGIN


def card(one: Shown) -> str:
    """A piece of HTML: what is said of a photo, itself and its best match; pictures that are gone are left out."""
    shown = one.showing(1)
    template = environment(PACKAGE).get_template("card.html").module
    return str(template.card(shown, pictures_of([shown])))  # type: ignore[attr-defined]


def page(located: Sequence[Shown], positions: np.ndarray, title: str, said: str) -> str:
    """A page with a heading, a line of text, a sketch of the map's positions (N, 2) in degrees, and each photo with its
    best matches."""
    shown = [one.showing(SHOWN) for one in located]
    return (
        environment(PACKAGE)
        .get_template("located.html")
        .render(
            title=title,
            said=said,
            policy=POLICY,
            css=style(PACKAGE, "located.css"),
            sketch=sketch(shown, positions),
            located=list(enumerate(shown)),
            pictures=pictures_of(shown),
        )
    )


def pictures_of(located: Sequence[Shown]) -> dict[str, str]:
    """Thumbnails of photos and their matches as base64, by path, as large as `BUDGET` allows; those that cannot be read
    are left out."""
    paths = dict.fromkeys(path for one in located for path in (one.photo, *(match.photo for match in one.matches)))
    each = BUDGET / max(1, len(paths))
    size = next((size for size in SIZES if _bytes(size) <= each), SIZES[-1])
    made = {path: _thumbnail(path, size) for path in paths}
    return {path: base64.b64encode(image).decode() for path, image in made.items() if image is not None}


def _bytes(size: Size) -> float:
    """Of a thumbnail in base64, about: a fifth of a byte each pixel of a photo of 4 by 3."""
    return size.pixels**2 * 0.75 * 0.2 * 4 / 3


def _thumbnail(path: str, size: Size) -> bytes | None:
    try:
        return thumbnail(Path(path), size)
    except VprError:
        return None


def sketch(located: Sequence[Shown], positions: np.ndarray) -> Sketch:
    """Of positions (N, 2), latitude and longitude in degrees, and of the photos that are on the map."""
    there = [(number, one.latitude, one.longitude) for number, one in enumerate(located) if one.on_map]
    points = np.concatenate([positions, np.array([place for _, *place in there]).reshape(-1, 2)])
    metres = flat(points)
    low, (wide, tall) = metres.min(0), np.ptp(metres, axis=0)
    factor = min((WIDTH - 2 * MARGIN) / max(wide, LEAST_M), (TALLEST - 2 * MARGIN) / max(tall, LEAST_M))
    height = round(factor * tall + 2 * MARGIN)
    x = (WIDTH - factor * wide) / 2 + factor * (metres[:, 0] - low[0])
    y = height - MARGIN - factor * (metres[:, 1] - low[1])
    at = [(round(float(east), 1), round(float(south), 1)) for east, south in zip(x, y)]
    dots = np.unique(np.linspace(0, len(positions) - 1, min(DOTS, len(positions))).astype(int))
    bar_m = round_length(WIDTH / 5 / factor)
    return Sketch(
        [at[dot] for dot in dots],
        [(number, *place) for (number, *_), place in zip(there, at[len(positions) :])],
        height,
        round(factor * bar_m, 1),
        f"{bar_m:g} m" if bar_m < 1000 else f"{bar_m / 1000:g} km",
        len(dots) < len(positions),
    )


def flat(points: np.ndarray) -> np.ndarray:
    """Metres east and north of their middle, (N, 2), of points (N, 2), latitude and longitude in degrees; also where
    longitudes jump from 180 to -180."""
    latitude, longitude = np.radians(points).T
    middle = np.angle(np.exp(1j * longitude).mean())
    east = (longitude - middle + np.pi) % (2 * np.pi) - np.pi
    return METRES * np.degrees(np.stack([east * np.cos(latitude.mean()), latitude - latitude.mean()], 1))


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... that is no more than this.

    >>> [round_length(most) for most in (0.7, 1, 4.9, 730)]
    [0.5, 1.0, 2.0, 500.0]
    """
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most)
