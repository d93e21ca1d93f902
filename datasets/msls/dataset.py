"""The MSLS reader: from a folder and a protocol to cities, and to the retrieval set that other packages use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.msls.city import City, Side, read_city
from vpr.datasets.msls.protocol import Protocol
from vpr.datasets.msls.sequences import centres
from vpr.datasets.msls.tree import locate
from vpr.datasets.ragged import Ragged, concatenate, offsets_of
from vpr.datasets.retrieval_set import Entries, RetrievalSet

APART_M = 1e7  # metres between cities: eastings of different zones are not comparable


@dataclass(frozen=True, eq=False)
class MSLS:
    """A loaded dataset, immutable.

    Numbering: within a city, queries and database entries are numbers of the kept sequences of its sides. The retrieval
    set numbers them through all cities, in the order of ``cities``.
    """

    root: Path
    protocol: Protocol
    cities: tuple[City, ...]  # at least one, none without queries or database
    skipped: tuple[str, ...]  # cities without queries or without database after the filters
    fingerprint: str  # SHA-256 of the CSVs of all cities, also of skipped ones

    @cached_property
    def retrieval_set(self) -> RetrievalSet:
        """Queries, database and positives of all cities: each city is a group, or all are one in scope ``merged``."""
        queries, database = ([getattr(city, side) for city in self.cities] for side in ("query", "database"))
        entries = RetrievalSet(
            self.root, _entries(queries), _entries(database), self.positives, self.fingerprint,
            _positions(database), _positions(queries), _drives(queries),
        )  # fmt: skip
        return entries if self.protocol.scope == "city" else entries.merged()

    @property
    def query_offsets(self) -> np.ndarray:
        """(C + 1,) int64: city i has the queries offsets[i] to offsets[i + 1]."""
        return offsets_of([len(city.query) for city in self.cities])

    @property
    def database_offsets(self) -> np.ndarray:
        """(C + 1,) int64, the same for the database."""
        return offsets_of([len(city.database) for city in self.cities])

    @property
    def positives(self) -> Ragged | None:
        """For each query of all cities its database numbers; None if a city has no ground truth."""
        parts = [city.positives for city in self.cities if city.positives is not None]
        if len(parts) < len(self.cities):
            return None
        return concatenate(parts, self.database_offsets[:-1].tolist())

    @property
    def without_ground_truth(self) -> tuple[str, ...]:
        """Cities without coordinates, which cannot be scored."""
        return tuple(city.name for city in self.cities if city.positives is None)

    @property
    def with_panoramas(self) -> tuple[str, ...]:
        """Cities without raw.csv, whose panoramas are not removed."""
        return tuple(c.name for c in self.cities if c.query.pano is None or c.database.pano is None)


def load(root: Path, protocol: Protocol, cache: bool = True) -> MSLS:
    """Read the metadata of the protocol's cities under ``root`` and apply the protocol.

    ``cache`` keeps parsed CSVs in the user's cache folder (see ``metadata_cache``). No image is read.
    Raises DatasetError, one line with the remedy, for a folder that is not an MSLS tree, an unknown city, a
    missing or malformed CSV, and if no city keeps both queries and database.
    """
    root = Path(root)
    cities, skipped, digest = [], [], hashlib.sha256()
    for place in locate(root, protocol.split, protocol.cities):
        city, fingerprint = read_city(root, place, protocol, cache)
        digest.update(f"{place.branch}/{place.name} {fingerprint}\n".encode())
        if len(city.query) and len(city.database):
            cities.append(city)
        else:
            skipped.append(place.name)
    if not cities:
        raise _no_city_error(root, protocol, skipped)
    return MSLS(root, protocol, tuple(cities), tuple(skipped), digest.hexdigest())


def _entries(sides: list[Side]) -> Entries:
    return Entries(
        images=np.concatenate([side.image_paths(side.frames) for side in sides]),
        names=np.concatenate([side.names() for side in sides]),
        offsets=offsets_of([len(side) for side in sides]),
    )


def _positions(sides: list[Side]) -> np.ndarray | None:
    """(N, 2) of the entries' centre frames, metres, with cities far apart; None if a city has no coordinates."""
    known = [side.utm[centres(side.frames)] for side in sides if side.utm is not None]
    if len(known) < len(sides):
        return None
    return np.concatenate([utm + np.array([APART_M * number, 0]) for number, utm in enumerate(known)])


def _drives(sides: list[Side]) -> np.ndarray:
    """(S,) numbers of the entries' drives, different in different cities."""
    cities = np.repeat(np.arange(len(sides)), [len(side) for side in sides])
    pairs = np.stack([cities, np.concatenate([side.drive for side in sides])], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)


def _no_city_error(root: Path, protocol: Protocol, skipped: list[str]) -> DatasetError:
    """The error if no city keeps both queries and database."""
    return DatasetError(
        f"{root}: no queries with a database are left in {', '.join(skipped)} for {protocol.task} of length"
        f" {protocol.seq_length}, subtask {protocol.subtask}; choose another subtask, length or city"
    )
