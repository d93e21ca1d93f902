"""Positions in file names, as data sets of the field have them: fields between ``@``.

    @EASTING@NORTHING@ZONE@BAND@LATITUDE@LONGITUDE@...@.jpg     VPR-datasets-downloader (Berton et al.), 14 fields
    @EASTING@NORTHING@.jpg                                      metres of the reference system of --crs
    @LATITUDE@LONGITUDE@.jpg                                    degrees, without --crs or of one in degrees

The first that holds is taken: UTM with its zone (number and band letter in fields 3 and 4); degrees in fields 5 and 6;
with a ``crs`` the first two fields in it; without, the first two fields as degrees if they look like degrees. In a name
of 14 fields the first two are metres, which the downloader makes up for data sets without positions.
"""

import math
import re

from vpr.maps.errors import NoPosition
from vpr.maps.geodesy import (
    are_degrees,
    is_in_band,
    is_unknown,
    metres_between,
    named_to_degrees,
    number_in,
    to_degrees,
    utm_crs,
    wrong_unit,
)

FIELDS = 14  # of a name of the downloader
EASTINGS, NORTHINGS = (100_000, 900_000), (0, 10_000_000)  # of UTM, metres
AGREE_M = 100.0  # between two positions of one photo that say the same
DEGREES = re.compile(r"[+-]?[0-9]{1,4}\.([0-9]+)", re.ASCII)  # padded with zeros or not
DIGITS = 4  # behind the point of one of two numbers that are degrees; metres have fewer
METRES_OF_NO_SYSTEM = "its name has metres of no known system, pass --crs EPSG:... (EPSG:4326 for degrees)"
Position = tuple[float, float]  # latitude and longitude, degrees


def name_position(name: str, crs: str = "") -> Position | None:
    """Latitude and longitude (degrees) in a photo's file name; None where there are none.

    crs: of the first two fields, where the name has no UTM zone. Raises NoPosition for numbers that cannot be a
    position, or say two, and MapError for a crs that is none.

    >>> name_position("@47.36@1.6746@night@.jpg")
    (47.36, 1.6746)
    >>> name_position("@543256.96@4178906.70@.jpg") is None
    True
    """
    fields = _fields(name)
    if not fields:
        return None
    whole = len(fields) >= FIELDS
    first, second, zone, band, latitude, longitude = (*fields, *[""] * 6)[:6]
    x, y = number_in(first), number_in(second)
    degrees = _degrees(latitude, longitude, strict=whole)
    if re.fullmatch("[0-9]{1,2}", zone) and band and math.isfinite(x + y) and (x or y):
        return _utm(x, y, int(zone), band, degrees)
    if degrees is not None:
        return degrees
    if is_unknown(x, y):
        return None
    look_like_degrees = not whole and _are_degrees(first, second)
    if crs and math.isfinite(x + y):
        found = named_to_degrees(x, y, crs)
        if not are_degrees(*found) or (look_like_degrees and wrong_unit(y, x, crs)):
            raise NoPosition(f"{first}, {second} in its name is no position in {crs}")
        return found
    return (x, y) if look_like_degrees else None


def has_metres(name: str) -> bool:
    """Whether a name has two numbers that a reference system would make a position."""
    first, second, *_ = (*_fields(name), "", "")
    return math.isfinite(number_in(first) + number_in(second)) and not is_unknown(number_in(first), number_in(second))


def _fields(name: str) -> list[str]:
    if not name.startswith("@") or name.count("@") < 3:
        return []
    return [field.strip() for field in name.split("@")[1:-1]]


def _degrees(latitude: str, longitude: str, strict: bool) -> Position | None:
    """strict: raise NoPosition for two numbers that are no degrees."""
    found = number_in(latitude), number_in(longitude)
    if are_degrees(*found):
        return None if is_unknown(*found) else found
    if strict and math.isfinite(sum(found)):
        raise NoPosition(f"{latitude}, {longitude} in its name is no position on Earth")
    return None


def _are_degrees(first: str, second: str) -> bool:
    """Whether two texts are degrees and not metres: written to 10 m, and neither exactly 0."""
    found = [DEGREES.fullmatch(text) for text in (first, second)]
    x, y = number_in(first), number_in(second)
    return all(found) and are_degrees(x, y) and bool(x and y) and max(len(one[1]) for one in found if one) >= DIGITS


def _utm(x: float, y: float, zone: int, band: str, degrees: Position | None) -> Position:
    """Metres of a UTM zone; a letter N or S that is no band there is the hemisphere.

    Raises NoPosition where that is no place in the zone, or another one than the degrees say.
    """
    system, letter = utm_crs(zone, band), band.upper()
    if not (EASTINGS[0] <= x <= EASTINGS[1] and NORTHINGS[0] <= y <= NORTHINGS[1]):
        raise NoPosition(f"{x:g}, {y:g} in its name lies in no UTM zone")
    readings = [to_degrees(x, y, system)]
    if not is_in_band(readings[0][0], letter):
        readings.clear()
    if letter in "NS":
        readings.append(to_degrees(x, y, utm_crs(zone, "M" if letter == "S" else "N")))
    readings = [reading for reading in readings if are_degrees(*reading)]
    if not readings:
        raise NoPosition(f"{x:g}, {y:g} in its name lies outside of band {zone}{letter}")
    if degrees is None:
        return readings[0]
    apart = [metres_between(reading, degrees) for reading in readings]
    if min(apart) > AGREE_M:
        raise NoPosition(f"the metres in its name lie {min(apart) / 1000:.3g} km from its degrees")
    return readings[apart.index(min(apart))]
