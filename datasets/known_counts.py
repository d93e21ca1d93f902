"""The counts that real MSLS validation must give, and what to look for when it does not.

Figures: the official loader on MSLS v1.1, im2im, subtask ``all``, 25 m. Query counts are of the scored
queries: the 7 of 747 without a positive are not among them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from datasets.msls import MSLS, City, Protocol, Side

MINI_MARKER = "mini_msls.json"  # stands at the root of a rendered tree, which has counts of its own
JPEG_END = b"\xff\xd9"


@dataclass(frozen=True)
class KnownCounts:
    """Images of one validation city: in the CSVs, kept by the filters, and queries with a positive."""

    database_rows: int
    query_rows: int
    database: int
    scored: int


KNOWN: dict[str, KnownCounts] = {
    "cph": KnownCounts(database_rows=12_601, query_rows=6_595, database=12_556, scored=498),
    "sf": KnownCounts(database_rows=6_315, query_rows=4_525, database=6_315, scored=242),
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
    remarks = [remark for city in known for remark in _city_remarks(city, KNOWN[city.name])]
    if not protocol.cities and len(known) < len(KNOWN):
        missing = ", ".join(sorted(set(KNOWN) - {city.name for city in known}))
        remarks.append(f"{missing} is missing, so this is only a part of MSLS validation (cph and sf)")
    return remarks


def _city_remarks(city: City, known: KnownCounts) -> list[str]:
    """Rows first: when these differ, the later counts must."""
    rows = ((city.database, known.database_rows), (city.query, known.query_rows))
    remarks = [
        f"{side.folder}: {side.counts.rows} images in the CSVs where MSLS has {count}:"
        " the metadata is incomplete, unpack metadata.zip again"
        for side, count in rows
        if side.counts.rows != count
    ]
    if remarks:
        return remarks
    if len(city.database) != known.database:
        fault = f"{len(city.database)} images after the filters where MSLS has {known.database}"
        remarks.append(f"{city.database.folder}: {fault}: subtask_index.csv or raw.csv is of another release")
    if len(city.scored) != known.scored:
        fault = f"{len(city.scored)} scored queries where MSLS has {known.scored}"
        remarks.append(f"{city.query.folder}: {fault}: one of the CSVs is of another release")
    return remarks


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
