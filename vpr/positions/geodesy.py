"""Positions: degrees (WGS 84), coordinates in other reference systems, and distances in metres.

A *place* is a point on the ellipsoid in metres from the Earth's centre, (3,). Within 10 km, straight distances between
places equal distances on the ground to 1 mm, everywhere on Earth and without zones.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from vpr.positions.errors import MapError, NoPosition

if TYPE_CHECKING:
    from pyproj import Transformer

DEGREES, CENTRED = "EPSG:4326", "EPSG:4978"
BANDS = "CDEFGHJKLMNPQRSTUVWX"  # letters of UTM latitude bands, from the south; N is the first north of the equator
BAND_DEGREES = 8  # height of a band, degrees of latitude; the first begins at 80 south
# Degrees of longitude and latitude by which positions may exceed the area of their reference system: national tables of
# Norway and Italy have one UTM zone for the whole country.
AREA_MARGIN = 20, 30
UTM_EASTINGS = -1_000_000, 2_000_000  # metres, for the same reason; other values are mostly northings
NULL_ISLAND = 0.2  # degrees; positions this near to 0, 0 are at sea
MOST_KM = 20_040  # half the circumference of the Earth
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
UNSIGNED = r"(\d+(?:\.\d*)?)"
DEGREE_SIGN, MINUTE_SIGN, SECOND_SIGN = r"(?:°|º|deg|d)", r"(?:'|′|’|min|m)", r"(?:\"|″|”|''|sec|s)"
SPACED = re.compile(r"^(\d+)[ :](\d+)[ :]([\d.]+)$")  # degrees, minutes and seconds without their signs
ANGLE = re.compile(
    rf"([+-]?){UNSIGNED}(?:\s*{DEGREE_SIGN}|"
    rf"(?:\s*{DEGREE_SIGN}\s*|\s+){UNSIGNED}\s*{MINUTE_SIGN}\s*(?:{UNSIGNED}\s*{SECOND_SIGN})?)?",
    re.ASCII | re.IGNORECASE,
)  # degrees; degrees and minutes; or degrees, minutes and seconds
SECONDS_AT_END = re.compile(r".*(?:m(?:in)?\s*[\d.,]+\s*s|M[\d.,]+S)")  # the s is the sign of seconds, and not south


def parse_number(text: str) -> float:
    """A decimal number with a point; NaN for any other text.

    Python's ``float`` would read ``4_7`` as 47, and digits of other scripts.

    >>> parse_number(" -47.5"), parse_number("4_7"), parse_number("nan")
    (-47.5, nan, nan)
    """
    text = text.strip()
    return float(text) if NUMBER.fullmatch(text) else math.nan


def parse_angle(text: str, sides: str) -> float:
    r"""An angle in degrees, with a sign or the letter of a hemisphere; NaN for any other text.

    sides: the letters of the positive and the negative hemisphere. Minutes and seconds must be below 60. The last
    number may have a decimal comma. With a letter, spaces or colons may stand for the signs of degrees and minutes. An
    ``s`` at the end is the sign of seconds in ``47d30m12s``, and south in ``47d30m12s S``; ``47°30'12S`` is NaN, since
    it could be either.

    >>> parse_angle("-47.5", "NS"), parse_angle("47 deg 30' 0.00\" S", "NS"), parse_angle("47°75' N", "NS")
    (-47.5, -47.5, nan)
    """
    text = text.strip()
    is_second = bool(SECONDS_AT_END.fullmatch(text))
    text = text.upper()
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    for letter in sides:
        for bare in (text.removeprefix(letter), text.removesuffix(letter)):
            value = math.nan if bare == text else _parse_unlettered(bare.strip())
            if not math.isnan(value):
                contradicts = value < 0 and letter == sides[0]
                return math.nan if contradicts else abs(value) if letter == sides[0] else -abs(value)
    if text.endswith(tuple(sides)) and not is_second:
        return math.nan
    value = parse_number(text)
    return _parse_parts(text) if math.isnan(value) else value


def _parse_unlettered(text: str) -> float:
    """The angle beside the letter of a hemisphere, as `_parse_parts`."""
    spaced = SPACED.fullmatch(text)
    return _parse_parts("{}°{}'{}\"".format(*spaced.groups()) if spaced else text)


def _parse_parts(text: str) -> float:
    """Degrees, with minutes and seconds if they have their signs; NaN for any other text."""
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
    """A transformer between reference systems, easting or longitude first; raises MapError for an unknown system."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        return Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        raise _unknown_crs(source) from error


def to_degrees(easting: float, northing: float, crs: str) -> tuple[float, float]:
    """Latitude and longitude of a point in another reference system.

    NaN if the point is far outside of the system's area, for example if easting and northing are swapped. crs: any
    system that pyproj reads, for example EPSG:32631. Raises MapError for an unknown system, and for a system without
    eastings and northings or degrees.
    """
    is_geographic(crs)
    longitude, latitude = _transformer(crs, DEGREES).transform(easting, northing)
    if not np.isfinite([latitude, longitude]).all() or not _is_in_area(crs, float(latitude), float(longitude)):
        return math.nan, math.nan
    return float(latitude), float(longitude)


def points_to_degrees(points: np.ndarray, crs: str) -> np.ndarray:
    """Eastings and northings (N, 2) as latitudes and longitudes (N, 2), without the checks of `to_degrees`."""
    longitude, latitude = _transformer(crs, DEGREES).transform(*np.asarray(points, np.float64).T)
    return np.stack([latitude, longitude], 1).astype(np.float64).reshape(-1, 2)


def degrees_to_points(degrees: np.ndarray, crs: str) -> np.ndarray:
    """Latitudes and longitudes (N, 2) as eastings and northings (N, 2) of a reference system."""
    latitude, longitude = np.asarray(degrees, np.float64).T
    easting, northing = _transformer(DEGREES, crs).transform(longitude, latitude)
    return np.stack([easting, northing], 1).astype(np.float64).reshape(-1, 2)


def _is_in_area(crs: str, latitude: float, longitude: float, beyond: tuple[float, float] = AREA_MARGIN) -> bool:
    """Whether a position is in the area of use of a reference system, extended by a margin."""
    west, south, east, north = _area(crs)
    width = (east - west) % 360 or 360.0
    east_of_edge = (longitude - west + beyond[0]) % 360  # degrees
    return east_of_edge <= width + 2 * beyond[0] and south - beyond[1] <= latitude <= north + beyond[1]


def wrong_unit(easting: float, northing: float, crs: str) -> str:
    """The unit of two numbers that are not metres of a reference system; empty if they may be metres.

    It is ``degrees``, ``kilometres`` or ``other``. Numbers are kilometres if they are outside of the system's area,
    and a thousand times the numbers are inside.

    >>> wrong_unit(448251.8, 5411932.7, "EPSG:32631"), wrong_unit(448.25, 5411.93, "EPSG:32631")
    ('', 'kilometres')
    """
    if is_geographic(crs):
        return ""
    if are_degrees(northing, easting):  # within 180 m of the origin
        return "degrees"
    latitude, longitude = to_degrees(easting, northing, crs)
    is_at_sea = abs(latitude) < NULL_ISLAND and abs(longitude) < NULL_ISLAND
    is_outside = is_at_sea or not _is_in_area(crs, latitude, longitude, beyond=(0, 0))
    is_small = max(abs(easting), abs(northing)) < MOST_KM
    if is_outside and is_small and are_degrees(*to_degrees(1000 * easting, 1000 * northing, crs)):
        return "kilometres"
    return "other" if _is_utm(crs) and not UTM_EASTINGS[0] <= easting <= UTM_EASTINGS[1] else ""


@cache
def _is_utm(crs: str) -> bool:
    from pyproj import CRS

    return CRS.from_user_input(crs).utm_zone is not None


@cache
def _area(crs: str) -> tuple[float, float, float, float]:
    """West, south, east and north of the area of use of a reference system; the whole Earth if it has none."""
    from pyproj import CRS

    area = CRS.from_user_input(crs).area_of_use
    return (-180.0, -90.0, 180.0, 90.0) if area is None else (area.west, area.south, area.east, area.north)


def name_fields_to_degrees(first: float, second: float, crs: str) -> tuple[float, float]:
    """As `to_degrees`, for two numbers in a file name: easting and northing.

    In a reference system of degrees they are latitude and longitude, for any order of its axes.
    """
    return to_degrees(second, first, crs) if is_geographic(crs) else to_degrees(first, second, crs)


def require_crs(crs: str) -> None:
    """Raise MapError for an unknown reference system, and for one without eastings and northings or degrees."""
    is_geographic(crs)


@cache
def is_geographic(crs: str) -> bool:
    """Whether a reference system has degrees, not metres. Errors as `to_degrees`."""
    from pyproj import CRS
    from pyproj.exceptions import ProjError

    try:
        system = CRS.from_user_input(crs)
    except ProjError as error:
        raise _unknown_crs(crs) from error
    if not (system.is_geographic or system.is_projected):
        raise MapError(f"crs {crs!r} ({system.name}) has no eastings and northings; pass one such as EPSG:32631")
    return bool(system.is_geographic)


def _unknown_crs(crs: str) -> MapError:
    return MapError(f"unknown crs {crs!r}; pass a code such as EPSG:32631 (UTM 31 north)")


def utm_crs(zone: int, letter: str) -> str:
    """The EPSG code of a UTM zone. letter: that of the latitude band.

    Raises NoPosition for an invalid zone or letter.

    >>> utm_crs(10, "S"), utm_crs(56, "H")
    ('EPSG:32610', 'EPSG:32756')
    """
    letter = letter.upper()
    if not 1 <= zone <= 60 or len(letter) != 1 or letter not in BANDS:
        raise NoPosition(f"there is no UTM zone {zone}{letter}; zones go from 1 to 60, bands from C to X")
    return f"EPSG:{32600 if letter >= 'N' else 32700}".removesuffix("00") + f"{zone:02d}"


def are_degrees(latitude: float, longitude: float) -> bool:
    """Whether two numbers are a valid latitude and longitude."""
    return bool(abs(latitude) <= 90 and abs(longitude) <= 180)  # False for NaN


def is_unknown(latitude: float, longitude: float) -> bool:
    """Whether a position is exactly 0, 0, which cameras and tables use for "unknown"."""
    return latitude == 0 and longitude == 0


def is_in_band(latitude: float, letter: str, beyond: float = 1.0) -> bool:
    """Whether a latitude is in the UTM band of a letter, or at most ``beyond`` degrees outside.

    >>> is_in_band(37.7, "S"), is_in_band(67.2, "S"), is_in_band(83.0, "X")
    (True, False, True)
    """
    south = -80 + BAND_DEGREES * BANDS.index(letter.upper())
    return south - beyond <= latitude <= south + (12 if letter.upper() == "X" else BAND_DEGREES) + beyond


def metres_between(first: tuple[float, float], second: tuple[float, float]) -> float:
    """The distance of two positions in degrees, metres."""
    places = to_places(*np.array([first, second]).T)
    return float(np.linalg.norm(places[0] - places[1]))


def to_places(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Latitudes and longitudes (N,), degrees, as places (N, 3), metres.

    >>> to_places(np.array([0.0]), np.array([0.0])).round(1).tolist()
    [[6378137.0, 0.0, 0.0]]
    """
    x, y, z = _transformer("EPSG:4979", CENTRED).transform(longitude, latitude, np.zeros(len(latitude)))
    return np.stack([x, y, z], 1).astype(np.float64).reshape(-1, 3)


def places_to_degrees(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 3) as latitudes and longitudes (N,), degrees; points off the ground are projected onto it."""
    longitude, latitude, _ = _transformer(CENTRED, "EPSG:4979").transform(*np.asarray(places, np.float64).T)
    return np.asarray(latitude), np.asarray(longitude)
