"""Lists of photos with positions: CSV, GeoJSON, and the lists of exiftool and Mapillary.

CSV: a column ``file``, ``key``, ``name``, ``filename``, ``photo`` or ``image``, and either ``latitude`` and
``longitude`` (``lat``; ``lon``, ``lng``, ``long``) in degrees, or ``easting`` and ``northing`` (``utm_east``,
``utm_easting``; ``utm_north``, ``utm_northing``) in the reference system of a column ``crs`` or of ``--crs``.
Columns are parted by commas, semicolons, tabs or bars; with the last three a decimal comma is read too.
GeoJSON: points, whose properties have one of those names of files; a ``crs`` member, as older files have, is followed.
JSON: a list of tables with those columns. Of several columns that could name the file, the one that does is taken.
A position of exactly 0, 0 is none, as one that is empty: tables have it for "unknown".
"""

import csv
import io
import json
import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpr.maps.errors import MapError
from vpr.maps.geodesy import (
    DEGREES,
    angle_in,
    are_degrees,
    are_metres_of,
    is_unknown,
    metres_between,
    number_in,
    to_degrees,
)
from vpr.maps.paths import ListedFiles

log = logging.getLogger("vpr")

LISTS = (".csv", ".tsv", ".txt", ".geojson", ".json")
FILES = (
    "file", "key", "name", "filename", "photo", "image", "sourcefile", "path", "filepath", "imagename", "imagepath",
    "photoname",
)  # fmt: skip
LATITUDES, LONGITUDES = ("latitude", "lat", "gpslatitude", "maplatitude"), (
    "longitude", "lon", "lng", "long", "gpslongitude", "maplongitude",
)  # fmt: skip
SIDES = {"NS": "gpslatituderef", "EW": "gpslongituderef"}  # columns of hemispheres
EASTINGS, NORTHINGS = ("easting", "utmeast", "utmeasting"), ("northing", "utmnorth", "utmnorthing")
NUMBERS = (*LATITUDES, *LONGITUDES, *EASTINGS, *NORTHINGS)
DELIMITERS = (",", ";", "\t", "|")
SEPARATOR = re.compile('"?sep=(.)"?\r?\n', re.IGNORECASE)  # a first line for Excel
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
BLANK = " \t\r\n"  # around values; names of files may begin and end with other white space
AGREE_M = 100.0  # between two positions of a row
WANTED = "a file, key or name, and latitude and longitude, or easting and northing"


Position = tuple[float, float]  # latitude and longitude, degrees
Row = Sequence[tuple[str, str]]  # columns, as `_plain` has them, and values


@dataclass(frozen=True)
class Listed:
    """A photo of a list."""

    path: Path | None  # None where there is no such file
    name: str  # as the list has it
    position: Position | None  # None where the list has none for it
    row: int = 0  # of the list; in a CSV that is the line, if no value has several


def read_list(path: Path, crs: str = "") -> Iterator[Listed]:
    """The photos of a list in its order.

    Raises MapError for a list that cannot be read, lacks a column, or has a row whose position or name is none.
    """
    files = ListedFiles(path)
    rows = _json_rows(path) if path.suffix.lower() in (".geojson", ".json") else _csv_rows(path)
    for number, row in rows:
        where = f"{path}, row {number}"
        names = _values(row, FILES)
        if not names:
            raise MapError(f"{where} names no photo; fill its column {FILES[0]} or {FILES[1]}")
        found, name = files.find(names, where)
        yield Listed(found, name, _position(row, where, crs), number)


def _plain(column: object) -> str:
    """The name of a column in letters and digits: GPS Latitude is gpslatitude."""
    return re.sub("[^a-z0-9]", "", str(column).lower())


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    text, other = _read_text(path)
    try:
        if found := SEPARATOR.match(text):
            text = text[found.end() :]
            delimiter = found[1]
        else:
            delimiter = _delimiter(text)
        columns: list[str] = []
        for number, fields in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1):
            number += found is not None
            if not any(field.strip() for field in fields):  # spreadsheets write empty rows as ;;
                continue
            if not columns:
                columns = [_plain(name) for name in fields]
                _require_columns(path, columns, fields, other)
                if other:
                    log.warning("%s is not in UTF-8; it is read as Windows-1252", path)
                continue
            if any(field.strip() for field in fields[len(columns) :]):
                counts = f"{len(fields)} fields where the first row names {len(columns)}"
                remedy = f"put a value that holds {_shown(delimiter)} in double quotes"
                raise MapError(f"{path}, row {number} has {counts}; {remedy}")
            yield number, [_decimal_point(*pair, delimiter) for pair in zip(columns, fields)]
        if not columns:
            raise MapError(f"{path} is empty; wanted: {WANTED}")
    except csv.Error as error:
        raise MapError(f"{path} is no CSV in UTF-8 ({error}); save it as one") from error


def _read_text(path: Path) -> tuple[str, str]:
    """The text of a file in UTF-8, or in UTF-16 with its mark; else read as Windows-1252, and what is wrong with it as
    UTF-8."""
    data = path.read_bytes()
    if b"\0" in data and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise MapError(f"{path} is no CSV in UTF-8 (it holds zero bytes); save it as one")
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16"), ""
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        try:
            return data.decode("cp1252"), str(error)
        except UnicodeDecodeError:
            raise MapError(f"{path} is no CSV in UTF-8 ({error}); save it as one") from error


def _delimiter(text: str) -> str:
    """The one under which the first row has the columns that are needed, or else the most common one in it."""
    start = next((line for line in re.split("[\r\n]+", text) if line.strip()), "")
    by_count = sorted(DELIMITERS, key=start.count, reverse=True)
    for delimiter in by_count:
        fields: list[str] = next(csv.reader([start], delimiter=delimiter), [])
        if _has_columns([_plain(name) for name in fields]):
            return delimiter
    return by_count[0]


def _has_columns(columns: Sequence[str]) -> bool:
    known = [any(name in columns for name in names) for names in (FILES, LATITUDES, LONGITUDES, EASTINGS, NORTHINGS)]
    return known[0] and (all(known[1:3]) or all(known[3:]))


def _require_columns(path: Path, columns: Sequence[str], names: Sequence[str], other: str) -> None:
    """other: what is wrong with the text as UTF-8."""
    if _has_columns(columns):
        return
    if other:
        raise MapError(f"{path} is no CSV in UTF-8 ({other}); save it as one")
    raise MapError(f"{path} has the columns {', '.join(name.strip() for name in names)[:80]}; wanted: {WANTED}")


def _shown(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab"}.get(delimiter, repr(delimiter))


def _decimal_point(column: str, value: str, delimiter: str) -> tuple[str, str]:
    """A column and its value, with a point for a decimal comma. Beside commas only degrees may have one: 448,251 metres
    could be thousands."""
    text = value.strip()
    if column in (NUMBERS if delimiter != "," else (*LATITUDES, *LONGITUDES)) and DECIMAL_COMMA.fullmatch(text):
        return column, text.replace(",", ".")
    return column, value


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        content = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
        if isinstance(content, list):  # as exiftool and Mapillary have it
            for number, table in enumerate(content, 1):
                yield number, _columns(table)
            return
        crs = str((content.get("crs") or {}).get("properties", {}).get("name", DEGREES))
        if "CRS84" in crs:  # the degrees that GeoJSON has anyway
            crs = DEGREES
        for number, feature in enumerate(content["features"], 1):
            row = _columns(feature["properties"] or {})
            geometry = feature["geometry"]
            if geometry is not None and geometry["type"] != "Point":
                raise TypeError(f"feature {number} is a {geometry['type']}")
            if geometry is not None and geometry["coordinates"]:
                x, y, *_ = geometry["coordinates"]
                row = [pair for pair in row if pair[0] not in (*EASTINGS, *NORTHINGS, "crs")]
                row += [("easting", str(x)), ("northing", str(y)), ("crs", crs)]
            yield number, row
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, MapError):
            raise
        raise MapError(f"{path} is no GeoJSON of points ({error}); save the photos as points with a file") from error


def _columns(table: dict[str, object]) -> list[tuple[str, str]]:
    """The columns of a table of JSON that have a value."""
    return [(_plain(name), str(value)) for name, value in table.items() if isinstance(value, str | int | float)]


def _position(row: Row, where: str, crs: str) -> Position | None:
    """Latitude and longitude of a row, None where its columns are empty or 0, 0; degrees win over metres that say the
    same."""
    found = [position for position in (_of_degrees(row, where), _of_metres(row, where, crs)) if position is not None]
    if len(found) == 2 and (apart := metres_between(*found)) > AGREE_M:
        raise MapError(f"{where} has two positions, {apart / 1000:.3g} km apart; keep the right one")
    return found[0] if found else None


def _of_degrees(row: Row, where: str) -> Position | None:
    texts = [_one(row, names, where) for names in (LATITUDES, LONGITUDES)]
    if not any(texts):
        return None
    if not all(texts):
        raise MapError(f"{where} has a latitude or a longitude alone; fill both, or neither")
    degrees = tuple(_signed(angle_in(text, sides), sides, row) for text, sides in zip(texts, SIDES))
    if is_unknown(*degrees):
        return None
    return _on_earth(degrees, texts, where)


def _signed(value: float, sides: str, row: Row) -> float:
    """A number with the sign of its hemisphere, if there is a column of it; NaN where they say two things."""
    side = next((text[0].upper() for text in _values(row, (SIDES[sides],))), "")
    if not side:
        return value
    if side not in sides or (side == sides[0] and value < 0):
        return math.nan
    return value if side == sides[0] else -abs(value)


def _of_metres(row: Row, where: str, crs: str) -> Position | None:
    texts = [_one(row, names, where) for names in (EASTINGS, NORTHINGS)]
    system = _one(row, ("crs",), where) or crs
    if not any(texts) or (not system and all(_values(row, names) for names in (LATITUDES, LONGITUDES))):
        return None
    if not system:
        raise MapError(f"{where} has metres of no known system; pass --crs EPSG:..., or add a column crs")
    x, y = (number_in(text) for text in texts)
    if is_unknown(x, y):
        return None
    try:
        degrees = to_degrees(x, y, system) if math.isfinite(x + y) else (math.nan, math.nan)
        known = are_metres_of(x, y, system)
    except MapError as error:
        raise MapError(f"{where}: {error}") from error
    if are_degrees(*degrees) and not known:
        raise MapError(f"{where}: {', '.join(texts)[:60]} are no metres of {system}; mend their unit, or check the crs")
    return _on_earth(degrees, texts, where, system)


def _on_earth(degrees: tuple[float, ...], texts: Sequence[str], where: str, system: str = "") -> Position:
    latitude, longitude = degrees
    if are_degrees(latitude, longitude):
        return latitude, longitude
    swapped = are_degrees(longitude, latitude) and "; are the two swapped?"
    remedy = swapped or (f" in {system}; mend it, or check the crs" if system else "; mend it")
    raise MapError(f"{where}: {', '.join(texts)[:60]} is no position on Earth{remedy}")


def _one(row: Row, names: Sequence[str], where: str) -> str:
    """The value of the columns of these names that have one, empty where none has. Raises MapError for several."""
    values = [*dict.fromkeys(_values(row, names))]
    if len({number_in(value) if math.isfinite(number_in(value)) else value for value in values}) > 1:
        raise MapError(f"{where} has {values[0][:20]} and {values[1][:20]} for one {names[0]}; keep the right one")
    return values[0] if values else ""


def _values(row: Row, names: Sequence[str]) -> list[str]:
    """What the columns of these names hold, in their order, without those that are empty."""
    held = [(column, value.strip(BLANK)) for column, value in row]
    return [value for name in names for column, value in held if column == name and value]
