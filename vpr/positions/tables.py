"""Lists of photos with positions: CSV, GeoJSON, and the JSON lists of exiftool and Mapillary.

CSV: a column such as ``file``, ``key`` or ``name`` (`FILE_COLUMNS`), and either ``latitude`` and ``longitude``
(``lat``; ``lon``, ``lng``, ``long``) in degrees, or ``easting`` and ``northing`` (``utm_east``, ``utm_easting``;
``utm_north``, ``utm_northing``) in the reference system of a column ``crs`` or of ``--crs``. Columns ``x`` and ``y``
are easting and northing if there is a reference system, and local metres if there is none. A column ``frame`` has the
number of the photo in a walk, and ``place`` the name of a place. A column such as ``heading`` (`HEADINGS`) has the
direction of view, degrees clockwise from north. A list with several kinds of positions is of the map's
kind, or else of the first of `vpr.positions.map_frame.FRAMES`.

Columns are separated by commas, semicolons, tabs or vertical bars. Numbers may have decimal commas, but in a file with
commas between the columns only degrees may. GeoJSON: points, with the name of the file in one of these properties; a
``crs`` member of older files is used. JSON: a list of objects with these columns. If several columns may name the file,
the one that names an existing file is used. A photo has no position if the columns are empty, exactly 0, 0 on Earth, or
one of `UNKNOWN`, which tables use for "unknown"; such a text in ``place`` is a name. If a row has two positions, they
must agree.
"""

import csv
import io
import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from vpr.base.photo_files import WHITE_SPACE
from vpr.positions.columns import (
    EASTINGS,
    FILE_COLUMNS,
    HEADINGS,
    HEMISPHERE_COLUMNS,
    LATITUDES,
    LONGITUDES,
    NORTHINGS,
    NUMBERS,
    PARTS_OF,
    UNKNOWN_HEMISPHERE,
    Row,
    column_values,
    has_columns,
    is_filled,
    is_unknown_text,
    kinds_with,
    name_eastings,
    normalise_column,
)
from vpr.positions.errors import ColumnError, MapError, NoPosition
from vpr.positions.geodesy import (
    DEGREES,
    are_degrees,
    is_unknown,
    metres_between,
    parse_angle,
    parse_number,
    to_degrees,
    wrong_unit,
)
from vpr.positions.map_frame import FRAMES, LARGEST, Kind, Position
from vpr.positions.paths import ListedFiles

log = logging.getLogger("vpr")

LIST_SUFFIXES = (".csv", ".tsv", ".txt", ".geojson", ".json")
DELIMITERS = (",", ";", "\t", "|")
EXCEL_LINE = re.compile('"?sep=(.)"?\r?\n', re.IGNORECASE)  # a first line for Excel
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
AGREE_DEGREES, AGREE_M = 1e-3, 100.0  # two values of one coordinate agree up to this difference; both are about 100 m
TURN = 360.0  # degrees
EXPECTED_COLUMNS = (
    "a file, key or name, and latitude and longitude, or easting and northing, or x and y, or frame, or place"
)
UNIT_HINTS = {  # the end of an error message, by `wrong_unit`
    "degrees": " but degrees; check the crs, or write metres",
    "kilometres": " but kilometres; write metres, a thousand times as much",
    "other": "; check the crs, and whether the two are swapped",
}


@dataclass(frozen=True)
class ListEntry:
    """A photo of a list."""

    path: Path | None  # None if there is no such file
    name: str  # as in the list
    position: Position | None  # None if the list has no valid position
    row: int = 0  # number of the row; in a CSV that is the line, if no value has several lines
    problem: str = ""  # the reason why the photo is left out: the values of the row contradict each other
    kind: Kind = "earth"  # of the position; that of the list
    side: str = ""  # the value of a column ``side``, in lower case: query or database, in lists of a set of places
    heading: float = math.nan  # degrees clockwise from north, from 0 to below 360; NaN if unknown


def read_list(path: Path, crs: str = "", folders: Sequence[Path] = (), kind: Kind | None = None) -> Iterator[ListEntry]:
    """The photos of a list, in its order. folders: other folders in which its files may be, as `ListedFiles`.

    kind: of the map's positions; None for a new map. A row with two different positions has no position. Raises
    MapError for a list that cannot be read or lacks a column, for positions of another kind, and for a row without a
    name or with an invalid position.
    """
    files = ListedFiles(path, folders)
    read = _json_rows(path) if path.suffix.lower() in (".geojson", ".json") else _csv_rows(path)
    as_read = [*read]
    rows = [(number, name_eastings(row, crs)) for number, row in as_read]
    if kind == "metres":
        _require_local(path, [row for _, row in as_read], [row for _, row in rows], crs)
    kind = _kind_of(path, [row for _, row in rows], kind)
    for number, row in rows:
        where = f"{path}, row {number}"
        names = column_values(row, FILE_COLUMNS)
        if not names:
            raise MapError(f"{where} names no photo; fill its column {FILE_COLUMNS[0]} or {FILE_COLUMNS[1]}")
        file, name = files.find(names, where)
        position, problem = None, ""
        try:
            position = _position(row, where, crs) if kind == "earth" else _local_position(row, where, kind)
        except NoPosition as error:
            problem = str(error)
        side = next(iter(row.get("side", ())), "").lower()
        heading = next((parse_number(text) for text in column_values(row, HEADINGS)), math.nan) % TURN
        yield ListEntry(file, name, position, number, problem, kind, side, heading)


def has_column(path: Path, column: str) -> bool:
    """Whether a list has a column; False for a file that cannot be read as a list.

    column: its name in lower case, letters and digits only. Of a CSV only the first rows are looked at.
    """
    try:
        rows = _json_rows(path) if path.suffix.lower() in (".geojson", ".json") else _csv_rows(path)
        return any(column in row for _, row in rows)
    except MapError:
        return False


def _kind_of(path: Path, rows: Sequence[Row], kind: Kind | None) -> Kind:
    """The kind of the positions of a list; raises MapError if the map has another kind.

    kind: of the map. Without one, columns that have a value decide, and if none has one, those that there are.
    """
    present = {name for row in rows for name in row}
    kinds = kinds_with(present)
    if kind is None or not kinds:
        filled = {name for row in rows for name, values in row.items() if is_filled(name, values)}
        return next(iter(kinds_with(filled) or kinds), kind or "earth")
    if kind not in kinds:
        raise other_kind(str(path), kinds[0], kind)
    return kind


def _require_local(path: Path, as_read: Sequence[Row], rows: Sequence[Row], crs: str) -> None:
    """Raise MapError if only a reference system makes positions on Earth of the local metres of a list.

    as_read, rows: before `name_eastings` and after it.
    """
    local = [kind for kind in map(kinds_with, as_read) if "metres" in kind and "earth" not in kind]
    if local and not any("metres" in kinds_with(row) for row in rows):
        given, which = (f"--crs {crs}", "--crs") if crs else ("its column crs", "the column crs")
        problem = f"with {given}, {path} has {FRAMES['earth'].what}, and the map has {FRAMES['metres'].what}"
        raise MapError(problem, thing=path, remedy=f"leave {which} out")


def other_kind(source: str, kind: Kind, of_map: Kind) -> MapError:
    """The error if a source has positions of one kind, and the map has another."""
    remedy = f"give a list with the columns {FRAMES[of_map].example}, or make another map"
    return MapError(f"{source} has {FRAMES[kind].what}, and the map has {FRAMES[of_map].what}", remedy=remedy)


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    text, encoding_problem = _read_text(path)
    try:
        if first_line := EXCEL_LINE.match(text):
            text = text[first_line.end() :]
            delimiter = first_line[1]
        else:
            delimiter = _delimiter(text)
        columns: list[str] = []
        for number, fields in enumerate(_split_rows(text, delimiter), 1 if first_line is None else 2):
            if not any(field.strip() for field in fields):  # spreadsheets write empty rows as ;;
                continue
            if not columns:  # the first row that is not empty is the header
                columns = [normalise_column(name) for name in fields]
                _require_columns(path, columns, fields, encoding_problem)
                if encoding_problem:
                    log.warning("%s is not in UTF-8; it is read as Windows-1252", path)
                continue
            if any(field.strip() for field in fields[len(columns) :]):
                problem = f"{len(fields)} fields, but the first row has {len(columns)}"
                remedy = f"put values that contain {_delimiter_name(delimiter)} in double quotes"
                raise MapError(f"{path}, row {number} has {problem}; {remedy}")
            values = [_with_decimal_point(delimiter, column, field) for column, field in zip(columns, fields)]
            yield number, _make_row(zip(columns, values))
        if not columns:
            raise ColumnError(f"{path} is empty; it needs {EXPECTED_COLUMNS}")
    except csv.Error as error:
        raise MapError(f"{path} is not a CSV in UTF-8 ({error}); save it as one") from error


def _split_rows(text: str, delimiter: str) -> list[list[str]]:
    """The values of each row. Raises csv.Error for a quote that is not closed.

    Some programs do not escape quotes inside of quotes: "Rue "X" 5". Such a file is read line by line.
    """
    try:
        return [*csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)]
    except csv.Error:
        lines = re.split("\r\n|[\r\n]", text)
        rows = [next(csv.reader([f"{line}\n"], delimiter=delimiter)) for line in lines]
        if any(row and row[-1].endswith("\n") for row in rows):
            raise
        return rows


def _make_row(pairs: Iterable[tuple[str, str]]) -> Row:
    """A row from columns and their values, without empty values."""
    row: dict[str, list[str]] = {}
    for column, value in pairs:
        values = row.setdefault(column, [])
        if text := value.strip(WHITE_SPACE):
            values.append(text)
    return row


def _read_text(path: Path) -> tuple[str, str]:
    """The text of a file, and the problem with its encoding; empty for UTF-8, and for UTF-16 with a byte order mark.

    Other files are read as Windows-1252.
    """
    data = path.read_bytes()
    if b"\0" in data and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise MapError(f"{path} is not a CSV in UTF-8 (it has zero bytes); save it as one")
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16"), ""
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        try:
            return data.decode("cp1252"), str(error)
        except UnicodeDecodeError:
            raise MapError(f"{path} is not a CSV in UTF-8 ({error}); save it as one") from error


def _delimiter(text: str) -> str:
    """The delimiter with which the first row has the needed columns, or else the most common one in that row."""
    start = next((line for line in re.split("[\r\n]+", text) if line.strip()), "")
    by_count = sorted(DELIMITERS, key=start.count, reverse=True)
    for delimiter in by_count:
        fields: list[str] = next(csv.reader([start], delimiter=delimiter), [])
        if has_columns([normalise_column(name) for name in fields]):
            return delimiter
    return by_count[0]


def _require_columns(path: Path, columns: Sequence[str], names: Sequence[str], encoding_problem: str) -> None:
    """Raise MapError if a column is missing. names: the columns as in the file."""
    if has_columns(columns):
        return
    if encoding_problem:
        raise MapError(f"{path} is not a CSV in UTF-8 ({encoding_problem}); save it as one")
    present = ", ".join(name.strip() for name in names)[:80]
    raise ColumnError(f"{path} has the columns {present}; it needs {EXPECTED_COLUMNS}")


def _delimiter_name(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab"}.get(delimiter, repr(delimiter))


def _with_decimal_point(delimiter: str, column: str, value: str) -> str:
    """A value with a decimal point in place of a decimal comma.

    In files with commas as delimiters, only degrees may have a decimal comma: in metres, 448,251 could be thousands.
    """
    text = value.strip()
    columns = (*LATITUDES, *LONGITUDES) if delimiter == "," else NUMBERS
    if column in columns and DECIMAL_COMMA.fullmatch(text):
        return text.replace(",", ".")
    return value


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        content = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
        if isinstance(content, list):  # as from exiftool and Mapillary
            for number, table in enumerate(content, 1):
                row = _columns(table)
                _require_simple(table, row, f"{path}, row {number}")
                yield number, _make_row(row)
            return
        crs = str((content.get("crs") or {}).get("properties", {}).get("name", DEGREES))
        if "CRS84" in crs:  # the default of GeoJSON: degrees
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
            yield number, _make_row(row)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, MapError):
            raise
        raise MapError(
            f"{path} is not a GeoJSON of points ({error}); save the photos as points, each with a property file"
        ) from error


def _columns(table: dict[str, object]) -> list[tuple[str, str]]:
    """The columns of a JSON object that have a value, also those in the groups of exiftool, which are objects."""
    columns: list[tuple[str, str]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            columns += [
                (normalise_column(inner), str(of_inner)) for inner, of_inner in value.items() if _is_value(of_inner)
            ]
        elif _is_value(value):
            columns.append((normalise_column(name), str(value)))
        elif value is None and normalise_column(name) in NUMBERS:
            columns.append((normalise_column(name), "null"))
    return columns


def _require_simple(table: dict[str, object], row: Sequence[tuple[str, str]], where: str) -> None:
    """Raise MapError if a JSON object has a list or an object as its only position. row: its columns."""
    if kinds_with([name for name, _ in row]):
        return
    for name, value in table.items():
        if isinstance(value, list | dict) and kinds_with([normalise_column(name)]):
            of = "a list" if isinstance(value, list) else "an object"
            raise MapError(f"{where}: {name} is {of}, not one value", remedy="write a text or a number")


def _is_value(value: object) -> bool:
    return isinstance(value, str | int | float)


def _position(row: Row, where: str, crs: str) -> Position | None:
    """Latitude and longitude of a row; None if they are empty or 0, 0.

    If a row has degrees and metres, the degrees are returned. Raises NoPosition if the two differ, and if the row has a
    number that is unknown and no other position.
    """
    row, unknown = _remove_unknown(row, "earth")
    both = _degrees_position(row, where), _projected_position(row, where, crs)
    positions = [position for position in both if position is not None]
    if len(positions) == 2 and (apart_m := metres_between(*positions)) > AGREE_M:
        raise NoPosition(f"{where} has two positions, {apart_m / 1000:.3g} km apart")
    if not positions and unknown:
        raise NoPosition(f"{where} has {unknown[:20]} for a coordinate")
    return positions[0] if positions else None


def _remove_unknown(row: Row, kind: Kind) -> tuple[Row, str]:
    """The row without values of positions of a kind that are unknown, and the first of them; empty if there is none.

    If a coordinate has no other number, the numbers of the other coordinate are removed too. Any text is the name of a
    place: rooms may be called NA or Unknown.
    """
    if kind == "names":
        return row, ""
    known, unknown = dict(row), list[str]()
    for reference in HEMISPHERE_COLUMNS.values():
        column, sides = reference.removesuffix("ref"), row.get(reference, ())
        known |= {reference: [side for side in sides if not is_unknown_text(side)]}
        if any(side.lower().startswith(UNKNOWN_HEMISPHERE) for side in sides) and row.get(column):
            known[column] = sides
    for parts in PARTS_OF[kind]:
        columns = [name for names in parts for name in names if name in row]
        removed = [text for name in columns for text in known[name] if is_unknown_text(text)]
        known |= {name: [text for text in known[name] if not is_unknown_text(text)] for name in columns}
        if removed and not all(column_values(known, names) for names in parts):
            known |= dict.fromkeys(columns, ())
        unknown += removed
    return known, unknown[0] if unknown else ""


def _degrees_position(row: Row, where: str) -> Position | None:
    columns = [column_values(row, names) for names in (LATITUDES, LONGITUDES)]
    if not any(columns):
        return None
    if not all(columns):
        raise MapError(f"{where} has only a latitude or a longitude; fill both, or neither")
    angles = [
        [(parse_angle(text, letters), text) for text in texts] for texts, letters in zip(columns, HEMISPHERE_COLUMNS)
    ]
    if all(is_unknown(latitude, longitude) for (latitude, _), (longitude, _) in product(*angles)):
        return None  # programs write any hemisphere beside it
    north, east = (
        [(_apply_hemisphere(angle, letters, row), text) for angle, text in numbers]
        for numbers, letters in zip(angles, HEMISPHERE_COLUMNS)
    )
    (latitude, first), (longitude, second) = (
        _require_agreement(north, AGREE_DEGREES, where),
        _require_agreement(east, AGREE_DEGREES, where, period=TURN),
    )
    return None if is_unknown(latitude, longitude) else _require_on_earth((latitude, longitude), (first, second), where)


def _require_agreement(
    numbers: Sequence[tuple[float, str]], tolerance: float, where: str, period: float | None = None
) -> tuple[float, str]:
    """The first of several numbers for one coordinate, each with its text. If one is NaN, that one.

    period: numbers that differ by it are the same. Raises NoPosition if two differ by more than ``tolerance``.
    """
    for number, text in numbers:
        if not math.isfinite(number):
            return number, text
        difference = abs(number - numbers[0][0])
        if (difference if period is None else abs(math.remainder(difference, period))) > tolerance:
            raise NoPosition(f"{where} has {numbers[0][1][:20]} and {text[:20]} for one coordinate")
    return numbers[0]


def _apply_hemisphere(value: float, letters: str, row: Row) -> float:
    """An angle, negated if the column of its hemisphere says south or west; NaN if the two contradict each other."""
    side = next((text[0].upper() for text in column_values(row, (HEMISPHERE_COLUMNS[letters],))), "")
    if not side:
        return value
    if side not in letters or (side == letters[0] and value < 0):
        return math.nan
    return value if side == letters[0] else -abs(value)


def _projected_position(row: Row, where: str, crs: str) -> Position | None:
    columns = [column_values(row, names) for names in (EASTINGS, NORTHINGS)]
    systems = {*column_values(row, ("crs",))} or {crs}
    if len(systems) > 1:
        raise NoPosition(f"{where} has {' and '.join(sorted(systems))[:60]} for one crs")
    system = systems.pop()
    # without a reference system, the degrees of the row are used
    if not any(columns) or (not system and all(column_values(row, names) for names in (LATITUDES, LONGITUDES))):
        return None
    if not all(columns):
        raise MapError(f"{where} has only an easting or a northing; fill both, or neither")
    if not system:
        raise MapError(
            f"{where} has metres without a reference system; pass --crs EPSG:..., or add a column crs, or "
            "call the columns x and y if the metres are local"
        )
    (x, east), (y, north) = (
        _require_agreement([(parse_number(text), text) for text in texts], AGREE_M, where) for texts in columns
    )
    if is_unknown(x, y):
        return None
    try:
        is_number = math.isfinite(x + y)
        degrees = to_degrees(x, y, system) if is_number else (math.nan, math.nan)
        wrong = wrong_unit(x, y, system) if is_number else ""
    except MapError as error:
        raise MapError(f"{where}: {error}") from error
    if wrong and (wrong != "other" or are_degrees(*degrees)):
        raise MapError(f"{where}: {f'{east}, {north}'[:60]} are not metres of {system}{UNIT_HINTS[wrong]}")
    return _require_on_earth(degrees, (east, north), where, system)


def _local_position(row: Row, where: str, kind: Kind) -> Position | None:
    """The position of a row that is not on Earth; None if it is empty.

    Raises NoPosition if it is unknown, or has two values that differ.
    """
    row, unknown = _remove_unknown(row, kind)
    columns = [column_values(row, names) for names in PARTS_OF[kind][0]]
    if not any(columns):
        if unknown:
            raise NoPosition(f"{where} has {unknown[:20]} for a position")
        return None
    if not all(columns):
        raise MapError(f"{where} has only an x or a y; fill both, or neither")
    frame = FRAMES[kind]
    for texts in columns:
        if any(frame.parse(text) != frame.parse(texts[0]) for text in texts[1:]):
            raise NoPosition(f"{where} has {texts[0][:20]} and {texts[1][:20]} for one position")
    position = tuple(frame.parse(texts[0]) for texts in columns)
    if not frame.is_valid(*position):
        written = ", ".join(texts[0] for texts in columns)[:60]
        raise MapError(f"{where}: {written} {frame.refusal}; {_remedy_of(position, columns)}")
    return position


def _remedy_of(position: Position, columns: Sequence[Sequence[str]]) -> str:
    """What to do about numbers that are no position; columns: their texts."""
    if comma := next((texts[0] for texts in columns if DECIMAL_COMMA.fullmatch(texts[0])), ""):
        return f"write decimal points, not decimal commas, as {comma.replace(',', '.')}"
    is_large = any(isinstance(part, float) and LARGEST < abs(part) < math.inf for part in position)
    return f"the largest is {LARGEST:,.0f}" if is_large else "correct it"


def _require_on_earth(degrees: tuple[float, ...], texts: Sequence[str], where: str, system: str = "") -> Position:
    latitude, longitude = degrees
    if are_degrees(latitude, longitude):
        return latitude, longitude
    swapped = are_degrees(longitude, latitude) and "; are the two swapped?"
    remedy = swapped or (f" in {system}{UNIT_HINTS['other']}" if system else "; correct it")
    raise MapError(f"{where}: {', '.join(texts)[:60]} is not a position on Earth{remedy}")
