"""Where the photos of a set were taken: metres on a plane, or degrees, and how far two photos are apart.

File names have metres of a UTM zone, or metres by frame number. Lists and EXIF have degrees. The distance of two photos
of one plane is that of their metres, as in the field's own code. For photos of two zones, or with degrees, it is
measured on the ellipsoid, so that no zone border lies between neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr.positions.geodesy import degrees_to_points, points_to_degrees, to_places

APART_M = 1e7  # metres between regions on one plane
REGION_GAP = 1.0  # degrees of longitude or latitude without a photo, between two regions
UNKNOWN, DEGREES = -2, -1  # in `Coordinates.system`


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The positions of N photos."""

    metres: np.ndarray  # (N, 2) easting and northing; NaN if there are only degrees
    degrees: np.ndarray  # (N, 2) latitude and longitude; NaN if they are not given
    system: np.ndarray  # (N,) int: of the metres, the number of its name; `DEGREES` or `UNKNOWN` without metres
    systems: tuple[str, ...]  # names of reference systems; empty for a plane without one

    def __len__(self) -> int:
        return len(self.metres)

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: whether a photo has a position."""
        return np.asarray(self.system != UNKNOWN)

    def take(self, rows: np.ndarray) -> Coordinates:
        """The positions of some photos (R,)."""
        return Coordinates(self.metres[rows], self.degrees[rows], self.system[rows], self.systems)

    def used_systems(self) -> set[str]:
        """The reference systems of the metres of any photo."""
        return {self.systems[number] for number in np.unique(self.system[self.system >= 0]).tolist()}

    def all_degrees(self) -> np.ndarray:
        """(N, 2) latitude and longitude, NaN if unknown: computed from the metres, because names round degrees."""
        result: np.ndarray = self.degrees.copy()
        for number in np.unique(self.system[self.system >= 0]).tolist():
            rows = np.flatnonzero(self.system == number)
            if self.systems[number]:
                computed = points_to_degrees(self.metres[rows], self.systems[number])
                result[rows] = np.where(np.isfinite(computed).all(1, keepdims=True), computed, result[rows])
        return result

    @classmethod
    def unknown(cls, count: int) -> Coordinates:
        """Positions of photos that have none."""
        nothing = np.full((count, 2), np.nan)
        return cls(nothing, nothing.copy(), np.full(count, UNKNOWN), ())

    @classmethod
    def of_degrees(cls, positions: Sequence[tuple[float, float] | None]) -> Coordinates:
        """Positions of photos by latitude and longitude; None for a photo without."""
        degrees = np.array([(np.nan, np.nan) if one is None else one for one in positions], float).reshape(-1, 2)
        system = np.where(np.isnan(degrees).any(1), UNKNOWN, DEGREES)
        return cls(np.full((len(degrees), 2), np.nan), degrees, system, ())


@dataclass(frozen=True, eq=False)
class CommonPlane:
    """The positions of queries and database, comparable with each other."""

    queries: np.ndarray  # (Q, 2) metres; regions that are far apart have planes of their own
    database: np.ndarray  # (N, 2)
    query_ground: np.ndarray | None = None  # (Q, 3) metres from the centre of the Earth; None on one plane
    database_ground: np.ndarray | None = None  # (N, 3)
    query_system: np.ndarray | None = None  # (Q,) numbers of zones, below 0 for degrees; None on one plane
    database_system: np.ndarray | None = None  # (N,)
    query_metres: np.ndarray | None = None  # (Q, 2) in the zone of each; None on one plane
    database_metres: np.ndarray | None = None

    @property
    def is_flat(self) -> bool:
        """Whether all metres are of one plane."""
        return self.query_ground is None


def common_plane(queries: Coordinates, database: Coordinates) -> CommonPlane | None:
    """Both sides in one frame; None if metres without a reference system are beside anything else.

    All photos must have a position.
    """
    systems = queries.used_systems() | database.used_systems()
    with_degrees = bool((queries.system == DEGREES).any() or (database.system == DEGREES).any())
    if len(systems - {""}) <= 1 and not with_degrees:  # names without a zone are of the only zone
        return CommonPlane(queries.metres, database.metres)
    sides = queries.all_degrees(), database.all_degrees()
    if np.isnan(sides[0]).any() or np.isnan(sides[1]).any():
        return None
    names = {name: number for number, name in enumerate(sorted(systems))}
    numbers = [
        np.array([*(names.get(name, DEGREES) for name in side.systems), DEGREES])[np.maximum(side.system, DEGREES)]
        for side in (queries, database)
    ]
    plane = region_planes(np.concatenate(sides))
    ground = to_places(*np.concatenate(sides).T)
    cut = len(queries)
    return CommonPlane(
        plane[:cut], plane[cut:], ground[:cut], ground[cut:], numbers[0], numbers[1], queries.metres, database.metres
    )


def region_planes(degrees: np.ndarray) -> np.ndarray:
    """Latitudes and longitudes (N, 2) on planes (N, 2), metres: a UTM plane for each region, with `APART_M` between.

    Regions are split at gaps of longitude, and then of latitude.
    """
    region = np.zeros(len(degrees), np.int64)
    for axis in (1, 0):
        region = _split(region, degrees[:, axis])
    plane = np.empty((len(degrees), 2))
    for number in range(int(region.max(initial=-1)) + 1):
        rows = np.flatnonzero(region == number)
        zone = int((np.median(degrees[rows, 1]) + 180) // 6) % 60 + 1
        plane[rows] = degrees_to_points(degrees[rows], f"EPSG:{32600 + zone}")
        plane[rows, 0] += APART_M * number
    return plane


def _split(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The groups (N,), split wherever neighbouring values are more than `REGION_GAP` apart, numbered from 0."""
    order = np.lexsort((values, groups))
    fresh = (np.diff(groups[order]) != 0) | (np.diff(values[order]) > REGION_GAP)
    result = np.empty_like(groups)
    result[order] = np.concatenate([[0], np.cumsum(fresh)]) if len(order) else 0
    return result
