"""The database of an evaluation in shards: each searches its entries and re-ranks its candidates out of one cache file.

Every machine opens the file by its path. A shard reads the database images of its own, and of the queries what it is
asked about. A shard that is gone is an error: an evaluation of a part would be another evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpr.base.progress import progress
from vpr.cache import CacheSpec, DescriptorCache
from vpr.cluster.connecting import Cluster
from vpr.cluster.errors import ClusterError
from vpr.cluster.holders import Gone, Holders
from vpr.cluster.map_part import digest_of_keys
from vpr.cluster.merging import first_of, outside, spans
from vpr.retrieval.fusion import NO_CANDIDATE
from vpr.retrieval.rerank import CPU, Similarities, compare
from vpr.retrieval.search import search
from vpr.retrieval.sequences import sequence_descriptors
from vpr.retrieval.settings import RerankConfig

QUERIES = 128  # that shards are asked about at a time


@dataclass(frozen=True, eq=False)
class CachePart:
    """Which entries of a database a shard holds."""

    path: Path  # of the cache, from the root: the same on every machine
    spec: CacheSpec
    keys: str  # the digest of all its images
    start: int  # the first entry
    rows: np.ndarray  # (n, L) of the entries' images in the cache

    def open(self) -> OpenPart:
        """The file as a memory map; raises VprError where it is not there, or another one."""
        cache = DescriptorCache(self.path, self.spec)
        if digest_of_keys(cache.keys) != self.keys:
            raise ClusterError(f"{self.path} holds other images than before; give the command again")
        return OpenPart(cache, self.start, sequence_descriptors(cache, self.rows))


@dataclass(frozen=True, eq=False)
class OpenPart:
    """Entries of a database, with their descriptors."""

    cache: DescriptorCache
    start: int
    globals_: np.ndarray  # (n, G)

    def search(self, queries: np.ndarray, first: int, last: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """As `vpr.retrieval.search.search` finds, among its entries from ``first`` to ``last``, numbered from there."""
        begin, end = (min(max(entry - self.start, 0), len(self.globals_)) for entry in (first, last))
        if begin == end:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        similarity, rows = search(queries, self.globals_[begin:end], depth)
        return similarity, outside(rows, self.start + begin - first)

    def compare(self, queries: np.ndarray, candidates: np.ndarray, config: RerankConfig, weight: float) -> Similarities:
        """As `vpr.retrieval.rerank.compare`."""
        return compare(self.cache, queries, candidates, config, weight=weight)


class ShardedCache:
    """A database that is held by shards on a cluster."""

    def __init__(self, cluster: Cluster, shards: int | None, cache: DescriptorCache, database: np.ndarray) -> None:
        """Hold the images whose rows in the cache are (N, L); shards: one for each machine where it is None."""
        path, keys = cache.path.resolve(), digest_of_keys(cache.keys)
        parts = [
            CachePart(path, cache.spec, keys, start, database[start:stop])
            for start, stop in spans(len(database), shards or cluster.machines)
        ]
        self.holders = Holders(cluster, [part.open for part in parts])
        self.owner = np.full(len(cache), NO_CANDIDATE)  # (M,) the shard that compares each image of the database
        for number, part in reversed([*enumerate(parts)]):  # of an image in several sequences, the first
            self.owner[part.rows] = number

    def wait(self) -> None:
        """Until every shard is there, so that a search is timed without their start; raises ClusterError as it does."""
        self.search(np.zeros((0, 1), np.float32), slice(0, 0), 1)

    def search(self, queries: np.ndarray, entries: slice, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """What `vpr.retrieval.search.search` finds among some entries of the database, numbered from their first."""
        asked = (queries, int(entries.start), int(entries.stop), depth)
        return first_of(self._answers("search", [asked] * len(self.holders)), depth)

    def compare(self, cache: DescriptorCache, queries: np.ndarray, candidates: np.ndarray, config: RerankConfig, *,
                weight: float = 1.0, device: torch.device = CPU, title: str | None = None) -> Similarities:  # fmt: skip
        """As `vpr.retrieval.rerank.compare`, each candidate where it lies; always on CPUs.

        With pruning every shard keeps its own first ranks exact, and so those of all.
        """
        result = Similarities(*(np.full(candidates.shape, -np.inf, np.float32) for _ in range(2)))
        owner = np.where(candidates >= 0, self.owner[candidates], NO_CANDIDATE)
        with progress(total=len(queries), title=title, unit="query") as bar:
            for start in range(0, len(queries), QUERIES):
                part = slice(start, min(start + QUERIES, len(queries)))
                self._compare(result, part, (queries, candidates, owner), (config, weight))
                bar.update(part.stop - part.start)
        return result

    def _compare(
        self,
        result: Similarities,
        part: slice,
        wanted: tuple[np.ndarray, np.ndarray, np.ndarray],
        how: tuple[RerankConfig, float],
    ) -> None:
        """Fill some queries' rows of the result."""
        queries, candidates, owner = (side[part] for side in wanted)
        own = [owner == number for number in range(len(self.holders))]
        asked = [mask.any(1) for mask in own]
        arguments = [
            (queries[some], np.where(mask[some], candidates[some], NO_CANDIDATE), *how) if some.any() else None
            for some, mask in zip(asked, own)
        ]
        answers = self._answers("compare", arguments)
        for some, answer in zip((some for some in asked if some.any()), answers):
            for whole, found in ((result.global_, answer.global_), (result.structural, answer.structural)):
                rows = np.flatnonzero(some) + part.start
                whole[rows] = np.maximum(whole[rows], found)

    def _answers(self, question: str, arguments: list[tuple | None]) -> list[Any]:
        """Of the shards that are asked; raises ClusterError where one is gone."""
        answers = [answer for answer in self.holders.ask(question, arguments) if answer is not None]
        if any(isinstance(answer, Gone) for answer in answers):
            raise ClusterError(f"{self.holders.why()}, and an evaluation wants all; mend it, and give the same command"
                               " again")  # fmt: skip
        return answers
