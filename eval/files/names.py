"""Look-up of names in a loaded dataset. A name is a key, or the keys of a sequence joined by commas."""

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
    """The numbers of names in the retrieval set, and the reason if a name has none.

    Several cities may have the same name, if a tree numbers its images. Predictions are looked up in the city of the
    query first. `query` reports an ambiguous query.
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
        """The number of a query; None if it is not a query of the protocol.

        Raises KeyError, with the names of the cities, if several have a query of this name.
        """
        found = self._queries.get(name)
        if found is None:
            return None
        if len(found) > 1:
            cities = sorted({self._dataset.cities[self.query_city[index]].name for index in found})
            raise KeyError(", ".join(cities))
        return found[0]

    def cities(self, name: str) -> list[int]:
        """The numbers of the cities that have a query of this name."""
        return [self.query_city[index] for index in self._queries.get(name, [])]

    def is_query(self, name: str) -> bool:
        """Whether a city has a query of this name."""
        return name in self._queries

    def database(self, city: int) -> dict[str, int]:
        """The numbers of the database entries of one city, by name."""
        return self._database[city]

    def database_anywhere(self, name: str) -> int | None:
        """The number of a database entry in the first city that has its name; None if there is none."""
        return next((names[name] for names in self._database if name in names), None)

    def describe(self, name: str, role: Role) -> str:
        """The reason why a name is not a query (or a database entry) of the protocol, in a few words; or 'unknown'."""
        if (name, role) not in self._descriptions:
            self._descriptions[name, role] = self._describe(name.split(","), role)
        return self._descriptions[name, role]

    def _describe(self, keys: list[str], role: Role) -> str:
        other: Role = "database" if role == "query" else "query"
        for position, city in enumerate(self._dataset.cities):
            rows = self._rows(position, role, keys)
            if rows is not None:
                return self._filter_reason(city, role, rows)
            if self._rows(position, other, keys) is not None:
                return f"{other} image"
        elsewhere = self.city_not_chosen(",".join(keys))
        return UNKNOWN if elsewhere is None else f"of {elsewhere}, a city that is not chosen"

    def city_not_chosen(self, name: str) -> str | None:
        """The city of all images of a name, if the tree has it but it is not loaded; else None."""
        cities = {self._other_keys.get(key) for key in name.split(",")}
        return cities.pop() if len(cities) == 1 else None

    def _filter_reason(self, city: City, role: Role, rows: list[int]) -> str:
        """The reason why the protocol filters the images of a city out."""
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
        """The rows of keys in a side of a city; None if it lacks one."""
        known = self._frame_rows[position, role]
        return [known[key] for key in keys] if all(key in known for key in keys) else None

    @cached_property
    def _frame_rows(self) -> dict[tuple[int, Role], dict[str, int]]:
        """For each city and side: the row of each image by key, filtered or not."""
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
