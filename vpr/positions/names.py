"""Positions in file names, as in datasets of the field: fields between ``@``.

    @EASTING@NORTHING@ZONE@BAND@LATITUDE@LONGITUDE@...@.jpg     VPR-datasets-downloader (Berton et al.), 14 fields
    @EASTING@NORTHING@.jpg                                      metres of the reference system of --crs
    @LATITUDE@LONGITUDE@.jpg                                    degrees, without --crs or with a --crs in degrees

The first of these is used: UTM with its zone (number and band letter in fields 3 and 4); degrees in fields 5 and 6; the
first two fields in the reference system ``crs``; without ``crs``, the first two fields as degrees if they look like
degrees. In a name of 14 fields the first two are always metres, because the downloader invents metres for datasets
without positions.
"""

import math
import re

from vpr.positions.errors import NoPosition
from vpr.positions.geodesy import (
    are_degrees,
    is_in_band,
    is_unknown,
    metres_between,
    name_fields_to_degrees,
    parse_number,
    to_degrees,
    utm_crs,
    wrong_unit,
)

FIELDS = 14  # fields in a name of the downloader
EASTINGS, NORTHINGS = (100_000, 900_000), (0, 10_000_000)  # of UTM, metres
AGREE_M = 100.0  # maximum distance between two positions in one name
DEGREES = re.compile(r"[+-]?[0-9]{1,4}\.([0-9]+)", re.ASCII)  # may be padded with zeros
DIGITS = 4  # minimum decimal places of one of two numbers that are degrees; metres have fewer
NO_SYSTEM = "its name has metres without a reference system, pass --crs EPSG:... (EPSG:4326 for degrees)"
Position = tuple[float, float]  # latitude and longitude, degrees


def name_position(name: str, crs: str = "") -> Position | None:
    """Latitude and longitude (degrees) in the file name of a photo; None if there are none.

    crs: reference system of the first two fields if the name has no UTM zone. Raises NoPosition for invalid or
    contradictory positions, and MapError for an unknown crs.

    >>> name_position("@47.36@1.6746@night@.jpg")
    (47.36, 1.6746)
    >>> name_position("@543256.96@4178906.70@.jpg") is None
    True
    """
    fields = _split_name(name)
    if not fields:
        return None
    whole = len(fields) >= FIELDS
    first, second, zone, band, latitude, longitude = (*fields, *[""] * 6)[:6]
    x, y = parse_number(first), parse_number(second)
    degrees = _degrees(latitude, longitude, strict=whole)
    if re.fullmatch("[0-9]{1,2}", zone) and band and math.isfinite(x + y) and (x or y):
        return _utm_position(x, y, int(zone), band, degrees)
    if degrees is not None:
        return degrees
    if is_unknown(x, y):
        return None
    are_like_degrees = not whole and look_like_degrees(first, second)
    if crs and math.isfinite(x + y):
        position = name_fields_to_degrees(x, y, crs)
        if not are_degrees(*position) or (are_like_degrees and wrong_unit(y, x, crs)):
            raise NoPosition(f"{first}, {second} in its name is not a position in {crs}")
        return position
    return (x, y) if are_like_degrees else None


def has_metres(name: str) -> bool:
    """Whether a name has two numbers that would be a position with a reference system."""
    first, second, *_ = (*_split_name(name), "", "")
    return math.isfinite(parse_number(first) + parse_number(second)) and not is_unknown(
        parse_number(first), parse_number(second)
    )


def _split_name(name: str) -> list[str]:
    if not name.startswith("@") or name.count("@") < 3:
        return []
    return [field.strip() for field in name.split("@")[1:-1]]


def _degrees(latitude: str, longitude: str, strict: bool) -> Position | None:
    """The position of two texts; None if they are not degrees, or unknown.

    strict: raise NoPosition for two numbers that are not degrees.
    """
    position = parse_number(latitude), parse_number(longitude)
    if are_degrees(*position):
        return None if is_unknown(*position) else position
    if strict and math.isfinite(sum(position)):
        raise NoPosition(f"{latitude}, {longitude} in its name is not a position on Earth")
    return None


def look_like_degrees(first: str, second: str) -> bool:
    """Whether two texts are degrees and not metres: precise to 10 m, and neither is exactly 0."""
    matches = [DEGREES.fullmatch(text) for text in (first, second)]
    x, y = parse_number(first), parse_number(second)
    decimals = max((len(match[1]) for match in matches if match), default=0)
    return all(matches) and are_degrees(x, y) and bool(x and y) and decimals >= DIGITS


def _utm_position(x: float, y: float, zone: int, band: str, degrees: Position | None) -> Position:
    """The position of metres in a UTM zone. A letter N or S may be the band or the hemisphere.

    Raises NoPosition for metres outside of the zone, and if they contradict the degrees.
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
