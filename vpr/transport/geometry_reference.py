"""The geometry of a transport plan, to read: the affine map that the patches of a query follow in a database image.

Positions of patches are (x, y) in cells of their grid, from its middle. Each patch of the query votes for the patch of
the database image that gets most of its mass. Right votes of one scene follow a map; wrong ones are scattered. The map
is fitted by iteratively reweighted least squares from the most frequent displacement on: each round weights the votes
by their mass and by exp(-e^2 / 2 s^2), for their distance e from the map, with a tolerance s that shrinks. At last the
map is fitted once more, to votes between the patches: each moves towards the neighbours that get mass too. Votes for a
patch at the edge cannot move, and then count little.
docs/reference/geometry.md has the mathematics. `vpr.transport.cpu.geometry` computes the same faster.
"""

import math
from typing import NamedTuple

import numpy as np

from vpr.transport.errors import TransportError

ROUNDS = 7  # of the fit
FIRST_TOLERANCE, LAST_TOLERANCE = 2.5, 1.0  # cells, of the first and of the last round
TOLERANCES = tuple(
    FIRST_TOLERANCE * (LAST_TOLERANCE / FIRST_TOLERANCE) ** (k / (ROUNDS - 1)) for k in range(ROUNDS)
)  # in between they fall by equal factors
MOST_STRETCH = 6.0  # a map that stretches or shrinks some direction by more shows no scene
DOUBT = 0.3  # the share of the score that a map keeps that folds, or stretches too much
EDGE = 0.05  # weight of votes for a patch at the edge in the last fit
RIDGE = 1e-6  # keeps the equations solvable if hardly a vote is near the map
TINY_MASS = 1e-12


class PatchGeometry(NamedTuple):
    """The geometry of N transport plans."""

    transform: np.ndarray  # (N, 2, 3) float32: x' = A (x, y, 1), from query cells to database cells
    inlier_mass: np.ndarray  # (N,) float32: share of the moved mass whose vote follows the map, in [0, 1]
    residual: np.ndarray  # (N,) float32: root mean square distance of these votes from the map, cells

    @property
    def determinant(self) -> np.ndarray:
        """(N,) factor of areas; negative if the map folds the picture over, as no scene does."""
        a = self.transform
        return np.asarray(np.linalg.det(a[:, :, :2]))

    @property
    def stretch(self) -> np.ndarray:
        """(N, 2) the largest and the smallest factor of lengths: the singular values of the linear part."""
        a, area = self.transform, self.determinant.astype(np.float64)
        half = (a[:, :, :2].astype(np.float64) ** 2).sum((1, 2)) / 2
        apart = np.sqrt(np.maximum(half**2 - area**2, 0))
        return np.asarray(np.sqrt(np.maximum(np.stack([half + apart, half - apart], 1), 0)))

    @property
    def score(self) -> np.ndarray:
        """(N,) float32 in [0, 1]: the inlier mass, times `DOUBT` if the map folds, or stretches by `MOST_STRETCH`."""
        largest, smallest = self.stretch.T
        doubtful = (self.determinant <= 0) | (largest > MOST_STRETCH) | (smallest < 1 / MOST_STRETCH)
        return np.asarray(np.where(doubtful, np.float32(DOUBT) * self.inlier_mass, self.inlier_mass))


def grid_side(patches: int) -> int:
    """The patches along a side of a square grid; raises TransportError if they are not a square number."""
    side = math.isqrt(patches)
    if side * side != patches:
        raise TransportError(f"{patches} patches are no square grid, so their geometry is unknown")
    return side


def grid_positions(patches: int) -> np.ndarray:
    """(P, 2) positions x, y of patches in row-major order, in cells from the middle of their grid.

    >>> grid_positions(4).tolist()
    [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]
    """
    side = grid_side(patches)
    rows, columns = np.divmod(np.arange(patches), side)
    return np.stack([columns, rows], 1) - (side - 1) / 2


def strongest_votes(plan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The database patch (P,) that gets most mass of each query patch, the first of equal ones, and that mass (P,)."""
    best = plan.argmax(1)
    return best, plan[np.arange(len(plan)), best]


def frequent_displacement(shift: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """(2,) the rounded displacement that most mass of the votes has, one cell more or less in x and in y.

    shift (P, 2): displacements of the votes in cells. The first by x, then by y, of equal ones.
    """
    nearest = np.floor(shift + 0.5)
    options = [(x, y) for x in np.arange(*_span(nearest[:, 0])) for y in np.arange(*_span(nearest[:, 1]))]
    near = [(np.abs(nearest - option) <= 1).all(1) for option in options]
    return np.array(options[int(np.argmax([mass[votes].sum() for votes in near]))])


def _span(values: np.ndarray) -> tuple[float, float]:
    return values.min() - 1, values.max() + 2


def fit_votes(own: np.ndarray, other: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) of votes from positions (P, 2) to positions (P, 2)."""
    transform = np.column_stack([np.eye(2), frequent_displacement(other - own, mass)])
    for tolerance in TOLERANCES:
        weights = mass * np.exp(-(distances(transform, own, other) ** 2) / (2 * tolerance**2))
        transform = least_squares(own, other, weights)
    return transform


def least_squares(own: np.ndarray, other: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) from positions (P, 2) to positions (P, 2), by weights (P,)."""
    points = np.column_stack([own, np.ones(len(own))])
    moments = points.T @ (weights[:, None] * points) + RIDGE * np.eye(3)
    return np.asarray(np.linalg.solve(moments, points.T @ (weights[:, None] * other)).T)


def distances(transform: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The distances (P,) of positions (P, 2), moved by a map, from positions (P, 2)."""
    return np.asarray(np.linalg.norm(own @ transform[:, :2].T + transform[:, 2] - other, axis=1))


def towards_neighbours(plan: np.ndarray, best: np.ndarray) -> np.ndarray:
    """The mean displacement x, y (P, 2) of the mass of query patches from their strongest matches (P,).

    The mass is that of the match and of its neighbours: left and right for x, above and below for y. A match at the
    edge lacks one of them, and has displacement 0.
    """
    side, result = grid_side(plan.shape[1]), np.zeros((len(plan), 2))
    for number, (mass, patch) in enumerate(zip(plan, best)):
        for axis, place, step in ((0, patch % side, 1), (1, patch // side, side)):
            if 0 < place < side - 1:
                before, after = mass[patch - step], mass[patch + step]
                result[number, axis] = (after - before) / max(before + mass[patch] + after, TINY_MASS)
    return result


def edge_weights(best: np.ndarray, side: int) -> np.ndarray:
    """The weights (P,) of strongest matches (P,) in the last fit: `EDGE` at the edge of the grid, otherwise 1."""
    inside = [(place > 0) & (place < side - 1) for place in np.divmod(best, side)]
    return np.where(inside[0] & inside[1], 1.0, EDGE)


def plan_geometry(plans: np.ndarray) -> PatchGeometry:
    """The geometry of plans (N, P, Q), one after the other in float64; both grids are square."""
    own, other = (grid_positions(patches) for patches in plans.shape[1:])
    transforms, inliers, residuals = [], [], []
    for plan in plans.astype(np.float64):
        best, mass = strongest_votes(plan)
        transform = fit_votes(own, other[best], mass)
        distance = distances(transform, own, other[best])
        following = mass * np.exp(-(distance**2) / (2 * LAST_TOLERANCE**2))
        weights = following * edge_weights(best, grid_side(plan.shape[1]))
        transforms.append(least_squares(own, other[best] + towards_neighbours(plan, best), weights))
        inliers.append(following.sum() / max(plan.sum(), TINY_MASS))
        residuals.append(np.sqrt((following * distance**2).sum() / max(following.sum(), TINY_MASS)))
    shape = (len(plans), 2, 3)
    return PatchGeometry(
        np.reshape(transforms, shape).astype(np.float32), np.array(inliers, np.float32), np.array(residuals, np.float32)
    )
