"""Headings of training photos: the compass angle, or else the course of the drive.

Photos without a heading are positives of all photos near them, also of those that look the other way. So a heading is
found if the data have one, and photos of several cameras at one point are not used without.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from vpr.datasets.errors import DatasetError
from vpr.datasets.msls.metadata import VIEW_DIRECTIONS
from vpr.distill.settings import UnknownHeadings

PLACEHOLDER_PHOTOS = 20  # from this number on, the same compass angle for all photos is none
POINT_M = 1.0  # photos of one drive nearer than this stand at one point
LEAST_MOVE_M = 2.0  # between the photos before and after, for a course
LONGEST_STEP_M = 50.0  # between two photos in a row, for a course; what is longer is not driven
CAMERAS = 0.5  # share of photos that stand at one point with others from which on a drive has several cameras
MOST_WITHOUT_HEADING = 0.5  # share of photos that may be left out
TURNS = {VIEW_DIRECTIONS.index("Forward"): 0.0, VIEW_DIRECTIONS.index("Backward"): 180.0}  # degrees, from the course


def known_headings(compass: np.ndarray | None, count: int) -> np.ndarray:
    """The compass angles (N,) float32 degrees, NaN if unknown.

    compass: (N,) or None. The same angle for `PLACEHOLDER_PHOTOS` or more, all of them, counts as unknown.
    """
    if compass is None or (count >= PLACEHOLDER_PHOTOS and len(np.unique(compass)) == 1):
        return np.full(count, np.nan, np.float32)
    return compass


def courses(utm: np.ndarray, drive: np.ndarray, view_direction: np.ndarray | None) -> np.ndarray:
    """Headings (N,) float32 degrees clockwise from north, from the way of each drive; NaN if they cannot be told.

    utm: (N, 2) metres, in the order of each drive. drive: (N,) numbers; photos of a drive are consecutive.
    view_direction: (N,) indices of `VIEW_DIRECTIONS`. The course goes from the photo before to the photo after. Cameras
    that look backward are turned by 180 degrees; those that look sideways have no heading.
    """
    count = len(utm)
    numbers = np.arange(count)
    joined = drive[1:] == drive[:-1]
    before, after = numbers - np.append(False, joined), numbers + np.append(joined, False)
    way = utm[after] - utm[before]
    steps = np.linalg.norm([utm[after] - utm, utm - utm[before]], axis=2).max(0, initial=0)
    moved = np.linalg.norm(way, axis=1)
    course = np.degrees(np.arctan2(way[:, 0], way[:, 1])) % 360
    turn = np.full(count, np.nan)
    if view_direction is not None:
        for direction, degrees in TURNS.items():
            turn[view_direction == direction] = degrees
    told = (moved >= LEAST_MOVE_M) & (steps <= LONGEST_STEP_M)
    return np.where(told, (course + turn) % 360, np.nan).astype(np.float32)


def ambiguous_views(
    heading: np.ndarray, utm: np.ndarray, drive: np.ndarray, rule: UnknownHeadings, where: str, remedy: str
) -> np.ndarray:
    """(N,) bool: the photos that are left out, because they have no heading and their drive has several cameras.

    heading: (N,) degrees, NaN if unknown. utm, drive: as in `of_several_cameras`. rule: "any" leaves none out. where,
    remedy: for the error. Raises DatasetError if most photos are of this kind.
    """
    unknown = np.isnan(heading)
    if rule == "any" or not unknown.any():
        return np.zeros(len(heading), bool)
    several: np.ndarray = unknown & of_several_cameras(utm, drive)
    if several.mean() > MOST_WITHOUT_HEADING:
        raise DatasetError(
            f"{where}: {several.sum()} of {len(heading)} photos stand at one point with others of their drive and "
            "have no heading, so photos of different directions would count as one place",
            thing=where,
            remedy=f"{remedy}, keep one photo a point, or pass --mining tuples --unknown-headings any, which takes the "
            "most similar photo as positive",
        )
    return several


def of_several_cameras(utm: np.ndarray, drive: np.ndarray) -> np.ndarray:
    """(N,) bool: whether a photo belongs to a drive most of whose photos stand at one point with others of it.

    Such a drive has several cameras, which look in different directions.
    """
    pairs = cKDTree(utm).query_pairs(POINT_M, output_type="ndarray") if len(utm) else np.empty((0, 2), int)
    pairs = pairs[drive[pairs[:, 0]] == drive[pairs[:, 1]]]
    shared = np.zeros(len(utm), bool)
    shared[pairs.ravel()] = True
    numbers, rows, counts = np.unique(drive, return_inverse=True, return_counts=True)
    share = np.bincount(rows, shared, minlength=len(numbers)) / np.maximum(counts, 1)
    several: np.ndarray = share[rows] > CAMERAS
    return several
