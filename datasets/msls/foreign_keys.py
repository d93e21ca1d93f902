"""Finds the city of an image key that is not in the loaded cities, for error messages."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from vpr.datasets.errors import DatasetError
from vpr.datasets.msls.csv_table import parse, read_bytes
from vpr.datasets.msls.metadata import SEQUENCES, decode
from vpr.datasets.msls.tree import existing_cities


def keys_of_other_cities(root: Path, loaded: Collection[str]) -> dict[str, str]:
    """The image keys of the cities of ``root`` that are not in ``loaded``, with their city's name.

    A city whose seq_info.csv cannot be read is skipped.
    """
    keys: dict[str, str] = {}
    for place in existing_cities(root):
        if place.name in loaded:
            continue
        for side in ("query", "database"):
            path = root / place.side_folder(side) / SEQUENCES
            try:
                table = parse(path, read_bytes(path))
                keys |= dict.fromkeys(decode(table.text("key")).tolist(), place.name)
            except DatasetError:
                continue
    return keys
