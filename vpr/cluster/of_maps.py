"""A map in shards: each searches and compares the photos that it holds; the first of all are merged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vpr.base.files import cache_folder
from vpr.cache import CacheSpec, DescriptorCache
from vpr.cluster.connecting import Cluster
from vpr.cluster.errors import ClusterError
from vpr.cluster.holders import Gone, Holders
from vpr.cluster.merging import first_of, outside, spans, within
from vpr.description.adaptation import Adaptation
from vpr.maps import index as indices
from vpr.maps.candidates import Candidates, Comparer
from vpr.maps.model import Described
from vpr.maps.photo_map import Map
from vpr.maps.store import DESCRIPTORS, State
from vpr.retrieval.settings import Fixed


@dataclass(frozen=True)
class OnCpu:
    """How a shard compares patches."""

    fixed: Fixed
    device: torch.device = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class MapPart:
    """Which photos of a map a shard holds: those from start to stop."""

    folder: Path  # of the map, from the root: the same on every machine
    state: State
    spec: CacheSpec
    start: int
    stop: int
    rows: np.ndarray  # (stop - start,) of these photos in the descriptor cache
    keys: str  # their digest
    adaptation: Adaptation | None
    fixed: Fixed

    def open(self) -> Comparer:
        """Its files as memory maps; raises VprError or OSError where they are not there, or are no longer the map's."""
        if State.of(self.folder) != self.state:
            raise ClusterError(f"{self.folder} is another map by now; give the command again")
        first = int(self.rows.min())
        cache = DescriptorCache(self.folder / DESCRIPTORS, self.spec, part=slice(first, int(self.rows.max()) + 1))
        if self.rows.max() - first >= len(cache) or digest_of_keys(cache.keys[self.rows - first]) != self.keys:
            raise ClusterError(f"{cache.path} holds other photos than before; give the command again")
        globals_ = np.load(self.folder / self.state.files["globals"][0], mmap_mode="r", allow_pickle=False)
        search = self._search(globals_[self.start : self.stop])
        return Comparer(OnCpu(self.fixed), cache, self.rows - first, search, self.adaptation, np.zeros((0, 3)))

    def _search(self, globals_: np.ndarray) -> indices.Search:
        """The index that fits the number of its photos; one that is a file is kept in this machine's cache folder."""
        kind = indices.kind_for(len(globals_))
        if kind == "flat":
            return indices.Search(globals_, kind, None)
        path = cache_folder("shards") / f"{self.state.files['globals'][1][:16]}-{self.start}-{self.stop}-{kind}.faiss"
        if not path.is_file():
            indices.build(globals_, kind, path)
        return indices.Search(globals_, kind, path)


def digest_of_keys(keys: np.ndarray) -> str:
    """What tells some images from others."""
    return hashlib.sha256("\n".join(keys).encode(errors="surrogateescape")).hexdigest()


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

    def _batch(self, described: Described, depth: int) -> Candidates:
        for _ in range(len(self.search.holders) + 1):
            try:
                return replace(super()._batch(described, depth), not_searched=self.search.not_searched)
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
    search = ShardedSearch(holders, [(part.start, part.stop) for part in parts])
    comparer = ShardedComparer(whole.model, whole.cache, whole.rows, search, whole.adaptation, whole.places)
    try:
        yield replace(photo_map, comparer=comparer)
    finally:
        holders.end()
