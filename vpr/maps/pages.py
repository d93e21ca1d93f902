"""HTML of located photos: a piece for notebooks, and a page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vpr.base.errors import VprError
from vpr.base.pages import asset, environment
from vpr.description.thumbnails import SIZES, Size, thumbnail

PACKAGE = "vpr.maps"
SHOWN = 4  # matches of a photo that a page shows
BUDGET = 40_000_000  # bytes of all pictures of a page
WIDTH, MARGIN = 1000, 20  # of the sketch, in its own units
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
    metres: int  # that the sketch is wide
    left_out: bool  # whether the map has more photos than there are dots
    width: int = WIDTH


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
            css=asset(PACKAGE, "located.css"),
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
    scale = METRES * np.array([1.0, np.cos(np.radians(points[:, 0].mean()))])
    metres = (points - points.min(0)) * scale  # north and east of the corner
    wide = max(float(metres[:, 1].max()), 25.0)
    factor = (WIDTH - 2 * MARGIN) / wide
    tall = float(metres[:, 0].max())
    east, south = MARGIN + factor * metres[:, 1], MARGIN + factor * (tall - metres[:, 0])
    dots = np.unique(np.linspace(0, len(positions) - 1, min(DOTS, len(positions))).astype(int))
    return Sketch(
        [(round(float(east[dot]), 1), round(float(south[dot]), 1)) for dot in dots],
        [(number, round(float(x), 1), round(float(y), 1))
         for (number, *_), x, y in zip(there, east[len(positions):], south[len(positions):])],
        round(factor * tall + 2 * MARGIN),
        round(wide * WIDTH / (WIDTH - 2 * MARGIN)),
        len(dots) < len(positions),
    )  # fmt: skip
