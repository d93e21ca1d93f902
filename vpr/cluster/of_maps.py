"""A map in shards: each searches and compares the photos that it holds; the first of all are merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from vpr.cluster.connecting import Cluster
from vpr.cluster.errors import ClusterError
from vpr.cluster.holders import Gone, Holders
from vpr.cluster.map_part import MapPart, digest_of_keys
from vpr.cluster.merging import first_of, outside, spans, within
from vpr.maps.candidates import Candidates, Comparer, Described
from vpr.maps.index import Search
from vpr.maps.photo_map import Map
from vpr.retrieval.fusion import NO_CANDIDATE


def parts_of(photo_map: Map, shards: int) -> list[MapPart]:
    """A map in so many parts of about the same number of photos."""
    content, whole = photo_map.content, photo_map.comparer
    return [
        MapPart(photo_map.folder.resolve(), content.state, whole.cache.spec, start, stop,
                whole.rows[start:stop], digest_of_keys(whole.cache.keys[whole.rows[start:stop]]),
                whole.adaptation, photo_map.model.fixed)
        for start, stop in spans(len(whole.rows), shards)
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class ShardedSearch:
    """The search of a map's global descriptors by all shards that answer."""

    holders: Holders
    whole: Search
    spans: Sequence[tuple[int, int]]  # the photos of each shard

    def __call__(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """As `vpr.maps.index.Search`; raises ClusterError where no shard answers."""
        answers = self.holders.ask("search", [(queries, depth)] * len(self.holders))
        found = [
            (answer[0], outside(answer[1], start))
            for answer, (start, _) in zip(answers, self.spans)
            if not isinstance(answer, Gone)
        ]
        if not found:
            raise ClusterError(f"{self.holders.why()}, and so are all others; see that their machines run")
        return first_of(found, min(depth, self.spans[-1][1]))

    def cosines(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As `vpr.maps.index.Search`, from the files of the map, which this machine has too."""
        return self.whole.cosines(queries, rows)

    def there(self, rows: np.ndarray) -> np.ndarray:
        """Rows (Q, K) without those of shards that are gone: -1 fills them up at the end."""
        for number in self.holders.gone:
            start, stop = self.spans[number]
            rows = np.where((rows >= start) & (rows < stop), NO_CANDIDATE, rows)
        return np.take_along_axis(rows, np.argsort(rows < 0, axis=1, kind="stable"), 1)

    @property
    def not_searched(self) -> int:
        """Photos of the shards that are gone."""
        return sum(self.spans[number][1] - self.spans[number][0] for number in self.holders.gone)


class _Lost(Exception):
    """A shard went away between the search and the comparison."""


@dataclass(frozen=True, eq=False)
class ShardedComparer(Comparer):
    """What photos are compared with, in shards: ``search`` asks them all, and patches are compared where they lie.

    A shard that is gone is left out of an answer, whose ``not_searched`` says how many photos that are.
    """

    search: ShardedSearch  # type: ignore[assignment]

    def _batch(self, described: Described, depth: int, shortlist: np.ndarray | None) -> Candidates:
        for _ in range(len(self.search.holders) + 1):
            try:
                rows = None if shortlist is None else self.search.there(shortlist)
                return replace(super()._batch(described, depth, rows), not_searched=self.search.not_searched)
            except _Lost:
                continue
        raise ClusterError(f"{self.search.holders.why()}, and shards come and go; see that their machines run")

    def structural(self, own: tuple[np.ndarray, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """As of a map on one machine; raises _Lost where a shard that found candidates is gone by now."""
        shared, parts = self.search.holders.share(own), [within(rows, *span) for span in self.search.spans]
        answers = self.search.holders.ask(
            "structural", [(shared, part) if (part >= 0).any() else None for part in parts]
        )
        if any(isinstance(answer, Gone) for answer in answers):
            raise _Lost
        return np.maximum.reduce([answer for answer in answers if answer is not None])


@contextmanager
def sharded(photo_map: Map, cluster: Cluster, shards: int | None) -> Iterator[Map]:
    """Inside, the map as it is held by shards on a cluster, one for each machine where no number is given."""
    parts = parts_of(photo_map, shards or cluster.machines)
    holders = Holders(cluster, [part.open for part in parts])
    whole = photo_map.comparer
    search = ShardedSearch(holders, whole.search, [(part.start, part.stop) for part in parts])
    comparer = ShardedComparer(whole.model, whole.cache, whole.rows, search, whole.adaptation, whole.places)
    try:
        yield replace(photo_map, comparer=comparer)
    finally:
        holders.end()
