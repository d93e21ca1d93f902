"""Shards: each process searches a part of a map, or of the database of an evaluation, and compares its images.

Every machine opens the same files by their paths. A map answers also if some shards do not, and reports how many photos
were not searched. An evaluation needs all shards.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vpr.base.files import cache_folder
from vpr.base.progress import progress
from vpr.cache import CacheSpec, DescriptorCache
from vpr.cluster.connecting import Cluster
from vpr.cluster.errors import ClusterError
from vpr.cluster.merging import merge, spans, to_global, to_local
from vpr.cluster.shard_actors import ShardActors, ShardFailure
from vpr.description.adaptation import Adaptation, AdaptedCache
from vpr.description.batches import ImageDescriptors
from vpr.maps.candidates import CandidateFinder, Candidates
from vpr.maps.store import DESCRIPTORS, State
from vpr.retrieval import vector_index
from vpr.retrieval.fusion import NO_CANDIDATE, first_columns, weighted_sum
from vpr.retrieval.index import LocalIndex
from vpr.retrieval.rerank import CachedImages, Images, ImagesInMemory, Similarities
from vpr.retrieval.sequences import sequence_descriptors
from vpr.retrieval.settings import RerankConfig
from vpr.retrieval.vector_index import VectorIndex

if TYPE_CHECKING:
    from vpr.maps.photo_map import Map

log = logging.getLogger("vpr")

QUERIES = 128  # maximum queries in one message to the shards


@dataclass(frozen=True, eq=False)
class Shard:
    """The index of one process: a part of the entries, and the images that it compares."""

    index: LocalIndex
    first_entry: int  # number of its first entry, among those of all shards
    first_image: int = 0  # number of its first image, among those of all shards

    def search(self, queries: np.ndarray, depth: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Similarities (Q, k), descending, and its entries (Q, k) from first to last, numbered through all shards.

        queries: unit vectors (Q, G).
        """
        begin, end = (min(max(entry - self.first_entry, 0), len(self.index.entries)) for entry in (first, last))
        if begin == end:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        similarity, rows = self.index.search(queries, depth, slice(begin, end))
        return similarity, to_global(rows, self.first_entry)

    def compare(
        self, own: tuple[Any, ...], candidates: np.ndarray, config: RerankConfig, weight: float
    ) -> Similarities:
        """As `Index.compare`; own: the fields of the queries' `ImageDescriptors`.

        The result is -inf for other shards' candidates.
        """
        mine = to_local(candidates, self.first_image, self.first_image + len(self.index.images))
        return self.index.compare(ImagesInMemory(ImageDescriptors(*own)), mine, config, weight=weight)


class ShardSpec(Protocol):
    """The specification of a shard. It is sent to the process that opens the shard."""

    def open(self) -> Shard:
        """The shard; raises VprError or OSError if files are missing, or have changed."""
        ...


class ShardLostError(Exception):
    """A shard failed between the search and the comparison."""


class ShardedIndex:
    """An index in shards, each in a process of its own. Patches are compared on CPUs.

    With pruning, the first ranks of every shard are exact, and so are those of all together.
    """

    def __init__(
        self, cluster: Cluster, parts: Sequence[ShardSpec], entries: int, owner: np.ndarray, needs_all: bool = False
    ) -> None:
        """entries: the number of entries in all shards. owner: the shard that compares each image, (M,).

        needs_all: whether a shard that does not answer is an error.
        """
        self.actors = ShardActors(cluster, [part.open for part in parts])
        self.entries, self.owner, self.needs_all = entries, owner, needs_all

    def wait(self) -> None:
        """Wait until every shard has started, so that timings do not include it; raises ClusterError as `search`."""
        self.search(np.zeros((0, 1), np.float32), 1, slice(0, 0))

    def search(self, queries: np.ndarray, depth: int, entries: slice | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As `Searchable.search`, without the entries of shards that do not answer.

        Raises ClusterError if no shard answers, or if one does not and all are needed.
        """
        first, last, _ = (slice(None) if entries is None else entries).indices(self.entries)
        answers = self.actors.ask("search", [(queries, depth, first, last)] * len(self.actors))
        results = [answer for answer in answers if not isinstance(answer, ShardFailure)]
        self._require_all()
        if not results:
            raise ClusterError(f"{self.actors.failure_text()}, nor do the others; check that their machines run")
        return merge(results, min(depth, last - first) if last > first else depth)

    def compare(
        self,
        queries: Images,
        candidates: np.ndarray,
        config: RerankConfig,
        *,
        weight: float = 1.0,
        title: str | None = None,
    ) -> Similarities:
        """As `Index.compare`; each pair is computed by the shard that holds the candidate.

        Raises ShardLostError if a shard that holds a candidate does not answer, and ClusterError if all are needed.
        """
        result = Similarities.empty(candidates.shape, config)
        with progress(total=len(candidates), title=title, unit="query") as bar:
            for start in range(0, len(candidates), QUERIES):
                part = slice(start, min(start + QUERIES, len(candidates)))
                own = queries.read(np.arange(part.start, part.stop), config.needs_weights)
                for answer in self._ask(own, candidates[part], config, weight):
                    for total, found in zip(vars(result).values(), vars(answer).values()):
                        if total is not None:
                            np.maximum(total[part], found, out=total[part])
                bar.update(part.stop - part.start)
        if result.geometry is not None:  # each shard has compared the geometry of its own first candidates
            scores = weighted_sum(result.global_similarity, result.structural, weight)
            columns = first_columns(scores, config.geometry)
            first = np.full_like(result.geometry, -np.inf)
            np.put_along_axis(first, columns, np.take_along_axis(result.geometry, columns, 1), 1)
            result = replace(result, geometry=first)
        return result

    def _ask(
        self, own: ImageDescriptors, candidates: np.ndarray, config: RerankConfig, weight: float
    ) -> list[Similarities]:
        """The answers of the shards that hold candidates."""
        owner = np.where(candidates >= 0, self.owner[candidates], NO_CANDIDATE)
        shared = self.actors.share(tuple(own))
        arguments = [
            (shared, np.where(owner == number, candidates, NO_CANDIDATE), config, weight)
            if (owner == number).any()
            else None
            for number in range(len(self.actors))
        ]
        answers = [answer for answer in self.actors.ask("compare", arguments) if answer is not None]
        if any(isinstance(answer, ShardFailure) for answer in answers):
            self._require_all()
            raise ShardLostError
        return answers

    def _require_all(self) -> None:
        if self.needs_all and self.actors.failures:
            problem = self.actors.failure_text()
            raise ClusterError(f"{problem}, and an evaluation needs all; repair it, and run the same command again")


def digest_of_keys(keys: np.ndarray) -> str:
    """A digest of a list of images."""
    return hashlib.sha256("\n".join(keys).encode(errors="surrogateescape")).hexdigest()


# Maps


@dataclass(frozen=True, eq=False)
class MapShardSpec:
    """The photos of a map from start to stop."""

    folder: Path  # of the map; an absolute path, the same on every machine
    state: State
    spec: CacheSpec
    start: int
    stop: int
    rows: np.ndarray  # (stop - start,) of these photos in the descriptor cache
    keys: str  # digest of their keys
    adaptation: Adaptation | None

    def open(self) -> Shard:
        """As `ShardSpec.open`; the files are memory maps."""
        if State.of(self.folder) != self.state:
            raise ClusterError(f"{self.folder} has changed meanwhile; run the command again")
        first = int(self.rows.min())
        cache = DescriptorCache(self.folder / DESCRIPTORS, self.spec, part=slice(first, int(self.rows.max()) + 1))
        if self.rows.max() - first >= len(cache) or digest_of_keys(cache.keys[self.rows - first]) != self.keys:
            raise ClusterError(f"{cache.path} has changed meanwhile; run the command again")
        vectors = np.load(self.folder / self.state.files["globals"][0], mmap_mode="r", allow_pickle=False)
        entries = self._entries(vectors[self.start : self.stop])
        images = CachedImages(cache, self.rows - first, self.adaptation, entries.vectors)
        return Shard(LocalIndex(entries, images), self.start, self.start)

    def _entries(self, vectors: np.ndarray) -> VectorIndex:
        """The index that fits the number of its photos; its file is kept in this machine's cache folder.

        A damaged file is built again, once: raises RuntimeError if the new one cannot be read either.
        """
        kind = vector_index.kind_for(len(vectors))
        if kind == "flat":
            return VectorIndex(vectors)
        part = f"{self.state.files['globals'][1][:16]}-{self.start}-{self.stop}"
        path = cache_folder("shards") / f"{part}-{kind}-{vector_index.VERSION}.faiss"
        if path.is_file():
            try:
                return VectorIndex(vectors, kind, path)
            except RuntimeError as error:
                log.warning("%s is damaged (%s), and is built again", path, str(error).splitlines()[0])
        vector_index.build(vectors, kind, path)
        return VectorIndex(vectors, kind, path)


def split_map(photo_map: Map, shards: int) -> list[MapShardSpec]:
    """Split a map into at most ``shards`` parts of about the same number of photos."""
    state, images = photo_map.content.state, photo_map.finder.photos.images
    folder = photo_map.folder.resolve()
    parts = []
    for start, stop in spans(len(images), shards):
        rows = images.rows[start:stop]
        keys = digest_of_keys(images.cache.keys[rows])
        parts.append(MapShardSpec(folder, state, images.cache.spec, start, stop, rows, keys, images.adaptation))
    return parts


@dataclass(frozen=True, eq=False)
class ShardedFinder(CandidateFinder):
    """Finds candidates of a map in shards, without the photos of shards that do not answer."""

    shards: ShardedIndex
    spans: Sequence[tuple[int, int]]  # the photos of each shard

    @property
    def index(self) -> ShardedIndex:
        """The shards."""
        return self.shards

    def find_adapted(
        self, adapted: ImageDescriptors, depth: int, shortlist: np.ndarray | None = None, geometry: int = 0
    ) -> Candidates:
        """As `CandidateFinder.find_adapted`; ``not_searched`` counts the photos of shards that do not answer.

        Raises ClusterError if no shard answers, or shards keep failing.
        """
        for _ in range(len(self.shards.actors) + 1):
            try:
                rows = None if shortlist is None else self._remove_failed(shortlist)
                candidates = super().find_adapted(adapted, depth, rows, geometry)
            except ShardLostError:
                continue
            failed = [self.spans[number] for number in self.shards.actors.failures]
            return replace(candidates, not_searched=sum(stop - start for start, stop in failed))
        raise ClusterError(f"{self.shards.actors.failure_text()}, and shards keep failing; check their machines")

    def _remove_failed(self, rows: np.ndarray) -> np.ndarray:
        """Rows (Q, K) without those of shards that do not answer; padded with -1."""
        for number in self.shards.actors.failures:
            start, stop = self.spans[number]
            rows = np.where((rows >= start) & (rows < stop), NO_CANDIDATE, rows)
        return np.take_along_axis(rows, np.argsort(rows < 0, axis=1, kind="stable"), 1)


@contextmanager
def sharded(photo_map: Map, cluster: Cluster, shards: int | None) -> Iterator[Map]:
    """The map in shards on a cluster, until the block ends. shards: their number; None for one per machine."""
    parts, whole = split_map(photo_map, shards or cluster.machines), photo_map.finder
    owner = np.repeat(np.arange(len(parts)), [part.stop - part.start for part in parts])
    index = ShardedIndex(cluster, parts, len(owner), owner)
    try:
        ends = [(part.start, part.stop) for part in parts]
        known = whole.calibration, whole.photos, whole.places, whole.place_m
        yield replace(photo_map, finder=ShardedFinder(*known, index, ends))
    finally:
        index.actors.end()


# Evaluations


@dataclass(frozen=True, eq=False)
class CacheShardSpec:
    """Some entries of an evaluation's database. The images of all shards are in one cache file."""

    path: Path  # of the cache; an absolute path, the same on every machine
    spec: CacheSpec
    keys: str  # digest of the keys of all its images
    start: int  # the first entry
    rows: np.ndarray  # (n, L) of the entries' images in the cache
    adaptation: tuple[Path, str] | None = None  # likewise its file, and its fingerprint

    def open(self) -> Shard:
        """As `ShardSpec.open`; the file is a memory map."""
        cache = DescriptorCache(self.path, self.spec)
        if digest_of_keys(cache.keys) != self.keys:
            raise ClusterError(f"{self.path} has changed meanwhile; run the command again")
        if self.adaptation is not None:
            cache = AdaptedCache(cache, *self.adaptation)
        entries = VectorIndex(sequence_descriptors(cache, self.rows))
        return Shard(LocalIndex(entries, CachedImages(cache, np.arange(len(cache)))), self.start)


def shard_database(cluster: Cluster, shards: int | None, cache: DescriptorCache, database: np.ndarray) -> ShardedIndex:
    """The database of an evaluation in shards; all of them are needed.

    database: rows (N, L) of the entries' images in the cache. shards: their number; None for one per machine.
    """
    plain, adaptation, keys = cache, None, digest_of_keys(cache.keys)
    if isinstance(cache, AdaptedCache):
        plain, adaptation = cache.plain, (cache.adaptation_file.resolve(), cache.fingerprint)
    parts = [
        CacheShardSpec(plain.path.resolve(), plain.spec, keys, start, database[start:stop], adaptation)
        for start, stop in spans(len(database), shards or cluster.machines)
    ]
    owner = np.full(len(cache), NO_CANDIDATE)
    for number, part in reversed([*enumerate(parts)]):  # an image in several sequences belongs to the first
        owner[part.rows] = number
    return ShardedIndex(cluster, parts, len(database), owner, needs_all=True)
