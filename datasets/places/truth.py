"""Which database photos are right for a query, as a file says it: pairs of names, or arrays of numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vpr.base.photo_files import WHITE_SPACE
from vpr.datasets.errors import DatasetError
from vpr.datasets.object_arrays import read_array
from vpr.datasets.places.lookup import AMBIGUOUS, PhotoIndex, without_ending
from vpr.datasets.places.photos import Photos

QUERY_COLUMNS = ("query", "queries", "queryimage", "queryfile", "q")
DATABASE_COLUMNS = ("database", "reference", "ref", "databaseimage", "databasefile", "referenceimage", "db", "match",
                    "positive", "positives")  # fmt: skip
DELIMITERS = (",", ";", "\t", "|")
LARGEST = 1e15  # numbers of photos are smaller
DIGITS = re.compile(r"(\d+)", re.ASCII)

Rows = list[list[int]]  # for each query the numbers of the database photos that are right


def read_number_rows(path: Path, entries: int) -> Rows:
    """The rows of an array of database numbers: lists, arrays or single numbers; negative ones fill rows up.

    entries: number of database photos. Raises DatasetError for anything else, and for a number that is too large.
    """
    array = np.atleast_1d(read_array(path))
    if _is_matrix(array, entries):
        what = f"{path} has 0 or 1 for each of the {entries} database photos, not their numbers"
        raise DatasetError(what, thing=path, remedy="write the numbers: [np.flatnonzero(row) for row in matrix]")
    if array.dtype.kind in "iuf" and array.size:  # all rows at once: each alone takes long
        return _numbers_at_once(array.reshape(len(array), -1), entries, path)
    return [_numbers(row, entries, f"{path}, row {number}") for number, row in enumerate(array)]


def _numbers_at_once(array: np.ndarray, entries: int, path: Path) -> Rows:
    """The rows of an array of numbers (Q, K); errors as `_numbers`, which finds the first row at fault."""
    fits = (np.abs(array) < LARGEST) & (array < entries)
    fits &= array == np.where(fits, array, 0).astype(np.int64)
    if not fits.all():
        number = int((~fits.all(1)).argmax())
        _numbers(array[number], entries, f"{path}, row {number}")
    if array.shape[1] == 1:
        return [[number] if number >= 0 else [] for number in array[:, 0].astype(np.int64).tolist()]
    return [sorted({number for number in row if number >= 0}) for row in array.astype(np.int64).tolist()]


def _is_matrix(array: np.ndarray, entries: int) -> bool:
    """Whether an array says of each database photo whether it is right; numbers would not repeat in a row."""
    if array.dtype.kind not in "biuf" or array.ndim != 2 or array.shape[1] != entries:
        return False
    repeats = entries > 2 or (entries == 2 and bool((array[:, 0] == array[:, 1]).any()))
    return array.dtype == bool or (repeats and bool(((array == 0) | (array == 1)).all()))


def read_number_pairs(path: Path, queries: Photos, database: Photos) -> tuple[Rows, list[int]]:
    """The truth of VPR-Bench: rows of a query number and a list of database numbers.

    Returns the rows of all queries, and the numbers of queries that the file does not name. The number of a photo is
    the one in its file name, or if names have other text, its place in their order. Raises DatasetError for rows of
    another kind, and for a number without a photo.
    """
    sides = _photo_numbers(queries), _photo_numbers(database)
    rows: Rows = [[] for _ in queries.files]
    named = set[int]()
    for number, row in enumerate(read_array(path)):
        where = f"{path}, row {number}"
        if len(pair := list(row) if isinstance(row, list | np.ndarray) else []) != 2:
            remedy = "write [query, [numbers]] in each row, or name a file of one list for each query X_gt.npy"
            raise DatasetError(f"{where} is not a query number and a list of database numbers", remedy=remedy)
        (query,) = _look_up(_integers(pair[0], where)[:1] or [AMBIGUOUS], sides[0], f"{where}: query")
        rows[query] += _look_up(_integers(pair[1], where), sides[1], f"{where}: reference")
        named.add(query)
    return [sorted(set(row)) for row in rows], [query for query in range(len(rows)) if query not in named]


def is_number_pairs(array: np.ndarray) -> bool:
    """Whether an array has rows of a query number and a list, as VPR-Bench's."""
    if array.dtype != object or not len(array):
        return False
    return all(
        isinstance(row, list | np.ndarray) and len(row) == 2 and np.ndim(row[0]) == 0 and np.ndim(row[1]) == 1
        for row in array
    )


def read_name_pairs(path: Path, queries: PhotoIndex, database: PhotoIndex, count: int) -> tuple[Rows, list[str]]:
    """The truth of a file with a query and a database photo in each row; a query may have many rows.

    A CSV has columns such as ``query`` and ``database``, or two columns without a header; a text has two names in a
    line, as hloc's pairs. count: number of queries. Returns the rows of all queries, and the names without a photo.
    Raises DatasetError for another kind of file, for a name that could be several photos, and if no name is known.
    """
    rows: Rows = [[] for _ in range(count)]
    unknown, known = list[str](), 0
    for line, query_name, database_name in _pairs(path):
        query = _number(queries, query_name, f"{path}, line {line}")
        if query is None:
            unknown.append(query_name)
            continue
        known += 1
        if not database_name:  # a query without an answer
            continue
        entry = _number(database, database_name, f"{path}, line {line}")
        if entry is None:
            unknown.append(database_name)
        else:
            rows[query].append(entry)
    if not known:
        raise DatasetError(
            f"{path} names no query of the set (the first is {(unknown or ['none'])[0]}); check the file"
        )
    return [sorted(set(row)) for row in rows], list(dict.fromkeys(unknown))


def has_pairs(path: Path) -> bool:
    """Whether the first row of a CSV or text names a query and a database photo, and not a position."""
    if path.suffix.lower() in (".json", ".geojson"):
        return False
    try:
        first = next(iter(_split_lines(path)), (0, []))[1]
    except DatasetError:
        return False
    columns = [_normalise(field) for field in first]
    return _pair_columns(columns) is not None or len(first) == 2  # a list with positions has three columns or more


def _pairs(path: Path) -> Iterator[tuple[int, str, str]]:
    """The line, the query and the database photo of each pair."""
    places: tuple[int, int] | None = None
    for line, fields in _split_lines(path):
        if places is None:
            places = _pair_columns([_normalise(field) for field in fields])
            if places is not None:
                continue
            places = (0, 1)
        if len(fields) <= max(places) and not (len(fields) == 1 and places == (0, 1)):
            raise DatasetError(f"{path}, line {line}: not a query and a database photo; write both, in two columns")
        if len(fields) > 2 and places == (0, 1) and path.suffix.lower() == ".txt":
            raise DatasetError(f"{path}, line {line}: {len(fields)} names; write a query and one database photo")
        yield line, fields[places[0]], fields[places[1]] if len(fields) > places[1] else ""


def _pair_columns(columns: Sequence[str]) -> tuple[int, int] | None:
    """The places of the two columns in a header; None if it is no header of pairs."""
    found = [
        next((columns.index(name) for name in names if name in columns), None)
        for names in (QUERY_COLUMNS, DATABASE_COLUMNS)
    ]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _split_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of each line that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        start = text[: text.find("\n") if "\n" in text else len(text)]
        # names in a text may have commas: only without white space between two names do commas separate them
        spaced = path.suffix.lower() == ".txt" and len(start.split()) > 1
        delimiter = next((one for one in ("\t" if spaced else DELIMITERS) if one in start), "")
        if delimiter:
            reader: Iterable[list[str]] = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            for number, fields in enumerate(reader, 1):
                if any(field.strip() for field in fields):
                    yield number, [field.strip(WHITE_SPACE) for field in fields]
            return
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as text ({error}); write it as UTF-8") from error
    for number, line in enumerate(text.split("\n"), 1):
        if fields := line.split():
            yield number, fields


def _number(index: PhotoIndex, name: str, where: str) -> int | None:
    """The number of a photo; None if there is none. Raises DatasetError for a name of several photos."""
    number = index.find(name)
    if number == AMBIGUOUS:
        raise DatasetError(f"{where}: {name} could be several photos; write its path")
    return number


def _normalise(column: str) -> str:
    return re.sub("[^a-z0-9]", "", column.lower())


def _numbers(row: Any, entries: int, where: str) -> list[int]:
    """The database numbers of a row, sorted, each once."""
    numbers = sorted({number for number in _integers(row, where) if number >= 0})
    if numbers and numbers[-1] >= entries:
        raise DatasetError(f"{where}: there is no database photo {numbers[-1]}, only {entries}; is it of another set?")
    return numbers


def _integers(row: Any, where: str) -> list[int]:
    """A number, or the numbers of a list or array, also of lists in lists; raises DatasetError for anything else."""
    if isinstance(row, list) or (isinstance(row, np.ndarray) and row.dtype == object):
        if not all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in row):
            return [number for value in row for number in _integers(value, where)]
        row = list(row)  # numbers alone, which become one array: one for each number takes long
    values = np.asarray(row).ravel()
    if not len(values):
        return []
    if values.dtype.kind not in "iuf" or not (np.abs(values) < LARGEST).all() or (values != values.astype(int)).any():
        raise DatasetError(f"{where} is not a list of whole numbers; write the numbers of database photos")
    return [int(value) for value in values.tolist()]


def _photo_numbers(photos: Photos) -> dict[int, int]:
    """The place of each photo by its number: the one in its file name, or its place in the order of names."""
    stems = [without_ending(name.rpartition("/")[2]) for name in photos.names]
    if all(stem.isascii() and stem.isdecimal() for stem in stems):
        numbers = {int(stem): place for place, stem in enumerate(stems)}
        if len(numbers) == len(stems):
            return numbers
    order = sorted(range(len(stems)), key=lambda place: _natural(photos.names[place]))
    return dict(enumerate(order))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in DIGITS.split(name)]


def _look_up(numbers: Sequence[int], places: dict[int, int], where: str) -> list[int]:
    """The places of photos by their numbers; raises DatasetError for a number without a photo."""
    try:
        return [places[number] for number in numbers]
    except KeyError as error:
        raise DatasetError(f"{where} {error.args[0]} has no photo; name the photos by their numbers") from None
