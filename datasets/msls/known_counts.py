"""The known counts of real MSLS validation, and remarks if a dataset differs from them.

The numbers are those of the official loader on MSLS v1.1, im2im, subtask ``all``, 25 m. Query counts are those of
scored queries, without the 7 of 747 that have no positive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vpr.datasets.default_data import is_mini_msls
from vpr.datasets.msls.city import City
from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.msls.protocol import Protocol


@dataclass(frozen=True)
class KnownCounts:
    """Images of one validation city: in the CSVs, kept by the filters, and queries with a positive."""

    database_rows: int
    query_rows: int
    database: int
    scored: int


KNOWN_COUNTS: dict[str, KnownCounts] = {
    "cph": KnownCounts(database_rows=12_601, query_rows=6_595, database=12_556, scored=498),
    "sf": KnownCounts(database_rows=6_315, query_rows=4_525, database=6_315, scored=242),
}


def count_remarks(dataset: MSLS) -> list[str]:
    """One line for each difference from real MSLS validation.

    It compares cph and sf under the default protocol (val, im2im, all, 25 m, either scope); other cities, other
    protocols and rendered trees have no known counts.
    """
    protocol = dataset.protocol
    if is_mini_msls(dataset.root) or replace(protocol, scope="city") != Protocol(cities=protocol.cities):
        return []
    known = [city for city in dataset.cities if city.name in KNOWN_COUNTS]
    remarks = [remark for city in known for remark in _city_remarks(city, KNOWN_COUNTS[city.name])]
    if not protocol.cities and len(known) < len(KNOWN_COUNTS):
        missing = ", ".join(sorted(set(KNOWN_COUNTS) - {city.name for city in known}))
        remarks.append(f"{missing} is missing, so this is only a part of MSLS validation (cph and sf)")
    return remarks


def _city_remarks(city: City, known: KnownCounts) -> list[str]:
    """The remarks on one city. If the numbers of rows differ, the other counts are not compared."""
    rows = ((city.database, known.database_rows), (city.query, known.query_rows))
    remarks = [
        f"{side.folder}: {len(side.keys)} images in the CSVs, but MSLS has {count}:"
        " the metadata is incomplete, unpack metadata.zip again"
        for side, count in rows
        if len(side.keys) != count
    ]
    if remarks:
        return remarks
    if len(city.database) != known.database:
        fault = f"{len(city.database)} images after the filters, but MSLS has {known.database}"
        remarks.append(f"{city.database.folder}: {fault}: subtask_index.csv or raw.csv is of another release")
    if len(city.scored) != known.scored:
        fault = f"{len(city.scored)} scored queries, but MSLS has {known.scored}"
        remarks.append(f"{city.query.folder}: {fault}: one of the CSVs is of another release")
    return remarks
