"""Cast shadows of a street: one height for each ground cell, below which is shade."""

from __future__ import annotations

import numpy as np
from numba import njit

from vpr.datasets.street_world import columns as c
from vpr.datasets.street_world.street import CELL_M, Street

REACH_M = 90.0


@njit(cache=True)
def sweep(heights, step_x, step_y, drop, steps):
    """Highest edge of shade over every cell (Y, X). heights: (Y, X) metres; one step is one cell long."""
    out = np.full(heights.shape, -1.0)
    for i in range(heights.shape[0]):
        for j in range(heights.shape[1]):
            for k in range(1, steps):
                row, col = int(i + k * step_y + 0.5), int(j + k * step_x + 0.5)
                if row < 0 or col < 0 or row >= heights.shape[0] or col >= heights.shape[1]:
                    break
                out[i, j] = max(out[i, j], heights[row, col] - k * drop)
    return out


def shadow_map(street: Street, light: np.ndarray) -> np.ndarray:
    """Heights (Y + 1, X) of the shade, metres; the first row holds the corner's x and y and the size of a cell."""
    level = np.hypot(light[c.L_SUN_X], light[c.L_SUN_Y])
    drop = CELL_M * light[c.L_SUN_Z] / max(level, 1e-6)
    out = np.zeros((street.heights.shape[0] + 1, street.heights.shape[1]))
    out[0, :3] = *street.corner, CELL_M
    if light[c.L_SUN_R] > 0:
        steps = int(REACH_M / CELL_M)
        out[1:] = sweep(street.heights, light[c.L_SUN_X] / level, light[c.L_SUN_Y] / level, drop, steps)
    else:
        out[1:] = -1.0
    return out
