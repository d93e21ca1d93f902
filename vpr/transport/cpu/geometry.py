"""The geometry of transport plans, compiled by numba. The mathematics is that of `vpr.transport.geometry_reference`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from vpr.transport.cpu.backend import split_evenly
from vpr.transport.cpu.compiling import ENTRY, OPTIONS, SOURCES, compile_once
from vpr.transport.cpu.fused import read_only_view, score_sorted_pairs
from vpr.transport.cpu.threads import run_in_threads, thread_count
from vpr.transport.geometry_reference import (
    EDGE,
    LAST_TOLERANCE,
    RIDGE,
    TINY_MASS,
    TOLERANCES,
    PatchGeometry,
    grid_positions,
)
from vpr.transport.problem import Images, Solver, Transport

PLAN_FLOATS = 1 << 23  # numbers of the plans in memory at a time: 32 MiB
LAST = 2 * LAST_TOLERANCE**2


@njit(**OPTIONS)
def cast_votes(plan, other, votes, best):
    """Fill ``best`` (P,) with the strongest matches, and rows 2 to 4 of ``votes`` with their positions and mass.

    ``plan`` is (Q, P), database patches first; ``other`` (Q, 2). Returns the mass of the plan.
    """
    total = 0.0
    for i in range(plan.shape[1]):
        best[i], votes[4, i] = 0, plan[0, i]
    for j in range(plan.shape[0]):
        part = np.float32(0)
        for i in range(plan.shape[1]):
            mass = plan[j, i]
            part += mass
            if mass > votes[4, i]:
                votes[4, i] = mass
                best[i] = j
        total += part
    for i in range(plan.shape[1]):
        votes[2, i], votes[3, i] = other[best[i], 0], other[best[i], 1]
    return total


@njit(**OPTIONS)
def move_to_neighbours(plan, best, votes, weights):
    """Move the votes towards the neighbours of the strongest matches, and lower the weights at the edge."""
    side = int(np.sqrt(float(plan.shape[0])) + 0.5)
    for i in range(len(best)):
        for row, place, step in ((2, best[i] % side, 1), (3, best[i] // side, side)):
            if 0 < place < side - 1:
                before, after = plan[best[i] - step, i], plan[best[i] + step, i]
                votes[row, i] += (after - before) / max(before + plan[best[i], i] + after, TINY_MASS)
            elif row == 2 or 0 < best[i] % side < side - 1:  # once for each vote
                weights[i] *= EDGE


@njit(**OPTIONS)
def frequent_displacement(votes, counts):
    """The displacement (x, y) that most mass has; ``counts`` (W, W) is memory, wider than all displacements."""
    counts[:] = 0.0
    middle = counts.shape[0] // 2
    for i in range(votes.shape[1]):
        x = int(np.floor(votes[2, i] - votes[0, i] + 0.5)) + middle
        y = int(np.floor(votes[3, i] - votes[1, i] + 0.5)) + middle
        for a in range(x - 1, x + 2):
            for b in range(y - 1, y + 2):
                counts[a, b] += votes[4, i]
    place, most = 0, -1.0
    for a in range(counts.shape[0]):
        for b in range(counts.shape[1]):
            if counts[a, b] > most:
                place, most = a * counts.shape[1] + b, counts[a, b]
    return place // counts.shape[1] - middle, place % counts.shape[1] - middle


@njit(**OPTIONS)
def weigh(votes, transform, scale, weights, squares):
    """Fill the weights (P,) of votes by their squared distances from the map, which are filled too."""
    a, b, c, d, e, f = transform
    for i in range(votes.shape[1]):
        x = a * votes[0, i] + b * votes[1, i] + c - votes[2, i]
        y = d * votes[0, i] + e * votes[1, i] + f - votes[3, i]
        squares[i] = x * x + y * y
    for i in range(votes.shape[1]):  # most of the time is that of exp, which is faster in single precision
        weights[i] = votes[4, i] * np.exp(np.float32(-squares[i] / scale))


@njit(**OPTIONS)
def fit(votes, weights):
    """The affine map (6 numbers) by weighted least squares."""
    xx = xy = yy = sx = sy = mass = ux = uy = u = vx = vy = v = 0.0
    for i in range(votes.shape[1]):
        weight, x, y = weights[i], votes[0, i], votes[1, i]
        wx, wy = weight * x, weight * y
        xx, xy, yy, sx, sy, mass = xx + wx * x, xy + wx * y, yy + wy * y, sx + wx, sy + wy, mass + weight
        ux, uy, u = ux + wx * votes[2, i], uy + wy * votes[2, i], u + weight * votes[2, i]
        vx, vy, v = vx + wx * votes[3, i], vy + wy * votes[3, i], v + weight * votes[3, i]
    xx, yy, mass = xx + RIDGE, yy + RIDGE, mass + RIDGE
    # the inverse of the symmetric matrix of moments, by its cofactors
    c00, c01, c02 = yy * mass - sy * sy, sx * sy - xy * mass, xy * sy - yy * sx
    c11, c12, c22 = xx * mass - sx * sx, xy * sx - xx * sy, xx * yy - xy * xy
    one = 1 / (xx * c00 + xy * c01 + sx * c02)
    return (
        (c00 * ux + c01 * uy + c02 * u) * one,
        (c01 * ux + c11 * uy + c12 * u) * one,
        (c02 * ux + c12 * uy + c22 * u) * one,
        (c00 * vx + c01 * vy + c02 * v) * one,
        (c01 * vx + c11 * vy + c12 * v) * one,
        (c02 * vx + c12 * vy + c22 * v) * one,
    )


def make_entry(sources: str) -> Any:
    """The compiled function that Python calls; ``sources`` is the digest of the files that it is made of."""

    @njit(**ENTRY)
    def fit_plans(plans, rows, own, other, transforms, inliers, residuals):
        """Fit some rows (n,) of plans (N, Q, P), database patches first, into the three outputs.

        ``own`` (P, 2) and ``other`` (Q, 2) are the positions of the patches.
        """
        sources  # noqa: B018  makes the digest part of the cache's key
        patches = len(own)
        votes, weights, squares = np.empty((5, patches)), np.empty(patches), np.empty(patches)
        best = np.empty(patches, np.int64)
        for i in range(patches):
            votes[0, i], votes[1, i] = own[i, 0], own[i, 1]
        width = int(own[-1, 0] - own[0, 0] + other[-1, 0] - other[0, 0]) + 7
        counts = np.empty((width, width))
        for n in range(len(rows)):
            plan = plans[rows[n]]
            total = cast_votes(plan, other, votes, best)
            x, y = frequent_displacement(votes, counts)
            transform = 1.0, 0.0, float(x), 0.0, 1.0, float(y)
            for tolerance in TOLERANCES:
                weigh(votes, transform, 2 * tolerance * tolerance, weights, squares)
                transform = fit(votes, weights)
            weigh(votes, transform, LAST, weights, squares)
            following = distance = 0.0
            for i in range(patches):
                following, distance = following + weights[i], distance + weights[i] * squares[i]
            move_to_neighbours(plan, best, votes, weights)
            transform = fit(votes, weights)
            for k in range(6):
                transforms[n, k // 3, k % 3] = transform[k]
            inliers[n] = following / max(total, TINY_MASS)
            residuals[n] = np.sqrt(distance / max(following, TINY_MASS))

    return fit_plans


fit_plans = make_entry(SOURCES)


def plan_geometry(plans: np.ndarray, threads: int | None = None, rows: np.ndarray | None = None) -> PatchGeometry:
    """The geometry of plans (N, Q, P), database patches first, float32, as the kernels write them.

    rows: (n,) int64, the plans that are fitted; None for all.
    """
    rows = np.arange(len(plans)) if rows is None else rows
    count, entries = len(rows), plans.shape[1] * plans.shape[2]
    own, other = (read_only_view(grid_positions(patches)) for patches in (plans.shape[2], plans.shape[1]))
    result = PatchGeometry(np.zeros((count, 2, 3), np.float32), *(np.zeros(count, np.float32) for _ in range(2)))
    parts = split_evenly(count, thread_count(threads, count * entries))
    plans, rows = read_only_view(np.ascontiguousarray(plans, np.float32)), read_only_view(rows)

    def work(k: int) -> None:
        fit_plans(plans, rows[parts[k]], own, other, *(array[parts[k]] for array in result))

    if parts:
        with compile_once(fit_plans):
            run_in_threads(work, len(parts))
    return result


def pair_geometry(
    images: Images[np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray] | None,
    transport: Transport,
    solver: Solver,
) -> PatchGeometry:
    """The geometry of N pairs of images out of two sets, in any order; arguments as `fused.score_pairs`.

    Plans are made for some pairs at a time, so that memory does not grow with N.
    """
    queries, candidates = pairs
    order = np.argsort(queries, kind="stable")
    size = max(1, PLAN_FLOATS // plan_entries(images))
    parts = []
    for start in range(0, len(order), size):
        some = order[start : start + size]
        own, other = queries[some], candidates[some]
        given = None if weights is None else (weights[0][own], weights[1][other])
        plan = score_sorted_pairs(images, (own, other), given, transport, solver).plan
        parts.append(plan_geometry(plan, solver.threads))
    back = np.argsort(order)
    return PatchGeometry(*(np.concatenate(fields)[back] for fields in zip(*parts)))


def plan_entries(images: Images[np.ndarray]) -> int:
    """The numbers of a plan, P * Q."""
    return int(images.query_patches.shape[1] * images.database_patches.shape[1])


def score_with_geometry(
    images: Images[np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray] | None,
    transport: Transport,
    solver: Solver,
    choose: Callable[[slice, np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray] | None:
    """The scores of N pairs, and the geometry's scores of those that are chosen, both (N,) float32; -inf for others.

    The plans of all pairs of some queries are kept until it is known which of them are fitted: writing a plan takes a
    twentieth of the time of making it again. Returns None if the plans of a query are too many for that.

    Arguments as `fused.score_pairs`, with sorted queries.
    """
    queries, candidates = pairs
    edges = np.flatnonzero(np.diff(queries, prepend=-1, append=-1))  # where the pairs of a query begin, and the end
    most = PLAN_FLOATS // plan_entries(images)
    if np.diff(edges).max() > most:
        return None
    scores, geometry = np.empty(len(queries), np.float32), np.full(len(queries), -np.inf, np.float32)
    memory = np.empty(min(most, len(queries)) * plan_entries(images), np.float32)
    start = 0
    while start < len(queries):
        part = slice(start, int(edges[np.searchsorted(edges, start + most, "right") - 1]))
        own, other = queries[part], candidates[part]
        given = None if weights is None else (weights[0][own], weights[1][other])
        solved = score_sorted_pairs(images, (own, other), given, transport, solver, memory)
        scores[part] = solved.score
        chosen = choose(part, solved.score)
        geometry[start + chosen] = plan_geometry(solved.plan, solver.threads, chosen).score
        start = part.stop
    return scores, geometry
