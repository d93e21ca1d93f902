"""A retrieval set together with the cached descriptors of its images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vpr.base.files import place_to_keep
from vpr.cache import DescriptorCache
from vpr.cluster.connecting import Cluster
from vpr.cluster.describing import filled_on
from vpr.cluster.of_caches import ShardedCache
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.adaptation import adapt_cache, pays
from vpr.description.into_cache import Filling, describe_into_cache
from vpr.description.spec import cache_spec
from vpr.eval.options import RankingConfig
from vpr.models.netvlad import NetVLAD
from vpr.models.settings import Crop
from vpr.models.structural import StructuralModel
from vpr.retrieval.search import Finds
from vpr.retrieval.sequences import CacheRows, sequence_descriptors


@dataclass(frozen=True)
class Sharding:
    """Work on a cluster."""

    cluster: Cluster
    shards: int | None  # of a database; one for each machine where it is None


@dataclass(frozen=True, eq=False)
class DescribedSet:
    """What one model makes of a retrieval set."""

    data: RetrievalSet
    cache: DescriptorCache
    rows: CacheRows  # of the entries' images in the cache
    adapted: bool = False  # whether the descriptors were adapted to the database
    latency_ms: float | None = None  # an image, of those that were described for it; None where all were in the cache
    crop: Crop = "resize"  # what the model sees of a photo
    shards: ShardedCache | None = None  # that hold the database, on a cluster

    @classmethod
    def of(
        cls, data: RetrievalSet, cache: DescriptorCache, adapted: bool = False, latency_ms: float | None = None
    ) -> DescribedSet:
        """Look every image up; raises CacheError when the cache lacks one."""
        rows = CacheRows.of(cache, data.queries.images, data.database.images)
        return cls(data, cache, rows, adapted, latency_ms)

    def searched(self) -> tuple[np.ndarray, np.ndarray | Finds]:
        """What a search takes: the queries' descriptors, and those of the database, or the shards that hold them."""
        if self.shards is None:
            return self.global_descriptors()
        return sequence_descriptors(self.cache, self.rows.query), self.shards.search

    def global_descriptors(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the queries (Q, C) and of the database (N, C), float32 unit vectors."""
        queries, database = (sequence_descriptors(self.cache, side) for side in (self.rows.query, self.rows.database))
        return queries, database


def describe(
    model: StructuralModel | NetVLAD,
    data: RetrievalSet,
    cache: Path,
    device: torch.device,
    config: RankingConfig,
    rollout: bool = False,
    sharding: Sharding | None = None,
) -> DescribedSet:
    """Complete the cache file with the images that it lacks; errors as `describe_into_cache`.

    rollout: with the weights of the patches. sharding: on a cluster, whose shards hold the database then.
    """
    described = _described(model, data, cache, device, config, rollout, sharding)
    if sharding is None:
        return described
    shards = ShardedCache(sharding.cluster, sharding.shards, described.cache, described.rows.database)
    shards.wait()
    return replace(described, shards=shards)


def _described(
    model: StructuralModel | NetVLAD,
    data: RetrievalSet,
    cache: Path,
    device: torch.device,
    config: RankingConfig,
    rollout: bool,
    sharding: Sharding | None,
) -> DescribedSet:
    """The set in this process."""
    files = data.image_files()
    how = Filling(config.workers, dtype=config.patches, rollout=rollout)
    how = filled_on(None if sharding is None else sharding.cluster, how)
    filled, images, seconds, _ = describe_into_cache(cache, model, data.root, files, device, how)
    latency = 1000 * seconds / images if images else None
    described = DescribedSet.of(data, filled, latency_ms=latency)
    database, adapt = described.rows.database.ravel(), config.adapt
    if adapt is None:
        adapt = isinstance(model, StructuralModel) and model.config.head == "whitening" and pays(len(set(database)))
    if not adapt or filled.spec.patches == 0:
        return replace(described, crop=model.crop)
    adapted = DescribedSet.of(data, adapt_cache(filled, database, cache.parent), True, latency)
    return replace(adapted, crop=model.crop)


def default_cache(
    folder: Path, model: StructuralModel | NetVLAD, data: RetrievalSet, config: RankingConfig, rollout: bool = False
) -> Path:
    """The cache file in a folder whose name carries the tree and the model, so that it never belongs to another."""
    root = data.root.resolve()
    tree = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    kind = ("" if config.patches == "float16" else f"-{config.patches}") + ("-rollout" if rollout else "")
    return place_to_keep(folder / f"{root.name}-{tree}-{cache_spec(model).fingerprint}{kind}.h5")
