"""Positions: degrees (WGS 84), coordinates of other reference systems, and metres between them.

A *place* is a point of the ellipsoid in metres from the Earth's centre, (3,). Straight distances between places are
those on the ground to 1 mm within 10 km, everywhere, without zones or seams.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from vpr.maps.errors import MapError

if TYPE_CHECKING:
    from pyproj import Transformer

DEGREES, CENTRED = "EPSG:4326", "EPSG:4978"
BANDS = "CDEFGHJKLMNPQRSTUVWX"  # letters of UTM latitude bands, from the south; N is the first north of the equator


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
    """Latitude and longitude of a point in another reference system; NaN where it lies outside of it.

    crs: whatever pyproj reads, for example EPSG:32631. Raises MapError for one that is not known, or has no eastings
    and northings or degrees.
    """
    _is_geographic(crs)
    longitude, latitude = _transformer(crs, DEGREES).transform(easting, northing)
    if not np.isfinite([latitude, longitude]).all():
        return float("nan"), float("nan")
    return float(latitude), float(longitude)


def named_to_degrees(first: float, second: float, crs: str) -> tuple[float, float]:
    """As `to_degrees`, of two numbers as names of files have them: easting and northing, or, where the reference system
    is one of degrees, latitude and longitude, whatever the order of its axes."""
    return to_degrees(second, first, crs) if _is_geographic(crs) else to_degrees(first, second, crs)


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

    Raises MapError for a zone that is none.

    >>> utm_crs(10, "S"), utm_crs(56, "H")
    ('EPSG:32610', 'EPSG:32756')
    """
    letter = letter.upper()
    if not 1 <= zone <= 60 or len(letter) != 1 or letter not in BANDS:
        raise MapError(f"there is no UTM zone {zone}{letter}; zones go from 1 to 60, bands from C to X")
    return f"EPSG:{32600 if letter >= 'N' else 32700}".removesuffix("00") + f"{zone:02d}"


def are_degrees(latitude: float, longitude: float) -> bool:
    """Whether two numbers are a latitude and a longitude."""
    return bool(np.isfinite([latitude, longitude]).all()) and abs(latitude) <= 90 and abs(longitude) <= 180


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
