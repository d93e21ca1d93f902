"""Lists of photos with positions: CSV, GeoJSON, and the lists of exiftool and Mapillary.

CSV: a column ``file``, ``key``, ``name``, ``filename``, ``photo`` or ``image``, and either ``latitude`` and
``longitude`` (``lat``; ``lon``, ``lng``, ``long``) in degrees, or ``easting`` and ``northing`` (``utm_east``,
``utm_easting``; ``utm_north``, ``utm_northing``) in the reference system of a column ``crs`` or of ``--crs``.
Columns are parted by commas, semicolons, tabs or bars; with the last three a decimal comma is read too.
GeoJSON: points, whose properties have one of those names of files; a ``crs`` member, as older files have, is followed.
JSON: a list of tables with those columns. Of several columns that could name the file, the one that does is taken.
A position of exactly 0, 0 is none, as one that is empty: tables have it for "unknown". If a row has two positions, they
have to agree.
"""

import csv
import io
import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vpr.base.photo_files import BLANK
from vpr.maps.errors import MapError, NoPosition
from vpr.maps.geodesy import (
    DEGREES,
    angle_in,
    are_degrees,
    is_unknown,
    metres_between,
    number_in,
    to_degrees,
    wrong_unit,
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
AGREE_DEGREES, AGREE_M = 1e-3, 100.0  # between two numbers for one position; they are about as far
WANTED = "a file, key or name, and latitude and longitude, or easting and northing"


Position = tuple[float, float]  # latitude and longitude, degrees
Row = Mapping[str, Sequence[str]]  # the values of each column that has some; columns as `_plain` has them
UNITS = {  # what is said of numbers by their `wrong_unit`
    "degrees": " but degrees; check the crs, or write metres",
    "kilometres": " but kilometres; write metres, a thousand times as much",
    "no metres": "; check the crs, and whether the two are swapped",
}


@dataclass(frozen=True)
class Listed:
    """A photo of a list."""

    path: Path | None  # None where there is no such file
    name: str  # as the list has it
    position: Position | None  # None where the list has none for it
    row: int = 0  # of the list; in a CSV that is the line, if no value has several
    why: str = ""  # a position is there and is not taken; empty if none is there


def read_list(path: Path, crs: str = "") -> Iterator[Listed]:
    """The photos of a list in its order.

    A row with two positions that disagree has none. Raises MapError for a list that cannot be read, lacks a column, or
    has a row without a name or with a position that is none.
    """
    files = ListedFiles(path)
    rows = _json_rows(path) if path.suffix.lower() in (".geojson", ".json") else _csv_rows(path)
    for number, row in rows:
        where = f"{path}, row {number}"
        names = _values(row, FILES)
        if not names:
            raise MapError(f"{where} names no photo; fill its column {FILES[0]} or {FILES[1]}")
        found, name = files.find(names, where)
        position, why = None, ""
        try:
            position = _position(row, where, crs)
        except NoPosition as error:
            why = str(error)
        yield Listed(found, name, position, number, why)


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
        for number, fields in enumerate(_records(text, delimiter), 1 if found is None else 2):
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
            yield number, _row(zip(columns, map(partial(_decimal_point, delimiter), columns, fields)))
        if not columns:
            raise MapError(f"{path} is empty; wanted: {WANTED}")
    except csv.Error as error:
        raise MapError(f"{path} is no CSV in UTF-8 ({error}); save it as one") from error


def _records(text: str, delimiter: str) -> list[list[str]]:
    """The values of each row. Some programs write quotes inside of quotes as they are: "Rue "X" 5". Such a file is read
    line by line. Raises csv.Error for a quote that is not closed."""
    try:
        return [*csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)]
    except csv.Error:
        lines = re.split("\r\n|[\r\n]", text)
        rows = [next(csv.reader([f"{line}\n"], delimiter=delimiter)) for line in lines]
        if any(row and row[-1].endswith("\n") for row in rows):
            raise
        return rows


def _row(pairs: Iterable[tuple[str, str]]) -> Row:
    """Columns and their values as a row, without those that are empty."""
    row: dict[str, list[str]] = {}
    for column, value in pairs:
        if text := value.strip(BLANK):
            row.setdefault(column, []).append(text)
    return row


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


def _decimal_point(delimiter: str, column: str, value: str) -> str:
    """A value, with a point for a decimal comma. Beside commas only degrees may have one: 448,251 metres could be
    thousands."""
    text = value.strip()
    if column in (NUMBERS if delimiter != "," else (*LATITUDES, *LONGITUDES)) and DECIMAL_COMMA.fullmatch(text):
        return text.replace(",", ".")
    return value


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        content = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
        if isinstance(content, list):  # as exiftool and Mapillary have it
            for number, table in enumerate(content, 1):
                yield number, _row(_columns(table))
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
            yield number, _row(row)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, MapError):
            raise
        raise MapError(f"{path} is no GeoJSON of points ({error}); save the photos as points with a file") from error


def _columns(table: dict[str, object]) -> list[tuple[str, str]]:
    """The columns of a table of JSON that have a value."""
    return [(_plain(name), str(value)) for name, value in table.items() if isinstance(value, str | int | float)]


def _position(row: Row, where: str, crs: str) -> Position | None:
    """Latitude and longitude of a row, None where its columns are empty or 0, 0; degrees win over metres that say the
    same. Raises NoPosition for two positions that disagree."""
    found = [position for position in (_of_degrees(row, where), _of_metres(row, where, crs)) if position is not None]
    if len(found) == 2 and any(abs(one - other) > AGREE_DEGREES for one, other in zip(*found)):
        raise NoPosition(f"{where} has two positions, {metres_between(*found) / 1000:.3g} km apart")
    return found[0] if found else None


def _of_degrees(row: Row, where: str) -> Position | None:
    held = [_values(row, names) for names in (LATITUDES, LONGITUDES)]
    if not any(held):
        return None
    if not all(held):
        raise MapError(f"{where} has a latitude or a longitude alone; fill both, or neither")
    degrees = [
        _agreed([(_signed(angle_in(text, sides), sides, row), text) for text in texts], AGREE_DEGREES, where)
        for texts, sides in zip(held, SIDES)
    ]
    (latitude, north), (longitude, east) = degrees
    return None if is_unknown(latitude, longitude) else _on_earth((latitude, longitude), (north, east), where)


def _agreed(numbers: Sequence[tuple[float, str]], most: float, where: str) -> tuple[float, str]:
    """The first of several numbers for one thing, each with its text, or the first that is none.

    Raises NoPosition if they lie further apart than that.
    """
    for number, text in numbers:
        if not math.isfinite(number):
            return number, text
        if abs(number - numbers[0][0]) > most:
            raise NoPosition(f"{where} has {numbers[0][1][:20]} and {text[:20]} for one number of its position")
    return numbers[0]


def _signed(value: float, sides: str, row: Row) -> float:
    """A number with the sign of its hemisphere, if there is a column of it; NaN where they say two things."""
    side = next((text[0].upper() for text in _values(row, (SIDES[sides],))), "")
    if not side:
        return value
    if side not in sides or (side == sides[0] and value < 0):
        return math.nan
    return value if side == sides[0] else -abs(value)


def _of_metres(row: Row, where: str, crs: str) -> Position | None:
    held = [_values(row, names) for names in (EASTINGS, NORTHINGS)]
    systems = {*_values(row, ("crs",))} or {crs}
    if len(systems) > 1:
        raise NoPosition(f"{where} has {' and '.join(sorted(systems))[:60]} for one crs")
    system = systems.pop()
    if not any(held) or (not system and all(_values(row, names) for names in (LATITUDES, LONGITUDES))):
        return None
    if not all(held):
        raise MapError(f"{where} has an easting or a northing alone; fill both, or neither")
    if not system:
        raise MapError(f"{where} has metres of no known system; pass --crs EPSG:..., or add a column crs")
    (x, east), (y, north) = (_agreed([(number_in(text), text) for text in texts], AGREE_M, where) for texts in held)
    if is_unknown(x, y):
        return None
    try:
        is_number = math.isfinite(x + y)
        degrees = to_degrees(x, y, system) if is_number else (math.nan, math.nan)
        wrong = wrong_unit(x, y, system) if is_number else ""
    except MapError as error:
        raise MapError(f"{where}: {error}") from error
    if wrong and (wrong != "no metres" or are_degrees(*degrees)):
        raise MapError(f"{where}: {f'{east}, {north}'[:60]} are no metres of {system}{UNITS[wrong]}")
    return _on_earth(degrees, (east, north), where, system)


def _on_earth(degrees: tuple[float, ...], texts: Sequence[str], where: str, system: str = "") -> Position:
    latitude, longitude = degrees
    if are_degrees(latitude, longitude):
        return latitude, longitude
    swapped = are_degrees(longitude, latitude) and "; are the two swapped?"
    remedy = swapped or (f" in {system}{UNITS['no metres']}" if system else "; mend it")
    raise MapError(f"{where}: {', '.join(texts)[:60]} is no position on Earth{remedy}")


def _values(row: Row, names: Sequence[str]) -> list[str]:
    """What the columns of these names hold, in their order, without those that are empty."""
    return [value for name in names for value in row.get(name, ())]
