"""The counts that real MSLS validation must give, and what to look for when it does not.

Figures: the official loader on MSLS v1.1, im2im, subtask ``all``, 25 m. Query counts are of the scored
queries: the 7 of 747 without a positive are not among them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vpr.datasets.default import NOTE
from vpr.datasets.msls.city import City
from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.msls.protocol import Protocol

MINI_MARKERS = ("mini_msls.json", NOTE)  # at the root of a rendered tree, whole or in part


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
    """One line for each difference from real MSLS validation; empty when there is none.

    Compared are cph and sf under the default protocol (val, im2im, all, 25 m, either scope); other cities, other
    protocols and rendered trees have no known counts.
    """
    protocol = dataset.protocol
    rendered = any((dataset.root / marker).exists() for marker in MINI_MARKERS)
    if rendered or replace(protocol, scope="city") != Protocol(cities=protocol.cities):
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
        f"{side.folder}: {len(side.keys)} images in the CSVs where MSLS has {count}:"
        " the metadata is incomplete, unpack metadata.zip again"
        for side, count in rows
        if len(side.keys) != count
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
