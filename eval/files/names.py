"""Look-up of names (keys, or sequences' keys joined by commas) in a loaded dataset."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np

from vpr.datasets.msls.city import City, Side
from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.msls.foreign_keys import keys_of_other_cities

Role = Literal["query", "database"]
UNKNOWN = "unknown"


class NameIndex:
    """Names to the numbers of the retrieval set, and for names that have none the reason.

    The same name may stand in several cities (hand-made trees number their images): predictions are
    looked up in the query's own city first, and an ambiguous query name is reported by ``query``.
    """

    def __init__(self, dataset: MSLS) -> None:
        self._dataset = dataset
        offsets = dataset.database_offsets
        self.query_city = np.repeat(np.arange(len(dataset.cities)), np.diff(dataset.query_offsets)).tolist()
        self._database = [_numbered(city.database, int(start)) for city, start in zip(dataset.cities, offsets)]
        self._queries: dict[str, list[int]] = {}
        for index, name in enumerate(dataset.retrieval_set.queries.names.tolist()):
            self._queries.setdefault(name, []).append(index)
        self._descriptions: dict[tuple[str, Role], str] = {}

    def query(self, name: str) -> int | None:
        """Number of a query, None when it is no query of the protocol.

        Raises KeyError naming the cities when several hold a query of this name.
        """
        found = self._queries.get(name)
        if found is None:
            return None
        if len(found) > 1:
            cities = sorted({self._dataset.cities[self.query_city[index]].name for index in found})
            raise KeyError(", ".join(cities))
        return found[0]

    def cities(self, name: str) -> list[int]:
        """Numbers of the cities that have a query of this name."""
        return [self.query_city[index] for index in self._queries.get(name, [])]

    def is_query(self, name: str) -> bool:
        """Whether some city has a query of this name."""
        return name in self._queries

    def database(self, city: int) -> dict[str, int]:
        """Names of one city's database with their numbers."""
        return self._database[city]

    def database_anywhere(self, name: str) -> int | None:
        """Number of a database name in the first city that holds it."""
        return next((names[name] for names in self._database if name in names), None)

    def describe(self, name: str, role: Role) -> str:
        """Why ``name`` is no query (or database entry) of the protocol: a few words, or 'unknown'."""
        if (name, role) not in self._descriptions:
            self._descriptions[name, role] = self._describe(name.split(","), role)
        return self._descriptions[name, role]

    def _describe(self, keys: list[str], role: Role) -> str:
        other: Role = "database" if role == "query" else "query"
        for position, city in enumerate(self._dataset.cities):
            rows = self._rows(position, role, keys)
            if rows is not None:
                return self._why_filtered(city, role, rows)
            if self._rows(position, other, keys) is not None:
                return f"{other} image"
        elsewhere = self.city_not_chosen(",".join(keys))
        return UNKNOWN if elsewhere is None else f"of {elsewhere}, a city not among those chosen"

    def city_not_chosen(self, name: str) -> str | None:
        """The city of the tree, beside those loaded, that all images of ``name`` are from."""
        cities = {self._other_keys.get(key) for key in name.split(",")}
        return cities.pop() if len(cities) == 1 else None

    def _why_filtered(self, city: City, role: Role, rows: list[int]) -> str:
        protocol = self._dataset.protocol
        side: Side = getattr(city, role)
        length = side.frames.shape[1]
        if len(rows) != length:
            return f"not of {length} frame(s)"
        if side.pano is not None and side.pano[rows[length // 2]]:
            return "panorama"
        if length == 1:
            return f"outside subtask {protocol.subtask}"
        return f"no sequence of {length} frames in subtask {protocol.subtask}"

    def _rows(self, position: int, role: Role, keys: list[str]) -> list[int] | None:
        known = self._frame_rows[position, role]
        return [known[key] for key in keys] if all(key in known for key in keys) else None

    @cached_property
    def _frame_rows(self) -> dict[tuple[int, Role], dict[str, int]]:
        """Rows of all images by key, filtered or not, for each city and side."""
        return {
            (position, role): {key: row for row, key in enumerate(getattr(city, role).keys.tolist())}
            for position, city in enumerate(self._dataset.cities)
            for role in ("query", "database")
        }

    @cached_property
    def _other_keys(self) -> dict[str, str]:
        loaded = {city.name for city in self._dataset.cities}
        return keys_of_other_cities(self._dataset.root, loaded)


def _numbered(side: Side, start: int) -> dict[str, int]:
    return {name: index for index, name in enumerate(side.names().tolist(), start)}
