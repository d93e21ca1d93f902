"""Prediction files in the MSLS format: reading and writing.

Text; one row a query, ``key prediction1 prediction2 ...``, best first, separated by spaces; the key of
a sequence is its images' keys joined by commas; no file extensions. Lines that begin with ``#`` are
headers and blank lines are skipped. Only white space of ASCII separates: other kinds may stand in a key.
A zip with exactly one .csv at its root, as was uploaded to the challenge, is read as that file; what
systems add to a zip is skipped.
"""

from __future__ import annotations

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.base.files import write_bytes
from vpr.base.photo_files import is_hidden

SUFFIXES = (".csv", ".zip")
MOST_BYTES = 512 << 20  # of a zipped file once it is unpacked; that of MSLS has 20 MB
BLANK = re.compile(r"[ \t\r\f\v]+")
ZIP_TIME = (2020, 1, 1, 0, 0, 0)  # fixed, so that the same predictions make the same bytes


class PredictionError(VprError):
    """A prediction file that cannot be used: one line naming the file, the line and the remedy."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The rows of a file as they stand in it, N of them, nothing looked up yet."""

    path: Path
    queries: list[str]  # N names
    rows: list[list[str]]  # N rankings of names, possibly of uneven length
    lines: np.ndarray  # (N,) int64, the line of each row in the file, from 1

    def __len__(self) -> int:
        return len(self.queries)

    def repeated_queries(self) -> Iterator[tuple[str, int, int]]:
        """(name, first line, line) of each row whose query stands in an earlier row."""
        first: dict[str, int] = {}
        for name, line in zip(self.queries, self.lines.tolist()):
            if first.setdefault(name, line) != line:
                yield name, first[name], line


def read_predictions(path: Path) -> Predictions:
    """The rows of a prediction file, .csv or .zip.

    Raises PredictionError when the file is missing, not UTF-8 text, without rows, or a zip that does
    not hold exactly one .csv at its root.
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
        fields = words(row)
        if fields and not fields[0].startswith("#"):
            queries.append(fields[0])
            rows.append(fields[1:])
            lines.append(number)
    if not rows:
        raise PredictionError(f"{path}: the file holds no predictions; write one row for each query")
    return Predictions(path, queries, rows, np.array(lines, np.int64))


def words(row: str) -> list[str]:
    r"""The names of a row.

    >>> words("a  b\u00a0c\r") == ["a", "b\u00a0c"]
    True
    """
    return [word for word in BLANK.split(row) if word]


def write_predictions(
    path: Path, queries: Sequence[str], rows: Sequence[Sequence[str]], header: Sequence[str] = ()
) -> None:
    """Write a file in the same format, whole or not at all: a .csv, or a .zip with one .csv at its root.

    ``queries``: names of the queries; ``rows``: for each the names of its predictions, best first;
    ``header``: lines written first behind a ``#``. Raises ValueError when the two differ in length, PredictionError for
    another suffix.
    """
    check_suffix(path)
    for name in queries:
        if name.startswith("#") or "\n" in name or words(name) != [name]:
            raise PredictionError(f"{path}: query '{name}' cannot stand in a prediction file; rename the image")
    if len(queries) != len(rows):
        raise ValueError(f"{len(queries)} queries with {len(rows)} rankings; give one ranking for each")
    lines = [f"# {line}" for line in header]
    lines += [" ".join([query, *row]) for query, row in zip(queries, rows)]
    data = ("\n".join(lines) + "\n").encode()
    write_bytes(path, _zipped(path.with_suffix(".csv").name, data) if path.suffix == ".zip" else data)


def check_suffix(path: Path) -> None:
    """Raise PredictionError for a file to be written that is neither a .csv nor a .zip."""
    if path.suffix not in SUFFIXES:
        raise PredictionError(f"{path}: a submission is a .csv or a .zip; choose one of these suffixes")


def _zipped(name: str, data: bytes) -> bytes:
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
            raise PredictionError(f"{path}: holds {listed}; a zip needs exactly one .csv, at its root")
        with archive.open(names[0]) as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise PredictionError(f"{path}: {names[0]} has more than {MOST_BYTES >> 20} MiB; unpack it and look at it")
        return data
