"""Positions in file names, as data sets of the field have them: fields between ``@``.

    @EASTING@NORTHING@ZONE@BAND@LATITUDE@LONGITUDE@...@.jpg     VPR-datasets-downloader (Berton et al.)
    @EASTING@NORTHING@.jpg                                      metres of the reference system of --crs
    @LATITUDE@LONGITUDE@.jpg                                    degrees, without --crs or of one in degrees

The first that holds is taken: UTM with its zone (number and band letter in fields 3 and 4); degrees in fields 5 and 6;
with a ``crs`` the first two fields in it; without, the first two fields as degrees where they may be.
"""

import math

from vpr.maps.geodesy import are_degrees, named_to_degrees, to_degrees, utm_crs


def name_position(name: str, crs: str = "") -> tuple[float, float] | None:
    """Latitude and longitude (degrees) in a photo's file name; None where there are none.

    crs: of the first two fields, where the name has no UTM zone. Raises MapError for a zone or a crs that is none.

    >>> name_position("@47.36@1.6746@night@.jpg")
    (47.36, 1.6746)
    >>> name_position("@543256.96@4178906.70@.jpg") is None
    True
    """
    if not name.startswith("@") or name.count("@") < 3:
        return None
    fields = [*name.split("@")[1:-1], *[""] * 6]
    first, second, zone, band = (field.strip() for field in fields[:4])
    x, y = _number(first), _number(second)
    if zone.isdecimal() and band and math.isfinite(x + y):
        return _known(*to_degrees(x, y, utm_crs(int(zone), band)))
    degrees = _number(fields[4]), _number(fields[5])
    if are_degrees(*degrees):
        return degrees
    if crs and math.isfinite(x + y):
        return _known(*named_to_degrees(x, y, crs))
    return _known(x, y)


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return math.nan


def _known(latitude: float, longitude: float) -> tuple[float, float] | None:
    return (latitude, longitude) if are_degrees(latitude, longitude) else None
