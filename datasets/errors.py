"""The one error of this package: bad input, told in one line."""

from __future__ import annotations

from pathlib import Path

from vpr.base.errors import VprError

FIRST_ROW_LINE = 2  # row 0 of a table stands on line 2 of its file, below the header


class DatasetError(VprError):
    """Bad dataset input: one line naming the file, the row and the remedy."""


def row_error(path: Path, row: int, fault: str, remedy: str) -> DatasetError:
    """The error for one row of a CSV; ``row`` counts from 0 as the files' own index column does.

    Row -1 is the header.
    """
    name = "header" if row < 0 else f"row {row}"
    return DatasetError(f"{path}, {name} (line {row + FIRST_ROW_LINE}): {fault}; {remedy}")


def file_error(path: Path, fault: str, remedy: str) -> DatasetError:
    """The error for a whole file or folder."""
    return DatasetError(f"{path}: {fault}; {remedy}")
