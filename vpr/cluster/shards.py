"""Shards: every process holds a part of a map, or of an evaluation's database, searches it and compares its images.

Every machine opens the same files by their paths. A map answers without the shards that are gone and says how many
photos those are. An evaluation needs all of them: without one it would be another evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from vpr.base.files import cache_folder
from vpr.base.progress import progress
from vpr.cache import CacheSpec, DescriptorCache
from vpr.cluster.connecting import Cluster
from vpr.cluster.errors import ClusterError
from vpr.cluster.holders import Holders, Unavailable
from vpr.cluster.merging import merge, spans, to_global, to_local
from vpr.description.adaptation import Adaptation
from vpr.description.describe import Described
from vpr.maps import index as indices
from vpr.maps.candidates import Candidates, Comparer
from vpr.maps.index import Search
from vpr.maps.store import DESCRIPTORS, State
from vpr.retrieval.fusion import NO_CANDIDATE
from vpr.retrieval.rerank import CPU, CachedImages, ImagesInMemory, Similarities, compare_images
from vpr.retrieval.sequences import sequence_descriptors
from vpr.retrieval.settings import RerankConfig

if TYPE_CHECKING:
    from vpr.maps.photo_map import Map

QUERIES = 128  # of an evaluation that shards are asked about at a time


@dataclass(frozen=True, eq=False)
class Shard:
    """What one process holds: entries, which are searched, and images, which are compared."""

    search: Search  # of its entries
    first_entry: int  # number of its first entry, among those of all shards
    images: CachedImages
    first_image: int = 0  # number of its first image, among those of all shards

    def find(self, queries: np.ndarray, first: int, last: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Similarities (Q, k), falling, and entries (Q, k) among those from first to last, numbered through all shards.

        queries: unit vectors (Q, G).
        """
        count = len(self.search.globals_)
        begin, end = (min(max(entry - self.first_entry, 0), count) for entry in (first, last))
        if begin == end:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        inside = (begin, end) == (0, count)
        search = self.search if inside else Search(self.search.globals_[begin:end], "flat", None)
        similarity, rows = search(queries, depth)
        return similarity, to_global(rows, self.first_entry + begin)

    def compare(self, own: tuple, candidates: np.ndarray, config: RerankConfig, weight: float) -> Similarities:
        """As `compare_images`, by the fields of the queries' `Described`; -inf for candidates of other shards."""
        mine = to_local(candidates, self.first_image, self.first_image + len(self.images))
        return compare_images(ImagesInMemory(Described(*own)), self.images, mine, config, weight=weight)


class Part(Protocol):
    """What a shard is going to hold; it travels to the process that opens it."""

    def open(self) -> Shard:
        """The shard; raises VprError or OSError if the files are missing, or have changed."""
        ...


class ShardLost(Exception):
    """A shard went away between the search and the comparison."""


class Shards:
    """The processes that hold the parts, from the side of the one that asks."""

    def __init__(self, cluster: Cluster, parts: Sequence[Part], entries: int, owner: np.ndarray) -> None:
        """entries: how many there are in all shards. owner: the shard that compares each image, (M,)."""
        self.holders, self.entries, self.owner = Holders(cluster, [part.open for part in parts]), entries, owner

    def search(self, queries: np.ndarray, first: int, last: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """What the shards that answer find among entries from first to last; raises ClusterError if none answers."""
        answers = self.holders.ask("find", [(queries, first, last, depth)] * len(self.holders))
        found = [answer for answer in answers if not isinstance(answer, Unavailable)]
        if not found:
            raise ClusterError(f"{self.holders.why()}, and so are all others; see that their machines run")
        return merge(found, min(depth, last - first) if last > first else depth)

    def compare(
        self, own: Described, candidates: np.ndarray, config: RerankConfig, weight: float = 1.0
    ) -> Similarities:
        """Similarities of queries and candidates (Q, K), numbers of images, each computed by the shard that holds it.

        Raises ShardLost if a shard that holds a candidate is gone.
        """
        owner = np.where(candidates >= 0, self.owner[candidates], NO_CANDIDATE)
        shared = self.holders.share(tuple(own))
        arguments = [
            (shared, np.where(owner == number, candidates, NO_CANDIDATE), config, weight)
            if (owner == number).any()
            else None
            for number in range(len(self.holders))
        ]
        answers = [answer for answer in self.holders.ask("compare", arguments) if answer is not None]
        if any(isinstance(answer, Unavailable) for answer in answers):
            raise ShardLost
        result = Similarities(*(np.full(candidates.shape, -np.inf, np.float32) for _ in range(2)))
        for answer in answers:
            np.maximum(result.global_, answer.global_, out=result.global_)
            np.maximum(result.structural, answer.structural, out=result.structural)
        return result


def digest_of_keys(keys: np.ndarray) -> str:
    """A digest that tells lists of images apart."""
    return hashlib.sha256("\n".join(keys).encode(errors="surrogateescape")).hexdigest()


# Maps


@dataclass(frozen=True, eq=False)
class MapPart:
    """Some photos of a map: those from start to stop."""

    folder: Path  # of the map, from the root: the same on every machine
    state: State
    spec: CacheSpec
    start: int
    stop: int
    rows: np.ndarray  # (stop - start,) of these photos in the descriptor cache
    keys: str  # their digest
    adaptation: Adaptation | None

    def open(self) -> Shard:
        """As `Part.open`; the files are memory maps."""
        if State.of(self.folder) != self.state:
            raise ClusterError(f"{self.folder} is another map by now; give the command again")
        first = int(self.rows.min())
        cache = DescriptorCache(self.folder / DESCRIPTORS, self.spec, part=slice(first, int(self.rows.max()) + 1))
        if self.rows.max() - first >= len(cache) or digest_of_keys(cache.keys[self.rows - first]) != self.keys:
            raise ClusterError(f"{cache.path} holds other photos than before; give the command again")
        globals_ = np.load(self.folder / self.state.files["globals"][0], mmap_mode="r", allow_pickle=False)
        search = self._search(globals_[self.start : self.stop])
        images = CachedImages(cache, self.rows - first, self.adaptation, search.globals_)
        return Shard(search, self.start, images, self.start)

    def _search(self, globals_: np.ndarray) -> Search:
        """The index that fits the number of its photos; one that is a file is kept in this machine's cache folder."""
        kind = indices.kind_for(len(globals_))
        if kind == "flat":
            return Search(globals_, kind, None)
        path = cache_folder("shards") / f"{self.state.files['globals'][1][:16]}-{self.start}-{self.stop}-{kind}.faiss"
        if not path.is_file():
            indices.build(globals_, kind, path)
        return Search(globals_, kind, path)


def parts_of(photo_map: Map, shards: int) -> list[MapPart]:
    """A map in so many parts of about the same number of photos."""
    content, whole = photo_map.content, photo_map.comparer
    folder, spec = photo_map.folder.resolve(), whole.cache.spec
    parts = []
    for start, stop in spans(len(whole.rows), shards):
        rows = whole.rows[start:stop]
        keys = digest_of_keys(whole.cache.keys[rows])
        parts.append(MapPart(folder, content.state, spec, start, stop, rows, keys, whole.adaptation))
    return parts


@dataclass(frozen=True, eq=False)
class ShardedSearch:
    """The search of a map's global descriptors by all shards that answer; as `vpr.maps.index.Search`."""

    shards: Shards
    whole: Search  # the files of the map, which this machine has too
    spans: Sequence[tuple[int, int]]  # the photos of each shard

    def __call__(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """As of a map on one machine; raises ClusterError if no shard answers."""
        return self.shards.search(queries, 0, self.shards.entries, depth)

    @property
    def globals_(self) -> np.ndarray:
        """Of the whole map, (N, G)."""
        return self.whole.globals_

    def cosines(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As of a map on one machine."""
        return self.whole.cosines(queries, rows)

    def present(self, rows: np.ndarray) -> np.ndarray:
        """Rows (Q, K) without those of shards that are gone; -1 fills them up at the end."""
        for number in self.shards.holders.gone:
            start, stop = self.spans[number]
            rows = np.where((rows >= start) & (rows < stop), NO_CANDIDATE, rows)
        return np.take_along_axis(rows, np.argsort(rows < 0, axis=1, kind="stable"), 1)

    @property
    def not_searched(self) -> int:
        """Photos of the shards that are gone."""
        return sum(self.spans[number][1] - self.spans[number][0] for number in self.shards.holders.gone)


@dataclass(frozen=True, eq=False)
class ShardedComparer(Comparer):
    """The photos of a map in shards: all are searched, and patches are compared by the shard that holds them."""

    search: ShardedSearch

    def find(self, described: Described, depth: int, shortlist: np.ndarray | None = None) -> Candidates:
        """As of a map on one machine, without the photos of shards that are gone: ``not_searched`` counts them."""
        for _ in range(len(self.search.shards.holders) + 1):
            try:
                rows = None if shortlist is None else self.search.present(shortlist)
                return replace(super().find(described, depth, rows), not_searched=self.search.not_searched)
            except ShardLost:
                continue
        raise ClusterError(f"{self.search.shards.holders.why()}, and shards come and go; see that their machines run")

    def structural(self, own: Described, rows: np.ndarray) -> np.ndarray:
        """As of a map on one machine; raises ShardLost if a shard that found candidates is gone by now."""
        return self.search.shards.compare(own, rows, self.config).structural


@contextmanager
def sharded(photo_map: Map, cluster: Cluster, shards: int | None) -> Iterator[Map]:
    """Inside, the map as shards on a cluster hold it; shards: None takes one for each machine."""
    parts, whole = parts_of(photo_map, shards or cluster.machines), photo_map.comparer
    owner = np.repeat(np.arange(len(parts)), [part.stop - part.start for part in parts])
    held = Shards(cluster, parts, len(whole.rows), owner)
    search = ShardedSearch(held, whole.search, [(part.start, part.stop) for part in parts])  # type: ignore[arg-type]
    try:
        fields = whole.calibration, whole.device, whole.cache, whole.rows, search, whole.adaptation, whole.places
        yield replace(photo_map, comparer=ShardedComparer(*fields))
    finally:
        held.holders.end()


# Evaluations


@dataclass(frozen=True, eq=False)
class CachePart:
    """Some entries of an evaluation's database, all of whose images lie in one cache file."""

    path: Path  # of the cache, from the root: the same on every machine
    spec: CacheSpec
    keys: str  # the digest of all its images
    start: int  # the first entry
    rows: np.ndarray  # (n, L) of the entries' images in the cache

    def open(self) -> Shard:
        """As `Part.open`; the file is a memory map."""
        cache = DescriptorCache(self.path, self.spec)
        if digest_of_keys(cache.keys) != self.keys:
            raise ClusterError(f"{self.path} holds other images than before; give the command again")
        search = Search(sequence_descriptors(cache, self.rows), "flat", None)
        return Shard(search, self.start, CachedImages(cache, np.arange(len(cache))))


class ShardedCache:
    """The database of an evaluation, held by shards on a cluster."""

    def __init__(self, cluster: Cluster, shards: int | None, cache: DescriptorCache, database: np.ndarray) -> None:
        """database: rows (N, L) of the entries' images in the cache. shards: None takes one for each machine."""
        path, keys = cache.path.resolve(), digest_of_keys(cache.keys)
        parts = [
            CachePart(path, cache.spec, keys, start, database[start:stop])
            for start, stop in spans(len(database), shards or cluster.machines)
        ]
        owner = np.full(len(cache), NO_CANDIDATE)
        for number, part in reversed([*enumerate(parts)]):  # of an image in several sequences, the first
            owner[part.rows] = number
        self.shards = Shards(cluster, parts, len(database), owner)

    def wait(self) -> None:
        """Until every shard has started, so that a search is timed without that; raises ClusterError as it does."""
        self.search(np.zeros((0, 1), np.float32), slice(0, 0), 1)

    def search(self, queries: np.ndarray, entries: slice, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """As `vpr.retrieval.search.search` of some entries of the database, numbered from their first."""
        similarity, found = self.shards.search(queries, int(entries.start), int(entries.stop), depth)
        self._require_all()
        return similarity, np.where(found >= 0, found - entries.start, NO_CANDIDATE)

    def compare(
        self,
        cache: DescriptorCache,
        queries: np.ndarray,
        candidates: np.ndarray,
        config: RerankConfig,
        *,
        weight: float = 1.0,
        device: torch.device = CPU,
        title: str | None = None,
    ) -> Similarities:
        """As `vpr.retrieval.rerank.compare`, always on CPUs.

        With pruning every shard keeps its own first ranks exact, and so those of all.
        """
        result = Similarities(*(np.full(candidates.shape, -np.inf, np.float32) for _ in range(2)))
        images, with_weights = CachedImages(cache, queries), config.marginals == "rollout"
        with progress(total=len(queries), title=title, unit="query") as bar:
            for start in range(0, len(queries), QUERIES):
                part = slice(start, min(start + QUERIES, len(queries)))
                own = images.read(np.arange(part.start, part.stop), with_weights)
                try:
                    found = self.shards.compare(own, candidates[part], config, weight)
                except ShardLost:
                    self._require_all()
                    raise
                result.global_[part], result.structural[part] = found.global_, found.structural
                bar.update(part.stop - part.start)
        return result

    def _require_all(self) -> None:
        """Raise ClusterError if a shard is gone."""
        if self.shards.holders.gone:
            why = self.shards.holders.why()
            raise ClusterError(f"{why}, and an evaluation needs all; mend it, and give the same command again")
