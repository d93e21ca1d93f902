"""Figures of a match: two photos, the correspondences between their patches, and the weights of the patches.

Photos are (H, W, 3) uint8 of any size. Their patches are a grid of equal cells, as the model sees them.
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

Photos = tuple[np.ndarray, np.ndarray]  # of the query and of the database image
LINE = COLOURS[1]
HEAT = "viridis"
WIDTH, BAR, MARGIN, TITLE = 3.2, 0.12, 0.08, 0.22  # inches: widths of a photo and a colour bar, gaps, title height
LEAST_ASPECT, MOST_ASPECT = 0.2, 1.5  # limits of height / width of the box of a photo; others are drawn smaller
LINES = 30  # default number of correspondences


def draw_match(photos: Photos, match: Match, lines: int = LINES) -> Figure:
    """The photos side by side with their strongest correspondences; below them, their marginals as heat maps.

    With partial transport, a row shades the patches that move little of their mass. The last row has the grid of the
    query's patches, and where the fitted map of the geometry places it in the database image.
    """
    titles = ["strongest correspondences, thicker for more mass", "marginals: how much each patch counts"]
    if match.plan.sum() < 0.999:
        titles.append(f"mass {match.plan.sum():.2g} is moved; hatched: patches that move less than half of theirs")
    shaded = len(titles) > 2
    if match.geometry is not None:
        titles.append(f"geometry {match.geometry.score[0]:.2f}: the query's patches follow this map")
    with style():
        figure, axes = photo_grid(photos, titles, bar_row=1)
        for row in range(len(titles)):
            for side, photo in enumerate(photos):
                show_photo(axes[row][side], photo)
        draw_lines(axes[0], photos, match, lines)
        weights = [side * side.size for side in (match.query_weights, match.database_weights)]
        limits = colour_limits(np.concatenate(weights))
        for side, photo in enumerate(photos):
            heat = show_heat(axes[1][side], photo, weights[side], limits)
        figure.colorbar(heat, cax=axes[1][2], label="times an equal share")
        if shaded:
            for side, (photo, moved_shares) in enumerate(zip(photos, match.moved_shares)):
                shade_unmoved(axes[2][side], photo, moved_shares)
        if match.geometry is not None:
            draw_map(axes[-1], photos, match.geometry.transform[0], match.plan.shape)
    return figure


def draw_map(axes: Any, photos: Photos, transform: np.ndarray, patches: tuple[int, int]) -> None:
    """Draw the grid of the query, and where a map places it in the database image.

    transform: (2, 3) from cells to cells, as `PatchGeometry.transform`. patches: of both images, (P, Q).
    """
    sides = grid_side(patches[0]), grid_side(patches[1])
    edges, along = np.linspace(-sides[0] / 2, sides[0] / 2, sides[0] + 1), np.linspace(-sides[0] / 2, sides[0] / 2, 41)
    for edge in edges:
        for line in (np.stack([along, np.full(41, edge)], 1), np.stack([np.full(41, edge), along], 1)):
            moved = line @ transform[:, :2].T + transform[:, 2]
            for part, photo, cells, side in zip(axes, photos, (line, moved), sides):
                x, y = ((cells / side + 0.5) * (photo.shape[1], photo.shape[0]) - 0.5).T
                part.plot(x, y, color=LINE, linewidth=0.7, scalex=False, scaley=False)


def photo_grid(photos: tuple[np.ndarray, ...], titles: list[str], bar_row: int | None = None) -> tuple[Figure, Any]:
    """A figure with a row for each title and an axes for each photo in every row. Call it inside `style`.

    bar_row: the row that has one more axes at the end, for a colour bar.
    """
    from matplotlib.figure import Figure

    room = 0.0 if bar_row is None else BAR + MARGIN + 0.5
    tall = WIDTH * min(max(LEAST_ASPECT, *(photo.shape[0] / photo.shape[1] for photo in photos)), MOST_ASPECT)
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
    """Draw a photo at the top of its axes, without the frame."""
    axes.imshow(photo, interpolation="antialiased")
    axes.set_axis_off()
    axes.set_anchor("N")


def show_heat(axes: Axes, photo: np.ndarray, values: np.ndarray, limits: tuple[float, float]) -> Any:
    """Draw the values (P,) of the patches as colours over the grey photo; returns the image, for a colour bar."""
    height, width = photo.shape[:2]
    axes.imshow(photo.mean(2), cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set_axis_off()
    axes.set_anchor("N")
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    style_options: dict[str, Any] = {"cmap": HEAT, "vmin": limits[0], "vmax": limits[1], "interpolation": "nearest"}
    return axes.imshow(to_grid(values), alpha=0.6, extent=extent, **style_options)


def shade_unmoved(axes: Axes, photo: np.ndarray, moved_shares: np.ndarray) -> None:
    """Shade each patch by the share of its marginal that is not moved, and hatch it if that is more than half.

    moved_shares: (P,) in [0, 1].
    """
    from matplotlib.patches import Rectangle

    for number, share in enumerate(moved_shares):
        x, y, width, height = patch_box(photo, number, moved_shares.size)
        style_options: dict[str, Any] = {"linewidth": 0, "facecolor": (0.15, 0.15, 0.15, 0.7 * (1 - share))}
        if share < 0.5:
            style_options |= {"hatch": "/////", "edgecolor": (1, 1, 1, 0.8)}
        axes.add_patch(Rectangle((x, y), width, height, **style_options))


def draw_lines(axes: Any, photos: Photos, match: Match, lines: int) -> None:
    """Draw the strongest correspondences as lines from one axes to the other, thicker for more mass."""
    from matplotlib.patches import ConnectionPatch
    from matplotlib.patheffects import Normal, Stroke

    pairs = match.strongest_pairs(lines)
    masses = match.plan[pairs[:, 0], pairs[:, 1]]
    for (own, other), mass in reversed(list(zip(pairs, masses / masses.max(initial=0)))):
        height_share = line_height(own, match.plan.shape[0])
        sides = zip(photos, (own, other), match.plan.shape)
        ends = [patch_point(photo, number, count, height_share) for photo, number, count in sides]
        width, opacity = 0.6 + 1.4 * mass, 0.4 + 0.6 * mass
        line = ConnectionPatch(ends[0], ends[1], "data", "data", axesA=axes[0], axesB=axes[1], linewidth=width)
        line.set(color=LINE, alpha=opacity, path_effects=[Stroke(linewidth=width + 1, foreground="white"), Normal()])
        axes[0].figure.add_artist(line)
        for part, (x, y) in zip(axes, ends):
            part.plot(x, y, "o", color=LINE, markersize=3 + 2 * mass, markeredgecolor="white", markeredgewidth=0.4)


def patch_box(photo: np.ndarray, number: int, count: int) -> tuple[float, float, float, float]:
    """The left and upper edge, the width and the height of a patch, in pixels of the photo.

    >>> patch_box(np.zeros((20, 40, 3)), 3, 4)
    (19.5, 9.5, 20.0, 10.0)
    """
    side = grid_side(count)
    height, width = photo.shape[0] / side, photo.shape[1] / side
    return number % side * width - 0.5, number // side * height - 0.5, width, height


def patch_point(photo: np.ndarray, number: int, count: int, height_share: float = 0.5) -> tuple[float, float]:
    """A point of a patch in pixels of the photo: in the middle of its width, at a share of its height from the top."""
    x, y, width, height = patch_box(photo, number, count)
    return x + width / 2, y + height_share * height


def line_height(number: int, count: int) -> float:
    """The height in a patch at which a line starts and ends, as a share from the top.

    It differs by column of the query, because lines from patches of one row would hide each other. The steps are those
    of the golden ratio, so that they match no slope of the lines.
    """
    return 0.1 + 0.8 * (number % grid_side(count) * 0.618 % 1)


def colour_limits(values: np.ndarray) -> tuple[float, float]:
    """The limits of the colour scale for the values; wider if all values are equal."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low > 1e-3 else (low - 1, high + 1)


def grid_side(count: int) -> int:
    """The number of patches along each side of a photo."""
    return math.isqrt(count)


def to_grid(values: np.ndarray) -> np.ndarray:
    """The values (P,) of the patches as a grid (g, g)."""
    return values.reshape(grid_side(values.size), -1)
