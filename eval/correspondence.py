"""Semantic correspondence: where the mass of a patch goes in another photo, read off the transport plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.figures import COLOURS, style
from vpr.retrieval.drawing import Photos, cell, grid_of, on_grid, photo_grid, show_photo
from vpr.retrieval.matching import Match

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT, MARK = COLOURS[1], COLOURS[2]
LONGEST_LABEL = 22  # characters, beside what is said of the shares
TITLE: dict[str, Any] = {"loc": "left", "fontsize": 9, "pad": 3}
Place = tuple[int, int]  # row and column of a patch


@dataclass(frozen=True, eq=False)
class Correspondence:
    """What becomes of one patch of a photo."""

    patch: Place
    answer: Place | None  # the patch of the other photo that gets most of its mass; None where it takes no part
    moved: float  # the share of its marginal that is moved, in [0, 1]
    shares: np.ndarray  # (Q,) where the moved mass goes, of sum 1; zeros where the patch takes no part

    def as_json(self) -> dict[str, Any]:
        """The numbers but the shares of all patches."""
        most = float(self.shares.max())
        return {"patch": self.patch, "answer": self.answer, "share": most, "moved": self.moved}


def correspondence(match: Match, patch: Place) -> Correspondence:
    """Where the mass of a query's patch goes."""
    side = grid_of(match.plan.shape[0])
    number = patch[0] * side + patch[1]
    row, moved = match.plan[number], float(match.taken[0][number])
    if row.sum() <= 0:
        return Correspondence(patch, None, 0.0, np.zeros_like(row))
    best = divmod(int(row.argmax()), grid_of(row.size))
    return Correspondence(patch, best, moved, row / row.sum())


def weightiest(match: Match, count: int) -> list[Place]:
    """The patches of the query that move most mass, none beside another."""
    moved = match.plan.sum(1)
    side, chosen = grid_of(moved.size), list[Place]()
    for number in np.argsort(-moved, kind="stable").tolist():
        row, column = divmod(number, side)
        apart = all(max(abs(row - other), abs(column - beside)) > 1 for other, beside in chosen)
        if apart and len(chosen) < count:
            chosen.append((row, column))
    return chosen


def on_other_grid(patch: Place, side: int, other: int) -> Place:
    """The patch of a grid of ``other`` rows that holds the middle of a patch of a grid of ``side`` rows.

    >>> on_other_grid((9, 0), 10, 7)
    (6, 0)
    """
    row, column = (min(other - 1, int((place + 0.5) / side * other)) for place in patch)
    return row, column


def correspondences(matches: dict[str, Match], patches: list[Place]) -> dict[str, list[Correspondence]]:
    """By each model, what becomes of the patches.

    patches: places on the grid of the first model; the other models take what lies there on their grids.
    """
    grids = {label: grid_of(match.plan.shape[0]) for label, match in matches.items()}
    first = next(iter(grids.values()))
    return {
        label: [correspondence(match, on_other_grid(patch, first, grids[label])) for patch in patches]
        for label, match in matches.items()
    }


def draw_correspondences(photos: Photos, matches: dict[str, Match], patches: list[Place]) -> Figure:
    """A row for each patch of the first photo: the patch marked, then by each model where its mass goes in the second.

    patches: as of `correspondences`.
    """
    found = correspondences(matches, patches)
    side = grid_of(next(iter(matches.values())).plan.shape[0])
    with style():
        figure, axes = photo_grid((photos[0], *[photos[1]] * len(matches)), [""] * len(patches))
        for number, (parts, patch) in enumerate(zip(axes, patches)):
            show_photo(parts[0], photos[0])
            _outline(parts[0], photos[0], patch, side)
            parts[0].set_title(f"row {patch[0]}, column {patch[1]}", **TITLE)
            for part, (label, by_model) in zip(parts[1:], found.items()):
                one = by_model[number]
                _show_shares(part, photos[1], one)
                share = "no mass is moved" if one.answer is None else f"{one.shares.max():.0%} in the outlined patch"
                part.set_title(f"{_short(label)}: {share}", **TITLE)
    return figure


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else "..." + label[3 - LONGEST_LABEL :]


def _show_shares(axes: Axes, photo: np.ndarray, found: Correspondence) -> None:
    """The photo in grey, its patches as strongly coloured as mass goes there."""
    from matplotlib.colors import to_rgb

    height, width = photo.shape[:2]
    show_photo(axes, np.repeat(photo.mean(2, keepdims=True).astype(np.uint8), 3, 2))
    grid = on_grid(found.shares / max(float(found.shares.max()), 1e-12))
    colours = np.concatenate([np.broadcast_to(to_rgb(HEAT), (*grid.shape, 3)), 0.85 * grid[..., None]], 2)
    axes.imshow(colours, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")
    if found.answer is not None:
        _outline(axes, photo, found.answer, len(grid))


def _outline(axes: Axes, photo: np.ndarray, patch: Place, side: int) -> None:
    """The border of a patch, with a white one around it, so that it is seen on any photo."""
    from matplotlib.patches import Rectangle

    x, y, width, height = cell(photo, patch[0] * side + patch[1], side * side)
    for wide, colour in ((4.0, "white"), (2.0, MARK)):
        axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=wide))
