"""Places as cells of position and heading, in groups that do not touch.

Source: Berton, Masone and Caputo, "Rethinking Visual Geo-localization for Large-Scale Applications" (CosPlace), CVPR
2022, section 3: classes of 10 m and 30 degrees; groups with N = 5 and L = 2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vpr.distill.sampling.places import Photos

CELL_M, CELL_DEG = 10.0, 30.0  # the sides of a cell
APART, TURNS_APART = 5, 2  # cells from one of a group to the next one, along each axis, and in heading
LEAST_PHOTOS = 10  # of a cell, in the published trainings


def group_by_cells(photos: Photos, least: int) -> Photos:
    """The photos whose cell has at least ``least`` of them, with their cells as places. It may be empty.

    Photos without a heading are left out. Cells of one group are at least 40 m apart, or 30 degrees at one position.
    """
    known = photos.take(np.flatnonzero(~np.isnan(photos.heading)))
    east, north = _squares(known)
    turn = np.floor(known.heading.astype(float) % 360 / CELL_DEG).astype(np.int64)
    key = _number_rows(known.city, east, north, turn)
    place, counts = np.unique(key, return_inverse=True, return_counts=True)[1:]
    group = (east % APART * APART + north % APART) * TURNS_APART + turn % TURNS_APART
    return replace(known, place=place, group=group).take(np.flatnonzero(counts[place] >= least))


def square_numbers(photos: Photos) -> np.ndarray:
    """A number (N,) int64 for the square of each photo: the same for the cells of all headings at one position."""
    return _number_rows(photos.city, *_squares(photos))


def _squares(photos: Photos) -> tuple[np.ndarray, np.ndarray]:
    """The squares of the photos, two (N,) int64: counts of `CELL_M` to the east and to the north."""
    east, north = np.floor(photos.utm.T / CELL_M).astype(np.int64)
    return east, north


def _number_rows(*columns: np.ndarray) -> np.ndarray:
    """A number (N,) int64 for each row of some columns (N,) int; equal rows, and no others, have the same number."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        lowest = column.min(initial=0)
        key = key * (column.max(initial=0) - lowest + 1) + column - lowest
    return key
