"""The counts that real MSLS validation must give, and what to look for when it does not.

Figures: the official loader on MSLS v1.1 (images in the CSVs, and images kept by subtask ``all`` and
without panoramas, of im2im at 25 m).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from datasets.msls import MSLS, Protocol, Side

MINI_MARKER = "mini_msls.json"  # stands at the root of a rendered tree, which has counts of its own
KNOWN_SCORED = 740  # queries with a positive, both cities together
JPEG_END = b"\xff\xd9"


@dataclass(frozen=True)
class KnownCounts:
    """Images of one validation city: in the CSVs, and after the filters."""

    database_rows: int
    query_rows: int
    database: int
    query: int


KNOWN: dict[str, KnownCounts] = {
    "cph": KnownCounts(database_rows=12_601, query_rows=6_595, database=12_556, query=498),
    "sf": KnownCounts(database_rows=6_315, query_rows=4_525, database=6_315, query=242),
}


def count_remarks(dataset: MSLS) -> list[str]:
    """What differs from real MSLS validation, a line each; none when all is as known.

    Compared are cph and sf under the default protocol (val, im2im, all, 25 m); other cities, other
    protocols and rendered trees (mini_msls.json at the root) have no known counts.
    """
    protocol = dataset.protocol
    if protocol != Protocol(cities=protocol.cities) or (dataset.root / MINI_MARKER).exists():
        return []
    known = [city for city in dataset.cities if city.name in KNOWN]
    remarks = []
    for city in known:
        expected = KNOWN[city.name]
        remarks += _side_remarks(city.database, expected.database_rows, expected.database)
        remarks += _side_remarks(city.query, expected.query_rows, expected.query)
    scored = sum(len(city.scored) for city in known)
    if len(known) == len(KNOWN) and not remarks and scored != KNOWN_SCORED:
        remarks.append(
            f"{scored} queries are scored where MSLS validation has {KNOWN_SCORED}:"
            " postprocessed.csv holds other positions, unpack metadata.zip again"
        )
    if not protocol.cities and len(known) < len(KNOWN):
        missing = ", ".join(sorted(set(KNOWN) - {city.name for city in known}))
        remarks.append(f"{missing} is missing, so this is only a part of MSLS validation (cph and sf)")
    return remarks


def _side_remarks(side: Side, rows: int, kept: int) -> list[str]:
    if side.counts.rows != rows:
        fault = f"{side.counts.rows} images in the CSVs where MSLS has {rows}"
        return [f"{side.folder}: {fault}: the metadata is incomplete, unpack metadata.zip again"]
    if len(side) != kept:
        fault = f"{len(side)} images after the filters where MSLS has {kept}"
        return [f"{side.folder}: {fault}: subtask_index.csv or raw.csv is of another release"]
    return []


def image_remarks(dataset: MSLS) -> list[str]:
    """Images of the kept sequences that are missing or cut on disk, a line a side; reads file ends.

    A missing image means that a volume (an image zip) was not unpacked; a file without the JPEG end
    marker is one of those that msls_patch_v1.1.zip replaces.
    """
    return [
        remark
        for city in dataset.cities
        for side in (city.database, city.query)
        for remark in _image_remarks(dataset.root, side)
    ]


def _image_remarks(root: Path, side: Side) -> list[str]:
    paths = [root / path for path in side.image_paths(sorted(set(side.frames.ravel().tolist()))).tolist()]
    missing = [path for path in paths if not path.is_file()]
    cut = [path for path in paths if path.is_file() and not _ends_as_jpeg(path)]
    remarks = []
    if missing:
        fault = f"{len(missing)} of {len(paths)} images are missing, e.g. {missing[0].name}"
        remarks.append(f"{side.folder}: {fault}: unpack the image zips (a volume is missing)")
    if cut:
        fault = f"{len(cut)} of {len(paths)} images are cut, e.g. {cut[0].name}"
        remarks.append(f"{side.folder}: {fault}: unpack msls_patch_v1.1.zip on top")
    return remarks


def _ends_as_jpeg(path: Path) -> bool:
    """Whether the last bytes hold the end marker (some cameras pad behind it)."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 64))
        return JPEG_END in file.read()
