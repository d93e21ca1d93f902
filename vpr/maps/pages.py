"""HTML of located photos: a fragment for notebooks, and a self-contained page."""

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
from vpr.description.thumbnails import SIZES, ThumbnailSize, thumbnail
from vpr.positions.map_frame import EARTH, MapFrame, Position

PACKAGE = "vpr.maps"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MATCHES = 4  # per photo on a page
BUDGET = 40_000_000  # bytes of all thumbnails of a page
WIDTH, TALLEST, MARGIN = 1000, 600, 40  # of the sketch, in SVG units
LEAST_M = 25.0  # minimum extent of a sketch; on a plan of local metres only if all photos are at one position
LEAST_PLAN_M = 0.01  # that of a plan otherwise
DOTS = 4000  # maximum number of map photos in a sketch


class LocatedPhoto(Protocol):
    """The part of `vpr.maps.results.Located` that a page needs. That module imports this one, so a protocol is used."""

    @property
    def photo(self) -> str: ...
    @property
    def on_map(self) -> bool: ...
    @property
    def position(self) -> Position: ...
    @property
    def kind(self) -> str: ...
    @property
    def matches(self) -> Sequence[Any]: ...
    def summary(self) -> str: ...
    def with_matches(self, count: int) -> LocatedPhoto: ...


@dataclass(frozen=True)
class Sketch:
    """The photos of a map and located photos as dots, north up; or the plan of local metres, y up."""

    photos: list[tuple[float, float]]
    located: list[tuple[int, float, float]]  # number, x, y
    height: int
    bar: float  # the length of the scale bar
    bar_label: str  # its length on the ground
    is_sample: bool  # whether the map has more photos than dots
    width: int = WIDTH
    margin: int = MARGIN


def card(one: LocatedPhoto) -> str:
    """An HTML fragment: the answer for a photo, the photo, and its best match. Missing pictures are left out."""
    shown = one.with_matches(1)
    template = environment(PACKAGE).get_template("card.html").module
    return str(template.card(shown, pictures_of([shown])))  # type: ignore[attr-defined]


def page(
    located: Sequence[LocatedPhoto], positions: np.ndarray, title: str, summary: str, frame: MapFrame = EARTH
) -> str:
    """A page with a title, a summary line, a sketch or a table of answers, and each photo with its best matches.

    positions: of the map's photos, (N, F), in the F fields of the frame.
    """
    shown = [one.with_matches(MATCHES) for one in located]
    return (
        environment(PACKAGE)
        .get_template("located.html")
        .render(
            title=title,
            summary=summary,
            policy=POLICY,
            css=style(PACKAGE, "located.css"),
            sketch=sketch(shown, positions, frame) if frame.axes else None,
            axes=frame.axes,
            located=list(enumerate(shown)),
            pictures=pictures_of(shown),
        )
    )


def pictures_of(located: Sequence[LocatedPhoto]) -> dict[str, str]:
    """Thumbnails of photos and their matches as base64, by path, as large as `BUDGET` allows.

    Pictures that cannot be read are left out.
    """
    paths = dict.fromkeys(path for one in located for path in (one.photo, *(match.photo for match in one.matches)))
    each = BUDGET / max(1, len(paths))
    size = next((size for size in SIZES if _bytes(size) <= each), SIZES[-1])
    made = {path: _thumbnail(path, size) for path in paths}
    return {path: base64.b64encode(image).decode() for path, image in made.items() if image is not None}


def _bytes(size: ThumbnailSize) -> float:
    """The approximate size of a thumbnail in base64: 0.2 bytes per pixel of a 4:3 photo."""
    return size.pixels**2 * 0.75 * 0.2 * 4 / 3


def _thumbnail(path: str, size: ThumbnailSize) -> bytes | None:
    try:
        return thumbnail(Path(path), size)
    except VprError:
        return None


def sketch(located: Sequence[LocatedPhoto], positions: np.ndarray, frame: MapFrame = EARTH) -> Sketch:
    """A sketch of positions (N, 2), in the fields of a frame, and of the photos that are on the map."""
    on_map = [(number, one.position) for number, one in enumerate(located) if one.on_map]
    points = np.concatenate([positions, np.array([place for _, place in on_map]).reshape(-1, 2)])
    metres = frame.plan(tuple(points.T))
    low, (wide, tall) = metres.min(0), np.ptp(metres, axis=0)
    least = LEAST_PLAN_M if frame.kind == "metres" and max(wide, tall) > 0 else LEAST_M
    factor = min((WIDTH - 2 * MARGIN) / max(wide, least), (TALLEST - 2 * MARGIN) / max(tall, least))
    height = round(factor * tall + 2 * MARGIN)
    x = (WIDTH - factor * wide) / 2 + factor * (metres[:, 0] - low[0])
    y = height - MARGIN - factor * (metres[:, 1] - low[1])
    at = [(round(float(east), 1), round(float(south), 1)) for east, south in zip(x, y)]
    dots = np.unique(np.linspace(0, len(positions) - 1, min(DOTS, len(positions))).astype(int))
    bar_m = round_length(WIDTH / 5 / factor)
    return Sketch(
        [at[dot] for dot in dots],
        [(number, *place) for (number, _), place in zip(on_map, at[len(positions) :])],
        height,
        round(factor * bar_m, 1),
        f"{bar_m:g} m" if bar_m < 1000 else f"{bar_m / 1000:g} km",
        len(dots) < len(positions),
    )


def round_length(most: float) -> float:
    """The largest of ..., 0.5, 1, 2, 5, 10, 20, ... that is at most ``most``.

    >>> [round_length(most) for most in (0.7, 1, 4.9, 730)]
    [0.5, 1.0, 2.0, 500.0]
    """
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most)
