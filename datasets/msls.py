"""The MSLS reader: one call from a folder and a protocol to queries, database and ground truth.

    dataset = load(Path("msls"), Protocol(split="val"))
    for city in dataset.cities:
        city.query.names(), city.database.image_paths(), city.positives[0]

Numbering: within a city, queries and database entries count the kept sequences of its sides. Across
cities they follow one another in the order of ``cities`` ("pooled" numbering); ``query_offsets`` and
``database_offsets`` convert.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.positives import Ragged, concatenate
from datasets.protocol import DEFAULT_SEQ_LENGTH, Protocol, Split, Subtask, Task
from datasets.sides import City, Side, SideCounts, empty_after_filters, read_city
from datasets.tree import locate

__all__ = [
    "DEFAULT_SEQ_LENGTH", "MSLS", "City", "Protocol", "Ragged", "Side", "SideCounts", "Split",
    "Subtask", "Task", "load",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class MSLS:
    """A loaded dataset, immutable."""

    root: Path
    protocol: Protocol
    cities: tuple[City, ...]  # at least one, none without queries or database
    skipped: tuple[str, ...]  # cities left without queries or without database
    fingerprint: str  # SHA-256 over the CSVs read, of all cities, skipped ones included

    @property
    def query_offsets(self) -> np.ndarray:
        """(C + 1,) int64: city i has the pooled queries offsets[i] to offsets[i + 1]."""
        return _offsets([len(city.query) for city in self.cities])

    @property
    def database_offsets(self) -> np.ndarray:
        """(C + 1,) int64, the same for the database."""
        return _offsets([len(city.database) for city in self.cities])

    @property
    def without_ground_truth(self) -> tuple[str, ...]:
        """Cities without coordinates, which cannot be scored."""
        return tuple(city.name for city in self.cities if city.positives is None)

    @property
    def with_panoramas(self) -> tuple[str, ...]:
        """Cities where a missing raw.csv left panoramas in."""
        return tuple(c.name for c in self.cities if c.query.pano is None or c.database.pano is None)

    @property
    def positives(self) -> Ragged | None:
        """Pooled: per query of all cities its database indices; None when a city has no ground truth."""
        return self._pooled([city.positives for city in self.cities])

    @property
    def non_negatives(self) -> Ragged | None:
        """Pooled, training only: what must never serve as a negative of each query."""
        return self._pooled([city.non_negatives for city in self.cities])

    @property
    def scored(self) -> np.ndarray:
        """Pooled indices of the queries that have a positive, in order (the official ``qIdx``)."""
        shifted = [city.scored + start for city, start in zip(self.cities, self.query_offsets)]
        return np.concatenate(shifted)

    @property
    def night(self) -> np.ndarray:
        """Positions within ``scored`` of the queries with any frame by night."""
        return np.flatnonzero(np.concatenate([city.query.night[city.scored] for city in self.cities]))

    @property
    def sideways(self) -> np.ndarray:
        """Positions within ``scored`` of the queries with any frame looking sideways."""
        return np.flatnonzero(np.concatenate([city.query.sideways[city.scored] for city in self.cities]))

    def sampling_weights(self) -> np.ndarray:
        """(len(scored),) float64: 1, plus N/len(night) by night, plus N/len(sideways) sideways.

        The official weights for drawing training queries, not normalised.
        """
        weights = np.ones(len(self.scored))
        for members in (self.night, self.sideways):
            if len(members):
                weights[members] += len(weights) / len(members)
        return weights

    def query_names(self) -> list[str]:
        """Names of the pooled queries."""
        return [name for city in self.cities for name in city.query.names().tolist()]

    def database_names(self) -> list[str]:
        """Names of the pooled database."""
        return [name for city in self.cities for name in city.database.names().tolist()]

    def counts(self) -> dict[str, int]:
        """``queries``: the scored ones; ``queries_without_positives``: those set apart; ``database``.

        In a city without ground truth nothing can be set apart: all its queries count as ``queries``.
        """
        queries = len(self.scored)
        return {
            "queries": queries,
            "queries_without_positives": int(self.query_offsets[-1]) - queries,
            "database": int(self.database_offsets[-1]),
        }

    def _pooled(self, parts: list[Ragged | None]) -> Ragged | None:
        present = [part for part in parts if part is not None]
        if len(present) < len(parts):
            return None
        return concatenate(present, self.database_offsets[:-1].tolist())


def load(root: Path, protocol: Protocol, cache: bool = True) -> MSLS:
    """Read the metadata of the protocol's cities under ``root`` and apply the protocol.

    ``cache`` keeps parsed CSVs in the user's cache folder (see ``metadata_cache``). No image is read.
    Raises DatasetError, one line with the remedy, for a folder that is no MSLS tree, an unknown city, a
    missing or malformed CSV, and when no city keeps both queries and database.
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
        raise empty_after_filters(root, protocol, tuple(skipped))
    return MSLS(root, protocol, tuple(cities), tuple(skipped), digest.hexdigest())


def _offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
