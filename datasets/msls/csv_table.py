"""One CSV file as columns, parsed without a Python loop over rows.

MSLS has 1.6 million rows, in four files for each side. All separators are found in the byte buffer at once. A field is
a pair of offsets into it, and a column is an array of fixed-width byte strings, which NumPy converts in one call.
Errors name their row.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError, file_error, row_error

NEWLINE, COMMA, UNIT_SEPARATOR, UNDERSCORE = 10, 44, 31, 95
UNPACK = "unpack the metadata again, or repair this file"
MAX_COORDINATE_M = 1e9  # UTM coordinates are below 1e7
TRUE_WORDS, FALSE_WORDS = (b"True", b"true", b"TRUE", b"1"), (b"False", b"false", b"FALSE", b"0")


@dataclass(frozen=True, eq=False)
class Table:
    """A parsed file: field (r, c) is ``buffer[starts[r, c]:ends[r, c]]``.

    buffer: (bytes,) uint8; starts, ends: (rows, columns) int64.
    """

    path: Path
    header: tuple[str, ...]
    buffer: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def has(self, column: str) -> bool:
        return column in self.header

    def text(self, column: str) -> np.ndarray:
        """(rows,) byte strings, empty for an empty field; DatasetError if there is no such column."""
        if column not in self.header:
            known = ", ".join(name for name in self.header if name)
            raise file_error(self.path, f"column '{column}' is missing (it has {known})", UNPACK)
        position = self.header.index(column)
        starts, ends = self.starts[:, position], self.ends[:, position]
        lengths = ends - starts
        width = max(int(lengths.max(initial=0)), 1)
        steps = np.arange(width)
        indices = np.minimum(starts[:, None] + steps, len(self.buffer) - 1)
        fields = self.buffer[indices]
        fields[steps >= lengths[:, None]] = 0
        return np.ascontiguousarray(fields).view(f"S{width}").reshape(-1)

    def required_text(self, column: str) -> np.ndarray:
        """As ``text``; an empty field is a DatasetError naming its row."""
        fields = self.text(column)
        self._refuse(fields == b"", column, fields, "is empty")
        return fields

    def booleans(self, column: str) -> np.ndarray:
        """(rows,) bool from True/False, true/false or 1/0; anything else is a DatasetError."""
        fields = self.text(column)
        true = np.isin(fields, TRUE_WORDS)
        self._refuse(~(true | np.isin(fields, FALSE_WORDS)), column, fields, "is not True or False")
        return true

    def integers(self, column: str) -> np.ndarray:
        """(rows,) int64; whole numbers written as floats ('12.0') are accepted."""
        numbers = self.floats(column)
        with np.errstate(invalid="ignore"):
            whole = np.isfinite(numbers) & (np.abs(numbers) < 2**53) & (np.floor(numbers) == numbers)
        self._refuse(~whole, column, self.text(column), "is not a whole number")
        return numbers.astype(np.int64)

    def floats(self, column: str) -> np.ndarray:
        """(rows,) float64, NaN for an empty field; text is a DatasetError."""
        fields = self.text(column)
        letters = fields.view(np.uint8).reshape(len(fields), -1) if len(fields) else np.zeros((0, 1), np.uint8)
        self._refuse((letters == UNDERSCORE).any(1), column, fields, "is not a number")  # Python reads 4_7 as 47
        fields = np.where(fields == b"", b"nan", fields)
        try:
            return fields.astype(np.float64)
        except ValueError:
            faulty = np.array([not _is_number(field) for field in fields])
            self._refuse(faulty, column, fields, "is not a number")
            raise

    def coordinates(self, column: str) -> np.ndarray:
        """(rows,) float64 metres; NaN, an empty field, infinity or a value far outside UTM is a DatasetError."""
        numbers = self.floats(column)
        self._refuse(~np.isfinite(numbers), column, self.text(column), "is not a finite coordinate")
        self._refuse(np.abs(numbers) > MAX_COORDINATE_M, column, self.text(column), "is not a coordinate in metres")
        return numbers

    def _refuse(self, faulty: np.ndarray, column: str, fields: np.ndarray, fault: str) -> None:
        """Raise DatasetError for the first row of the mask, if any."""
        if faulty.any():
            row = int(np.argmax(faulty))
            value = fields[row].decode("utf-8", "replace")
            raise row_error(self.path, row, f"{column} '{value}' {fault}", UNPACK)


def parse(path: Path, data: bytes) -> Table:
    """The table in ``data``, read from ``path``.

    Lines end with LF or CRLF; a byte order mark is ignored. Raises DatasetError for an empty file, a repeated column,
    NUL bytes, bytes that are not UTF-8, a row with more or fewer fields than the header, and a file without a final
    line end: pandas writes one, so the file is truncated.
    """
    data = _clean(path, data)
    separator = COMMA
    if b'"' in data:
        data, separator = _unquote(data), UNIT_SEPARATOR
    header = tuple(data[: data.index(b"\n")].decode().split(chr(separator)))
    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise row_error(path, -1, f"column '{twice}' is repeated", UNPACK)
    buffer = np.frombuffer(data, dtype=np.uint8)
    newlines = buffer == NEWLINE
    separators = np.flatnonzero(newlines | (buffer == separator))
    _check_widths(path, separators, np.flatnonzero(newlines), len(header))
    ends = separators.reshape(-1, len(header))
    starts = np.concatenate([[0], separators[:-1] + 1]).reshape(ends.shape)
    return Table(path, header, buffer, starts[1:], ends[1:])


def _clean(path: Path, data: bytes) -> bytes:
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    if not data.strip():
        raise file_error(path, "the file is empty", UNPACK)
    if b"\0" in data:
        row = data[: data.index(b"\0")].count(b"\n") - 1
        raise row_error(path, row, "the row holds NUL bytes (a damaged disk block?)", UNPACK)
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            row = data[: error.start].count(b"\n") - 1
            raise row_error(path, row, "the text is not UTF-8", "save the file as UTF-8") from None
    if not data.endswith(b"\n"):
        row = data.count(b"\n") - 1
        remedy = f"{UNPACK} (if it is complete, add a line break at its end)"
        raise row_error(path, row, "the file ends inside this row, so it is truncated", remedy)
    return data.rstrip(b"\n") + b"\n"


def _unquote(data: bytes) -> bytes:
    """The same table without quotes; its fields are separated by the ASCII unit separator."""
    rows = csv.reader(io.StringIO(data.decode("utf-8"), newline=""))
    return "".join(chr(UNIT_SEPARATOR).join(row) + "\n" for row in rows).encode("utf-8")


def _check_widths(path: Path, separators: np.ndarray, newlines: np.ndarray, width: int) -> None:
    """Raise DatasetError for the first line that does not have ``width`` fields."""
    fields = np.diff(np.searchsorted(separators, newlines), prepend=-1)
    wrong = np.flatnonzero(fields != width)
    if len(wrong):
        row = int(wrong[0]) - 1
        raise row_error(path, row, f"{fields[wrong[0]]} fields, but the header has {width}", UNPACK)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; DatasetError if it is missing or unreadable."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise file_error(path, "the file is missing", "unpack the metadata archive here") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
