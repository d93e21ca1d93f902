"""Positions: degrees (WGS 84), coordinates of other reference systems, and metres between them.

A *place* is a point of the ellipsoid in metres from the Earth's centre, (3,). Straight distances between places are
those on the ground to 1 mm within 10 km, everywhere, without zones or seams.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from vpr.maps.errors import MapError, NoPosition

if TYPE_CHECKING:
    from pyproj import Transformer

DEGREES, CENTRED = "EPSG:4326", "EPSG:4978"
BANDS = "CDEFGHJKLMNPQRSTUVWX"  # letters of UTM latitude bands, from the south; N is the first north of the equator
BAND = 8  # degrees of latitude of each, from 80 south on
BEYOND = 20, 30  # degrees of longitude and latitude that a system is used beyond its area: a national table of Norway
# or Italy has one UTM zone for the whole country
UTM_EASTINGS = -1_000_000, 2_000_000  # metres; likewise. Others are mostly a northing
NULL_ISLAND = 0.2  # degrees; this near to 0, 0 there is only sea
MOST_KM = 20_040  # from one side of the Earth to the other
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
UNSIGNED = r"(\d+(?:\.\d*)?)"
ANGLE = re.compile(
    rf"([+-]?){UNSIGNED}\s*(?:°|º|deg|d)?\s*(?:{UNSIGNED}\s*(?:'|′|’|min|m)\s*(?:{UNSIGNED}\s*(?:\"|″|”|''|sec|s))?)?",
    re.ASCII | re.IGNORECASE,
)  # degrees, or degrees and minutes, or those and seconds


def number_in(text: str) -> float:
    """A number in digits, with a point; NaN for any other text.

    Python reads ``4_7`` as 47, and digits of other scripts.

    >>> number_in(" -47.5"), number_in("4_7"), number_in("nan")
    (-47.5, nan, nan)
    """
    text = text.strip()
    return float(text) if NUMBER.fullmatch(text) else math.nan


def angle_in(text: str, sides: str) -> float:
    r"""Degrees in a text, signed or with their hemisphere; NaN for any other text.

    sides: the letters of the positive and the negative hemisphere. Minutes and seconds are below 60.

    >>> angle_in("-47.5", "NS"), angle_in("47 deg 30' 0.00\" S", "NS"), angle_in("47°75' N", "NS")
    (-47.5, -47.5, nan)
    """
    text = text.strip().upper()
    letters = [side for side in sides if text.startswith(side) or text.endswith(side)]
    if not letters:
        value = number_in(text)
        return _angle(text) if math.isnan(value) else value
    value = _angle(text.removeprefix(letters[0]).removesuffix(letters[0]).strip())
    if len(letters) > 1 or (value < 0 and letters[0] == sides[0]):
        return math.nan
    return abs(value) if letters[0] == sides[0] else -abs(value)


def _angle(text: str) -> float:
    found = ANGLE.fullmatch(text)
    if found is None:
        return math.nan
    sign, degrees, *parts = found.groups()
    minutes, seconds = (float(part or 0) for part in parts)
    if max(minutes, seconds) >= 60 or (float(degrees) % 1 and minutes) or (minutes % 1 and seconds):
        return math.nan
    value = float(degrees) + minutes / 60 + seconds / 3600
    return -value if sign == "-" else value


@cache
def _transformer(source: str, target: str) -> Transformer:
    """Between two reference systems, easting or longitude first; raises MapError for one that is not known."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        return Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        raise _unknown(source) from error


def to_degrees(easting: float, northing: float, crs: str) -> tuple[float, float]:
    """Latitude and longitude of a point in another reference system; NaN where it lies far outside of its area, as with
    easting and northing swapped.

    crs: whatever pyproj reads, for example EPSG:32631. Raises MapError for one that is not known, or has no eastings
    and northings or degrees.
    """
    _is_geographic(crs)
    longitude, latitude = _transformer(crs, DEGREES).transform(easting, northing)
    if not np.isfinite([latitude, longitude]).all() or not _is_in_area(crs, float(latitude), float(longitude)):
        return math.nan, math.nan
    return float(latitude), float(longitude)


def _is_in_area(crs: str, latitude: float, longitude: float, beyond: tuple[float, float] = BEYOND) -> bool:
    """Whether a place is in the area that a reference system is made for, or not far from it."""
    west, south, east, north = _area(crs)
    width = (east - west) % 360 or 360.0
    ahead = (longitude - west + beyond[0]) % 360  # degrees eastwards of the edge
    return ahead <= width + 2 * beyond[0] and south - beyond[1] <= latitude <= north + beyond[1]


def wrong_unit(easting: float, northing: float, crs: str) -> str:
    """The unit of two numbers that cannot be metres of a reference system: ``degrees``, ``kilometres`` or ``no
    metres``; empty if they can be.

    Numbers are kilometres if they lie outside of the system's area and a thousand times as much does not.

    >>> wrong_unit(448251.8, 5411932.7, "EPSG:32631"), wrong_unit(448.25, 5411.93, "EPSG:32631")
    ('', 'kilometres')
    """
    if _is_geographic(crs):
        return ""
    if are_degrees(northing, easting):  # within 180 m of the origin
        return "degrees"
    latitude, longitude = to_degrees(easting, northing, crs)
    is_at_sea = abs(latitude) < NULL_ISLAND and abs(longitude) < NULL_ISLAND
    is_outside = is_at_sea or not _is_in_area(crs, latitude, longitude, beyond=(0, 0))
    is_small = max(abs(easting), abs(northing)) < MOST_KM
    if is_outside and is_small and are_degrees(*to_degrees(1000 * easting, 1000 * northing, crs)):
        return "kilometres"
    return "no metres" if _is_utm(crs) and not UTM_EASTINGS[0] <= easting <= UTM_EASTINGS[1] else ""


@cache
def _is_utm(crs: str) -> bool:
    from pyproj import CRS

    return CRS.from_user_input(crs).utm_zone is not None


@cache
def _area(crs: str) -> tuple[float, float, float, float]:
    """West, south, east and north of the area that a reference system is made for; of all where it says none."""
    from pyproj import CRS

    area = CRS.from_user_input(crs).area_of_use
    return (-180.0, -90.0, 180.0, 90.0) if area is None else (area.west, area.south, area.east, area.north)


def named_to_degrees(first: float, second: float, crs: str) -> tuple[float, float]:
    """As `to_degrees`, of two numbers as names of files have them: easting and northing, or, where the reference system
    is one of degrees, latitude and longitude, whatever the order of its axes."""
    return to_degrees(second, first, crs) if _is_geographic(crs) else to_degrees(first, second, crs)


def require_crs(crs: str) -> None:
    """Raise MapError for a reference system that is not known, or has no eastings and northings or degrees."""
    _is_geographic(crs)


@cache
def _is_geographic(crs: str) -> bool:
    from pyproj import CRS
    from pyproj.exceptions import ProjError

    try:
        system = CRS.from_user_input(crs)
    except ProjError as error:
        raise _unknown(crs) from error
    if not (system.is_geographic or system.is_projected):
        raise MapError(f"crs {crs!r} ({system.name}) has no eastings and northings; give one such as EPSG:32631")
    return bool(system.is_geographic)


def _unknown(crs: str) -> MapError:
    return MapError(f"unknown crs {crs!r}; give a code such as EPSG:32631 (UTM 31 north)")


def utm_crs(zone: int, letter: str) -> str:
    """The code of a UTM zone: its number and the letter of its latitude band.

    Raises NoPosition for a zone that is none.

    >>> utm_crs(10, "S"), utm_crs(56, "H")
    ('EPSG:32610', 'EPSG:32756')
    """
    letter = letter.upper()
    if not 1 <= zone <= 60 or len(letter) != 1 or letter not in BANDS:
        raise NoPosition(f"there is no UTM zone {zone}{letter}; zones go from 1 to 60, bands from C to X")
    return f"EPSG:{32600 if letter >= 'N' else 32700}".removesuffix("00") + f"{zone:02d}"


def are_degrees(latitude: float, longitude: float) -> bool:
    """Whether two numbers are a latitude and a longitude."""
    return bool(np.isfinite([latitude, longitude]).all()) and abs(latitude) <= 90 and abs(longitude) <= 180


def is_unknown(latitude: float, longitude: float) -> bool:
    """Whether a latitude and a longitude are exactly 0, 0, which cameras and tables have for "unknown"."""
    return latitude == 0 and longitude == 0


def is_in_band(latitude: float, letter: str, beyond: float = 1.0) -> bool:
    """Whether a latitude lies in the UTM band of a letter, or not far beyond it.

    >>> is_in_band(37.7, "S"), is_in_band(67.2, "S"), is_in_band(83.0, "X")
    (True, False, True)
    """
    south = -80 + BAND * BANDS.index(letter.upper())
    return south - beyond <= latitude <= south + (12 if letter.upper() == "X" else BAND) + beyond


def metres_between(first: tuple[float, float], second: tuple[float, float]) -> float:
    """The straight distance of two positions in degrees."""
    places = places_of(*np.array([first, second]).T)
    return float(np.linalg.norm(places[0] - places[1]))


def places_of(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Degrees (N,) and (N,) to places (N, 3), metres.

    >>> places_of(np.array([0.0]), np.array([0.0])).round(1).tolist()
    [[6378137.0, 0.0, 0.0]]
    """
    x, y, z = _transformer("EPSG:4979", CENTRED).transform(longitude, latitude, np.zeros(len(latitude)))
    return np.stack([x, y, z], 1).astype(np.float64).reshape(-1, 3)


def degrees_of(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 3) to latitudes and longitudes (N,); points above or below the ground are set upon it."""
    longitude, latitude, _ = _transformer(CENTRED, "EPSG:4979").transform(*np.asarray(places, np.float64).T)
    return np.asarray(latitude), np.asarray(longitude)
