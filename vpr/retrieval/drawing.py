"""Pictures of a match: two photos, the correspondences between them, and how much each patch counts.

Photos are (H, W, 3) uint8 of any size, and their patches a grid of equal cells, as the model sees them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.figures import COLOURS, style
from vpr.retrieval.matching import Match

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Photos = tuple[np.ndarray, np.ndarray]  # the query's and the database image's
LINE = COLOURS[1]
HEAT = "viridis"
WIDTH, BAR, MARGIN, TITLE = 3.2, 0.12, 0.08, 0.22  # inches: of a photo, a colour bar, between things, a row's title
FLATTEST, TALLEST = 0.2, 1.5  # height by width of the room for a photo; photos beyond are shown smaller
LINES = 30  # correspondences that are drawn when nothing else is asked


def draw_match(photos: Photos, match: Match, lines: int = LINES) -> Figure:
    """The photos side by side with their strongest correspondences; below them, their marginals as heat maps.

    With partial transport a third row shades the patches that took no part.
    """
    titles = ["strongest correspondences, thick by the mass that they move", "marginals: how much each patch counts"]
    if match.plan.sum() < 0.999:
        titles.append(f"mass {match.plan.sum():.2g} is moved; hatched: patches that take no part, or less than half")
    with style():
        figure, axes = photo_grid(photos, titles, bar_row=1)
        for row in range(len(titles)):
            for side, photo in enumerate(photos):
                show_photo(axes[row][side], photo)
        draw_lines(axes[0], photos, match, lines)
        weights = [side * side.size for side in (match.query_weights, match.database_weights)]
        limits = span(np.concatenate(weights))
        for side, photo in enumerate(photos):
            heat = show_heat(axes[1][side], photo, weights[side], limits)
        figure.colorbar(heat, cax=axes[1][2], label="times an equal share")
        if len(titles) > 2:
            for side, (photo, taken) in enumerate(zip(photos, match.taken)):
                shade_left_out(axes[2][side], photo, taken)
    return figure


def photo_grid(photos: tuple[np.ndarray, ...], titles: list[str], bar_row: int | None = None) -> tuple[Figure, Any]:
    """A figure of rows with a title each, every row with an axes for each photo; in ``bar_row`` one more at the end,
    for a colour bar. Called inside `style`."""
    from matplotlib.figure import Figure

    room = 0.0 if bar_row is None else BAR + MARGIN + 0.5
    tall = WIDTH * min(max(FLATTEST, *(photo.shape[0] / photo.shape[1] for photo in photos)), TALLEST)
    width = len(photos) * (WIDTH + MARGIN) + MARGIN + room
    height = len(titles) * (tall + TITLE + MARGIN)
    figure, axes = Figure(figsize=(width, height)), []
    for row, title in enumerate(titles):
        bottom = height - (row + 1) * (tall + TITLE + MARGIN) + MARGIN
        left = [MARGIN + place * (WIDTH + MARGIN) for place in range(len(photos))]
        boxes = [(x, bottom, WIDTH, tall) for x in left]
        if row == bar_row:
            boxes.append((left[-1] + WIDTH + MARGIN, bottom + 0.1 * tall, BAR, 0.8 * tall))
        axes.append([figure.add_axes((x / width, y / height, w / width, h / height)) for x, y, w, h in boxes])
        figure.text(MARGIN / width, (bottom + tall + 0.05) / height, title, va="bottom")
    return figure, axes


def show_photo(axes: Axes, photo: np.ndarray) -> None:
    """The photo, at the top of its axes, which are not drawn."""
    axes.imshow(photo, interpolation="antialiased")
    axes.set_axis_off()
    axes.set_anchor("N")


def show_heat(axes: Axes, photo: np.ndarray, values: np.ndarray, limits: tuple[float, float]) -> Any:
    """A value (P,) for each patch as a colour over the photo in grey; returns what a colour bar is made for."""
    height, width = photo.shape[:2]
    axes.imshow(photo.mean(2), cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set_axis_off()
    axes.set_anchor("N")
    where = (-0.5, width - 0.5, height - 0.5, -0.5)
    look: dict[str, Any] = {"cmap": HEAT, "vmin": limits[0], "vmax": limits[1], "interpolation": "nearest"}
    return axes.imshow(on_grid(values), alpha=0.6, extent=where, **look)


def shade_left_out(axes: Axes, photo: np.ndarray, taken: np.ndarray) -> None:
    """Shade each patch by the share of its marginal that stayed, given the share (P,) that moved; hatch it where most
    of it stayed."""
    from matplotlib.patches import Rectangle

    for number, share in enumerate(taken):
        x, y, width, height = cell(photo, number, taken.size)
        look: dict[str, Any] = {"linewidth": 0, "facecolor": (0.15, 0.15, 0.15, 0.7 * (1 - share))}
        if share < 0.5:
            look |= {"hatch": "/////", "edgecolor": (1, 1, 1, 0.8)}
        axes.add_patch(Rectangle((x, y), width, height, **look))


def draw_lines(axes: Any, photos: Photos, match: Match, lines: int) -> None:
    """The strongest correspondences as lines from one axes to the other, thick and opaque by their mass."""
    from matplotlib.patches import ConnectionPatch
    from matplotlib.patheffects import Normal, Stroke

    pairs = match.strongest(lines)
    masses = match.plan[pairs[:, 0], pairs[:, 1]]
    for (own, other), mass in reversed(list(zip(pairs, masses / masses.max(initial=0)))):
        lower = lower_by_column(own, match.plan.shape[0])
        both = zip(photos, (own, other), match.plan.shape)
        ends = [inside(photo, number, count, lower) for photo, number, count in both]
        wide, opaque = 0.6 + 1.4 * mass, 0.4 + 0.6 * mass
        line = ConnectionPatch(ends[0], ends[1], "data", "data", axesA=axes[0], axesB=axes[1], linewidth=wide)
        line.set(color=LINE, alpha=opaque, path_effects=[Stroke(linewidth=wide + 1, foreground="white"), Normal()])
        axes[0].figure.add_artist(line)
        for part, (x, y) in zip(axes, ends):
            part.plot(x, y, "o", color=LINE, markersize=3 + 2 * mass, markeredgecolor="white", markeredgewidth=0.4)


def cell(photo: np.ndarray, number: int, count: int) -> tuple[float, float, float, float]:
    """The left and upper edge, the width and the height of a patch, in pixels of the photo.

    >>> cell(np.zeros((20, 40, 3)), 3, 4)
    (19.5, 9.5, 20.0, 10.0)
    """
    side = grid_of(count)
    height, width = photo.shape[0] / side, photo.shape[1] / side
    return number % side * width - 0.5, number // side * height - 0.5, width, height


def inside(photo: np.ndarray, number: int, count: int, lower: float = 0.5) -> tuple[float, float]:
    """A point of a patch in pixels of the photo, half-way from left to right and ``lower`` of the way down."""
    x, y, width, height = cell(photo, number, count)
    return x + width / 2, y + lower * height


def lower_by_column(number: int, count: int) -> float:
    """How far down in its patch a line starts, and ends: differently for each column of the query, as lines from
    patches of one row would hide one another. Steps by the golden ratio follow no slope that lines may have."""
    return 0.1 + 0.8 * (number % grid_of(count) * 0.618 % 1)


def span(values: np.ndarray) -> tuple[float, float]:
    """Limits for the colours of values; around them where all are equal."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low > 1e-3 else (low - 1, high + 1)


def grid_of(count: int) -> int:
    """Patches along each side of a photo."""
    return math.isqrt(count)


def on_grid(values: np.ndarray) -> np.ndarray:
    """Values (P,) of the patches as they lie in the photo, (g, g)."""
    return values.reshape(grid_of(values.size), -1)
