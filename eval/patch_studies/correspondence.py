"""Semantic correspondence: where the transport plan moves the mass of a patch in another photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.figures import COLOURS, style
from vpr.retrieval.drawing import Photos, grid_side, patch_box, photo_grid, show_photo, to_grid
from vpr.retrieval.matching import Match

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT, MARK = COLOURS[1], COLOURS[2]
LONGEST_LABEL = 22  # characters of a model's name in a title
TITLE: dict[str, Any] = {"loc": "left", "fontsize": 9, "pad": 3}
PatchIndex = tuple[int, int]  # row and column of a patch


@dataclass(frozen=True, eq=False)
class Correspondence:
    """The targets of the mass of one patch."""

    patch: PatchIndex
    answer: PatchIndex | None  # the patch of the other photo that gets most of its mass; None if no mass is moved
    moved: float  # the share of its marginal that is moved, in [0, 1]
    shares: np.ndarray  # (Q,) share of the moved mass for each patch of the other photo; zeros if no mass is moved

    def as_json(self) -> dict[str, Any]:
        """The numbers without the shares of all patches; ``share`` is the largest."""
        share = float(self.shares.max())
        return {"patch": self.patch, "answer": self.answer, "share": share, "moved": self.moved}


def correspondence(match: Match, patch: PatchIndex) -> Correspondence:
    """The targets of the mass of a patch of the query."""
    side = grid_side(match.plan.shape[0])
    number = patch[0] * side + patch[1]
    row, moved = match.plan[number], float(match.moved_shares[0][number])
    if row.sum() <= 0:
        return Correspondence(patch, None, 0.0, np.zeros_like(row))
    best = divmod(int(row.argmax()), grid_side(row.size))
    return Correspondence(patch, best, moved, row / row.sum())


def heaviest_patches(match: Match, count: int) -> list[PatchIndex]:
    """The patches of the query that move most mass. No two of them touch."""
    moved = match.plan.sum(1)
    side, chosen = grid_side(moved.size), list[PatchIndex]()
    for number in np.argsort(-moved, kind="stable").tolist():
        row, column = divmod(number, side)
        apart = all(max(abs(row - other), abs(column - beside)) > 1 for other, beside in chosen)
        if apart and len(chosen) < count:
            chosen.append((row, column))
    return chosen


def on_other_grid(patch: PatchIndex, side: int, other: int) -> PatchIndex:
    """The patch of a grid with ``other`` rows that contains the centre of a patch of a grid with ``side`` rows.

    >>> on_other_grid((9, 0), 10, 7)
    (6, 0)
    """
    row, column = (min(other - 1, int((place + 0.5) / side * other)) for place in patch)
    return row, column


def correspondences(matches: dict[str, Match], patches: list[PatchIndex]) -> dict[str, list[Correspondence]]:
    """The correspondences of the patches, for each model.

    patches: on the grid of the first model; for other models the patches at these positions on their grids are taken.
    """
    grids = {label: grid_side(match.plan.shape[0]) for label, match in matches.items()}
    first = next(iter(grids.values()))
    return {
        label: [correspondence(match, on_other_grid(patch, first, grids[label])) for patch in patches]
        for label, match in matches.items()
    }


def draw_correspondences(photos: Photos, matches: dict[str, Match], patches: list[PatchIndex]) -> Figure:
    """A row for each patch of the first photo: the patch, then the targets of its mass in the second photo, by model.

    patches: as in `correspondences`.
    """
    by_model = correspondences(matches, patches)
    side = grid_side(next(iter(matches.values())).plan.shape[0])
    with style():
        figure, axes = photo_grid((photos[0], *[photos[1]] * len(matches)), [""] * len(patches))
        for number, (parts, patch) in enumerate(zip(axes, patches)):
            show_photo(parts[0], photos[0])
            _outline(parts[0], photos[0], patch, side)
            parts[0].set_title(f"row {patch[0]}, column {patch[1]}", **TITLE)
            for part, (label, by_patch) in zip(parts[1:], by_model.items()):
                one = by_patch[number]
                _show_shares(part, photos[1], one)
                share = "no mass is moved" if one.answer is None else f"{one.shares.max():.0%} in the outlined patch"
                part.set_title(f"{_short(label)}: {share}", **TITLE)
    return figure


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else "..." + label[3 - LONGEST_LABEL :]


def _show_shares(axes: Axes, photo: np.ndarray, one: Correspondence) -> None:
    """Draw the photo in grey. Patches that get more mass have a stronger colour."""
    from matplotlib.colors import to_rgb

    height, width = photo.shape[:2]
    show_photo(axes, np.repeat(photo.mean(2, keepdims=True).astype(np.uint8), 3, 2))
    grid = to_grid(one.shares / max(float(one.shares.max()), 1e-12))
    colours = np.concatenate([np.broadcast_to(to_rgb(HEAT), (*grid.shape, 3)), 0.85 * grid[..., None]], 2)
    axes.imshow(colours, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")
    if one.answer is not None:
        _outline(axes, photo, one.answer, len(grid))


def _outline(axes: Axes, photo: np.ndarray, patch: PatchIndex, side: int) -> None:
    """Draw the border of a patch on a wider white one, so that it is visible on any photo."""
    from matplotlib.patches import Rectangle

    x, y, width, height = patch_box(photo, patch[0] * side + patch[1], side * side)
    for wide, colour in ((4.0, "white"), (2.0, MARK)):
        axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=wide))
