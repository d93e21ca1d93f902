"""Lists of photos with positions: CSV and GeoJSON.

CSV: a column ``file``, ``key``, ``name``, ``filename``, ``photo`` or ``image``, and either ``latitude`` and
``longitude`` (``lat``; ``lon``, ``lng``, ``long``) in degrees, or ``easting`` and ``northing`` (``utm_east``,
``utm_easting``; ``utm_north``, ``utm_northing``) in the reference system of a column ``crs`` or of ``--crs``.
Columns are parted by commas, semicolons or tabs; with the last two a decimal comma is read too.
GeoJSON: points, whose properties have one of those names of files; a ``crs`` member, as older files have, is followed.
Files are looked for beside the list and in its folder ``images``, with or without their ending.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vpr.description.shown import ENDINGS
from vpr.maps.errors import MapError
from vpr.maps.geodesy import DEGREES, are_degrees, to_degrees

LISTS = (".csv", ".geojson", ".json")
FILES = ("file", "key", "name", "filename", "photo", "image")
LATITUDES, LONGITUDES = ("latitude", "lat"), ("longitude", "lon", "lng", "long")
EASTINGS, NORTHINGS = ("easting", "utm_east", "utm_easting"), ("northing", "utm_north", "utm_northing")
NUMBERS = (*LATITUDES, *LONGITUDES, *EASTINGS, *NORTHINGS)
DELIMITERS = (",", ";", "\t")
IMAGES = "images"  # the folder of photos beside a list, as in the MSLS layout
WANTED = "a file, key or name, and latitude and longitude, or easting and northing"


Position = tuple[float, float]  # latitude and longitude, degrees


@dataclass(frozen=True)
class Listed:
    """A photo of a list."""

    path: Path | None  # None where there is no such file
    name: str  # as the list has it
    position: Position | None  # None where the list has none for it


def read_list(path: Path, crs: str = "") -> Iterator[Listed]:
    """The photos of a list in its order.

    Raises MapError for a list that cannot be read, lacks a column, or has a row whose position or name is none.
    """
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _geojson_rows(path)
    for number, row in rows:
        where = f"{path}, row {number}"
        name = _text(row, FILES)
        if not name:
            raise MapError(f"{where} names no photo; fill its column {FILES[0]} or {FILES[1]}")
        yield Listed(_found(path.parent, name, where), name, _position(row, where, crs))


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(DELIMITERS, key=first.count)
            reader = csv.DictReader(file, delimiter=delimiter)
            columns = [str(name).strip().lower() for name in reader.fieldnames or ()]
            known = [any(name in columns for name in names) for names in (FILES, LATITUDES, LONGITUDES)]
            metres = [any(name in columns for name in names) for names in (EASTINGS, NORTHINGS)]
            if not known[0] or not (all(known[1:]) or all(metres)):
                has = f"has the columns {', '.join(columns)[:80]}" if columns else "is empty"
                raise MapError(f"{path} {has}; wanted: {WANTED}")
            for number, row in enumerate(reader, 2):
                named = {str(name).strip().lower(): str(value or "") for name, value in row.items()}
                if delimiter != ",":  # where a comma is the decimal point
                    named |= {name: named[name].replace(",", ".") for name in NUMBERS if name in named}
                yield number, named
    except (UnicodeDecodeError, csv.Error) as error:
        raise MapError(f"{path} is no CSV in UTF-8 ({error}); save it as one") from error


def _geojson_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        crs = str((content.get("crs") or {}).get("properties", {}).get("name", DEGREES))
        if "CRS84" in crs:  # the degrees that GeoJSON has anyway
            crs = DEGREES
        for number, feature in enumerate(content["features"], 1):
            named = {str(name).lower(): str(value) for name, value in (feature["properties"] or {}).items()}
            row = {name: value for name, value in named.items() if name in FILES}
            if (geometry := feature["geometry"]) is not None:
                if geometry["type"] != "Point":
                    raise TypeError(f"feature {number} is a {geometry['type']}")
                x, y, *_ = geometry["coordinates"]
                row |= {"easting": str(x), "northing": str(y), "crs": crs}
            yield number, row
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, MapError):
            raise
        raise MapError(f"{path} is no GeoJSON of points ({error}); save the photos as points with a file") from error


def _position(row: Mapping[str, str], where: str, crs: str) -> Position | None:
    """Latitude and longitude of a row, None where its columns are empty; degrees win over metres."""
    latitude, longitude = _text(row, LATITUDES), _text(row, LONGITUDES)
    if latitude and longitude:
        degrees, shown = (_number(latitude), _number(longitude)), (latitude, longitude)
    else:
        shown = _text(row, EASTINGS), _text(row, NORTHINGS)
        system = row.get("crs", "").strip() or crs
        if not any((latitude, longitude, *shown)):
            return None
        if not system:
            raise MapError(f"{where} has metres of no known system; pass --crs EPSG:..., or add a column crs")
        x, y = (_number(value) for value in shown)
        try:
            degrees = to_degrees(x, y, system) if math.isfinite(x + y) else (math.nan, math.nan)
        except MapError as error:
            raise MapError(f"{where}: {error}") from error
    if not are_degrees(*degrees):
        raise MapError(f"{where}: {', '.join(shown)[:60]} is no position on Earth; mend it, or check the crs")
    return degrees


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _text(row: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((row[name].strip() for name in names if row.get(name, "").strip()), "")


def _found(folder: Path, name: str, where: str) -> Path | None:
    """The file of a listed photo; None where there is none. Raises MapError for a name that leaves the folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise MapError(f"{where}: {name!r} lies outside of the list's folder; put the list above its photos")
    for base in (folder, folder / IMAGES):
        for ending in ("", *ENDINGS, *(ending.upper() for ending in ENDINGS)):
            if (path := base / f"{name}{ending}").is_file():
                return path
    return None
