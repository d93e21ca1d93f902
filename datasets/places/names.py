"""Positions and headings in the file names of a set: the fields between ``@``.

    @EASTING@NORTHING@ZONE@BAND@LATITUDE@LONGITUDE@PANO@TILE@HEADING@PITCH@ROLL@HEIGHT@TIMESTAMP@NOTE@.jpg

The form is that of VPR-datasets-downloader (Berton et al.). Every field after the first two may be empty or missing.
Metres without a zone are those of a plane that all photos share: sets such as Nordland have metres by frame number.
Short names have degrees, as on maps (`vpr.positions.names`), if most of the set look like degrees (`are_in_degrees`).
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from vpr.base.progress import progress
from vpr.datasets.errors import DatasetError
from vpr.datasets.places.coordinates import DEGREES, UNKNOWN, Coordinates
from vpr.positions.errors import NoPosition
from vpr.positions.geodesy import (
    are_degrees,
    is_geographic,
    is_in_band,
    is_unknown,
    parse_number,
    points_to_degrees,
    utm_crs,
)
from vpr.positions.names import FIELDS, look_like_degrees

HEADING = 8  # number of its field
MOST = 2 / 3  # of the short names of a set that look like degrees, if it has degrees
NEEDED = 9  # fields that are read
SHOWN = 100_000  # names from which on reading them shows its progress
ZONE = re.compile("[0-9]{1,2}", re.ASCII)


def name_fields(name: str) -> list[str]:
    """The fields of a file name, without its ending; empty if it has fewer than two.

    >>> name_fields("@0543256.96@-12.5@@@@@7@.jpg")[:3]
    ['0543256.96', '-12.5', '']
    """
    if name.count("@") < 2:
        return []
    stem, _, ending = name.rpartition(".")
    fields = (stem if "@" not in ending and stem else name).split("@")[1:]
    return [field.strip() for field in fields] if len(fields) >= 2 else []


def read_names(names: Sequence[str], crs: str = "", in_degrees: bool = False) -> tuple[Coordinates, np.ndarray]:
    """The positions in file names, and the headings (N,) in degrees, NaN if a name has none.

    crs: reference system of metres without a zone; empty for a plane of its own. in_degrees: whether short names have
    degrees, by `are_in_degrees`. A photo whose name has no two numbers has no position, nor one at 0, 0 in degrees.
    """
    points, angles = (array("d", [math.nan]) * (2 * len(names)) for _ in range(2))  # faster row by row than numpy's
    looks, kinds = array("d", [math.nan]) * len(names), array("q", [UNKNOWN]) * len(names)
    groups: dict[tuple[str, str], array[int]] = {}
    title = "reading names" if len(names) > SHOWN else None
    for row, name in enumerate(progress(names, title=title, unit="photo")):
        fields = name_fields(name)
        point = (parse_number(fields[0]), parse_number(fields[1])) if fields else (math.nan, math.nan)
        if not math.isfinite(sum(point)):
            given = _given_degrees(*(*fields, *[""] * NEEDED)[4:6])
            angles[2 * row], angles[2 * row + 1] = given
            kinds[row] = UNKNOWN if math.isnan(given[0]) else DEGREES
            continue
        if in_degrees and len(fields) < FIELDS:
            if not is_unknown(*point):
                angles[2 * row], angles[2 * row + 1] = point
                kinds[row] = DEGREES
            continue
        zone, band, latitude, longitude, *_, heading = (*fields[2:NEEDED], *[""] * NEEDED)[: NEEDED - 2]
        points[2 * row], points[2 * row + 1] = point
        angles[2 * row], angles[2 * row + 1] = _given_degrees(latitude, longitude)
        looks[row] = parse_number(heading) if heading else math.nan
        groups.setdefault((zone, band) if ZONE.fullmatch(zone) and band else ("", ""), array("q")).append(row)
    metres, degrees = (np.array(column).reshape(-1, 2) for column in (points, angles))
    headings, system = np.array(looks), np.array(kinds)
    systems: dict[str, int] = {}
    for (zone, band), members in groups.items():
        chosen = np.array(members)
        if not zone and crs and is_geographic(crs):
            degrees[chosen], system[chosen] = metres[chosen], DEGREES
            metres[chosen] = np.nan
            continue
        for of_part, part in _systems(zone, band, metres[chosen], degrees[chosen]):
            system[chosen[part]] = systems.setdefault(of_part or crs, len(systems))
    return Coordinates(metres, degrees, system, tuple(systems)), headings


def are_in_degrees(names: Iterable[str]) -> bool:
    """Whether the first two fields of the short names of a set, both sides together, are degrees.

    They are if `MOST` of them look like degrees, and all lie in the range of degrees. The full form always has metres.
    Raises DatasetError if some look like degrees, and the others are too many or out of range.
    """
    count = alike = 0
    like = other = outside = ""
    for name in names:
        if name.count("@") >= FIELDS:  # not short: each @ begins a field
            continue
        fields = name_fields(name)
        point = (parse_number(fields[0]), parse_number(fields[1])) if 0 < len(fields) < FIELDS else (math.nan, math.nan)
        if not math.isfinite(sum(point)) or is_unknown(*point):
            continue
        count += 1
        if look_like_degrees(fields[0], fields[1]):
            alike, like = alike + 1, like or name
        else:
            other = other or name
            outside = outside or ("" if are_degrees(*point) else name)
    if alike and (outside or alike < MOST * count):
        beside = (
            f"{outside} is out of their range" if outside else f"{other} does not, and {count - alike} of {count} names"
        )
        remedy = "write positions of one kind, or if all are metres, pass --crs EPSG:..."
        raise DatasetError(f"{like} looks like degrees, but {beside}", thing=like, remedy=remedy)
    return bool(alike)


def _given_degrees(latitude: str, longitude: str) -> tuple[float, float]:
    """The degrees in two fields; NaN if they are empty, unknown or not on Earth."""
    if latitude and longitude:
        position = parse_number(latitude), parse_number(longitude)
        if are_degrees(*position) and not is_unknown(*position):
            return position
    return math.nan, math.nan


def _systems(zone: str, band: str, metres: np.ndarray, degrees: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The reference systems of photos with one zone and letter, each with its photos (N,) bool.

    The letter S is a band of the north, or the southern hemisphere: the latitude in the name decides, or else the one
    that the metres have in the north.
    """
    everyone = np.ones(len(metres), bool)
    try:
        system = utm_crs(int(zone), band) if zone else ""
    except NoPosition:
        return [("", everyone)]
    if band.upper() != "S":
        return [(system, everyone)]
    latitude = points_to_degrees(metres, system)[:, 0]
    north = np.array([is_in_band(value, band) if math.isfinite(value) else False for value in latitude.tolist()], bool)
    north = np.where(np.isnan(degrees[:, 0]), north, degrees[:, 0] >= 0)
    return [(name, part) for name, part in ((system, north), (utm_crs(int(zone), "M"), ~north)) if part.any()]
