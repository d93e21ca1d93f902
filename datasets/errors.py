"""The error of this package, for bad input: a message of one line."""

from __future__ import annotations

from pathlib import Path

from vpr.base.errors import VprError

FIRST_ROW_LINE = 2  # row 0 of a table is line 2 of its file, after the header


class DatasetError(VprError):
    """Bad dataset input; the message names the file, the row and the remedy."""


def row_error(path: Path, row: int, fault: str, remedy: str) -> DatasetError:
    """The error for one row of a CSV. ``row`` counts from 0, as the index column of the files; -1 is the header."""
    name = "header" if row < 0 else f"row {row}"
    return DatasetError(f"{path}, {name} (line {row + FIRST_ROW_LINE}): {fault}; {remedy}")


def file_error(path: Path, fault: str, remedy: str) -> DatasetError:
    """The error for a whole file or folder."""
    return DatasetError(f"{path}: {fault}; {remedy}")
