"""Prediction files in the MSLS format: reading and writing.

A text file with one row per query: ``key prediction1 prediction2 ...``, the best prediction first, separated by spaces.
The key of a sequence is the keys of its images, joined by commas. Keys have no file extension. Lines that begin with
``#`` are headers; they and blank lines are skipped. Only ASCII white space separates, because a key may contain other
white space. A zip with exactly one .csv at its root, as the challenge takes it, is read as that file. Hidden files that
systems add to a zip are skipped.
"""

from __future__ import annotations

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.base.files import write_bytes
from vpr.base.photo_files import WHITE_SPACE, is_hidden

SUFFIXES = (".csv", ".zip")
MAX_BYTES = 512 << 20  # of an unpacked .csv; a submission to MSLS has 20 MB
SEPARATORS = re.compile(f"[{WHITE_SPACE}]+")
ZIP_TIME = (2020, 1, 1, 0, 0, 0)  # constant, so that the same predictions give the same bytes


class PredictionError(VprError):
    """A prediction file that cannot be used. The message names the file, the line and the remedy."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The N rows of a file, as text. Names are not looked up yet."""

    path: Path
    queries: list[str]  # N names
    rows: list[list[str]]  # N rankings of names; their lengths may differ
    lines: np.ndarray  # (N,) int64, the line of each row in the file, from 1

    def __len__(self) -> int:
        return len(self.queries)

    def repeated_queries(self) -> Iterator[tuple[str, int, int]]:
        """(name, first line, line) of each row whose query has an earlier row."""
        first: dict[str, int] = {}
        for name, line in zip(self.queries, self.lines.tolist()):
            if first.setdefault(name, line) != line:
                yield name, first[name], line


def read_predictions(path: Path) -> Predictions:
    """The rows of a prediction file, .csv or .zip.

    Raises PredictionError if the file is missing, is not UTF-8 text, has no rows, or is a zip without exactly one .csv
    at its root.
    """
    path = Path(path)
    try:
        text = _read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise PredictionError(f"{path}: no such prediction file; check the path") from None
    except PredictionError:
        raise
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise PredictionError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from None
    except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, ValueError) as error:
        raise PredictionError(f"{path}: cannot be read ({error}); write the file again") from None
    queries, rows, lines = [], [], []
    for number, row in enumerate(text.split("\n"), start=1):
        fields = split_row(row)
        if fields and not fields[0].startswith("#"):
            queries.append(fields[0])
            rows.append(fields[1:])
            lines.append(number)
    if not rows:
        raise PredictionError(f"{path}: the file has no predictions; write one row for each query")
    return Predictions(path, queries, rows, np.array(lines, np.int64))


def split_row(row: str) -> list[str]:
    r"""The names of a row.

    >>> split_row("a  b\u00a0c\r") == ["a", "b\u00a0c"]
    True
    """
    return [word for word in SEPARATORS.split(row) if word]


def write_predictions(
    path: Path, queries: Sequence[str], rows: Sequence[Sequence[str]], header: Sequence[str] = ()
) -> None:
    """Write a file in the same format, atomically: a .csv, or a .zip with one .csv at its root.

    queries: names of the queries. rows: the names of the predictions of each query, best first. header: lines at the
    top, each after a ``#``. Raises ValueError if queries and rows differ in number, and PredictionError for another
    suffix and for a name that the format cannot contain.
    """
    check_suffix(path)
    check_names(path, queries, {name for row in rows for name in row})
    if len(queries) != len(rows):
        raise ValueError(f"{len(queries)} queries with {len(rows)} rankings; give one ranking for each")
    lines = [f"# {line}" for line in header]
    lines += [" ".join([query, *row]) for query, row in zip(queries, rows)]
    data = ("\n".join(lines) + "\n").encode()
    write_bytes(path, _zip(path.with_suffix(".csv").name, data) if path.suffix == ".zip" else data)


def check_names(path: Path, queries: Iterable[str], photos: Iterable[str]) -> None:
    """Raise PredictionError for the name of a query or of a prediction that the format cannot contain."""
    for name in queries:
        if name.startswith("#") or "\n" in name or split_row(name) != [name]:
            raise PredictionError(f"{path}: query '{name}' cannot be written into a prediction file; rename the image")
    for name in photos:
        if split_row(name) != [name]:
            raise PredictionError(f"{path}: photo '{name}' cannot be written into a prediction file; rename the image")


def check_suffix(path: Path) -> None:
    """Raise PredictionError if a file to write is neither a .csv nor a .zip."""
    if path.suffix not in SUFFIXES:
        raise PredictionError(f"{path}: a submission is a .csv or a .zip; choose one of these suffixes")


def _zip(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _read_bytes(path: Path) -> bytes:
    if path.suffix.lower() != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        files = [info.filename for info in archive.infolist() if not info.is_dir()]
        names = [name for name in files if not any(is_hidden(part) for part in name.split("/"))]
        if len(names) != 1 or "/" in names[0] or not names[0].endswith(".csv"):
            listed = ", ".join(names[:5]) or "nothing"
            raise PredictionError(f"{path}: contains {listed}; a zip needs exactly one .csv, at its root")
        with archive.open(names[0]) as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise PredictionError(f"{path}: {names[0]} has more than {MAX_BYTES >> 20} MiB; unpack it and check it")
        return data
