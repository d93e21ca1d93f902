"""A retrieval set together with the cached descriptors of its images."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from vpr.base.errors import VprError
from vpr.base.files import writable_path
from vpr.cache import DescriptorCache
from vpr.cluster.connecting import Cluster
from vpr.cluster.describing import cluster_fill_options
from vpr.cluster.shards import shard_database
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.adaptation import ComputedCache, adapt_cache, is_worth_adapting
from vpr.description.cache_filling import CacheFillOptions, fill_cache, is_fitted_to, require_replaceable
from vpr.description.joined_cache import JoinedCache
from vpr.description.model_spec import AnyModel, PatchModel, cache_spec
from vpr.eval.options import RankingOptions
from vpr.models.published.network import PublishedModel
from vpr.models.settings import Crop
from vpr.models.structural import StructuralModel
from vpr.patch_codes import CODE_BYTES
from vpr.retrieval.index import Index, LocalIndex
from vpr.retrieval.rerank import CPU, CachedImages, Similarities
from vpr.retrieval.sequences import CacheRows, compare_sequences, sequence_descriptors
from vpr.retrieval.settings import RerankConfig
from vpr.retrieval.vector_index import VectorIndex

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class Sharding:
    """A cluster, and the number of shards there."""

    cluster: Cluster
    shards: int | None  # of the database; None makes one for each machine


@dataclass(frozen=True, eq=False)
class DescribedSet:
    """A retrieval set with the descriptors of one model."""

    data: RetrievalSet
    cache: DescriptorCache
    rows: CacheRows  # of the entries' images in the cache
    device: str | torch.device = CPU  # for the comparison of patches
    shards: Index | None = None  # the database on a cluster; None: on this machine
    adapted: bool = False  # whether the descriptors were adapted to the database
    latency_ms: float | None = None  # per image that was described; None if all were in the cache
    crop: Crop = "resize"  # the part of a photo that the model takes

    @classmethod
    def from_cache(
        cls,
        data: RetrievalSet,
        cache: DescriptorCache,
        device: str | torch.device = CPU,
        adapted: bool = False,
        latency_ms: float | None = None,
    ) -> DescribedSet:
        """The set with the rows of its images in the cache; raises CacheError if the cache lacks an image.

        device: for the comparison of patches.
        """
        rows = CacheRows.look_up(cache, data.queries.images, data.database.images)
        return cls(data, cache, rows, device, adapted=adapted, latency_ms=latency_ms)

    @cached_property
    def index(self) -> Index:
        """The index of the database; its images are numbered as in the cache."""
        if self.shards is not None:
            return self.shards
        entries = VectorIndex(sequence_descriptors(self.cache, self.rows.database))
        return LocalIndex(entries, CachedImages(self.cache, np.arange(len(self.cache))), self.device)

    def global_descriptors(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of the queries (Q, C) and of the database (N, C), float32."""
        queries, database = (sequence_descriptors(self.cache, side) for side in (self.rows.query, self.rows.database))
        return queries, database

    def compare(
        self,
        ranked: np.ndarray,
        config: RerankConfig,
        *,
        queries: np.ndarray | slice = slice(None),
        weight: float = 1.0,
        title: str | None = None,
    ) -> Similarities:
        """S_global and S_struct of some queries and their candidates (S, K), as `compare_sequences`."""
        if isinstance(self.cache, ComputedCache) and self.shards is None:  # later, transport needs the cores
            self.cache.prepare(np.concatenate([self.rows.query.ravel(), self.rows.database.ravel()]))
        rows = CacheRows(self.rows.query[queries], self.rows.database)
        return compare_sequences(self.index, self.cache, rows, ranked, config, weight=weight, title=title)


def describe(
    model: AnyModel,
    data: RetrievalSet,
    cache: Path,
    device: torch.device,
    ranking: RankingOptions,
    rollout: bool = False,
    sharding: Sharding | None = None,
) -> DescribedSet:
    """Describe the images that the cache file lacks, and adapt the descriptors if the options ask for it.

    rollout: whether the weights of the patches are cached too. sharding: a cluster that describes the images and holds
    the database. Errors as `fill_cache`.
    """
    if ranking.patches in CODE_BYTES and isinstance(model, StructuralModel | PublishedModel):
        return _describe_coded(model, data, cache, device, ranking, rollout, sharding)
    files = data.image_files()
    fill_options = CacheFillOptions(ranking.workers, dtype=ranking.patches, rollout=rollout)
    fill_options = cluster_fill_options(None if sharding is None else sharding.cluster, fill_options)
    filled_cache, images, seconds, _ = fill_cache(cache, model, data.root, files, device, fill_options)
    latency = 1000 * seconds / images if images else None
    described = DescribedSet.from_cache(data, filled_cache, device, latency_ms=latency)
    database = described.rows.database.ravel()
    if filled_cache.spec.patches and _is_adapted(model, ranking, len(set(database))):
        described = DescribedSet.from_cache(
            data, adapt_cache(filled_cache, database, cache.parent), device, True, latency
        )
    described = replace(described, crop=model.crop)
    if sharding is None:
        return described
    index = shard_database(sharding.cluster, sharding.shards, described.cache, described.rows.database)
    index.wait()
    return replace(described, shards=index)


def _describe_coded(
    model: PatchModel,
    data: RetrievalSet,
    cache: Path,
    device: torch.device,
    ranking: RankingOptions,
    rollout: bool,
    sharding: Sharding | None,
) -> DescribedSet:
    """As `describe`, with product-quantised patches of the database in ``cache``. Queries are exact, in a file beside.

    Codes and adaptation are fitted to the database; a cache that was fitted to other images is replaced.
    """
    if sharding is not None:
        raise VprError(
            f"an evaluation on a cluster needs exact patches, not {ranking.patches}",
            thing="--cluster",
            remedy="leave it out, or pass --patches float16",
        )
    database, queries = (list(dict.fromkeys(side.images.ravel().tolist())) for side in (data.database, data.queries))
    adapt = _is_adapted(model, ranking, len(database))
    options = CacheFillOptions(ranking.workers, dtype=ranking.patches, rollout=rollout, adapt=adapt)
    if cache.is_file():
        require_replaceable(cache, cache_spec(model, ranking.patches, rollout, adapt))
    if cache.is_file() and not is_fitted_to(cache, data.root, database):
        log.info("%s was fitted to other images, or they have changed; it is made again", cache)
        options = replace(options, refit=True)
    exact = fill_cache(cache.with_name(f"{cache.stem}-queries.h5"), model, data.root, queries, device,
                       replace(options, dtype="float16", refit=False))  # fmt: skip
    coded = fill_cache(cache, model, data.root, database, device, options)
    images, seconds = exact.images + coded.images, exact.seconds + coded.seconds
    latency = 1000 * seconds / images if images else None
    described = DescribedSet.from_cache(data, JoinedCache(coded.cache, exact.cache), device, adapt, latency)
    return replace(described, crop=model.crop)


def _is_adapted(model: AnyModel, ranking: RankingOptions, images: int) -> bool:
    """Whether the descriptors of a model are adapted to a database with this many images."""
    if ranking.adapt is not None:
        return ranking.adapt
    if not isinstance(model, StructuralModel | PublishedModel):
        return False
    return model.config.head == "whitening" and is_worth_adapting(images)


def default_cache(
    folder: Path, model: AnyModel, data: RetrievalSet, ranking: RankingOptions, rollout: bool = False
) -> Path:
    """The cache file in a folder. Its name contains the tree and the model, so that no other model or tree uses it."""
    root = data.root.resolve()
    tree = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    kind = ("" if ranking.patches == "float16" else f"-{ranking.patches}") + ("-rollout" if rollout else "")
    if ranking.patches in CODE_BYTES:  # which are fitted to the database
        names = "\n".join(sorted(set(data.database.images.ravel().tolist())))
        kind += "" if _is_adapted(model, ranking, len(set(data.database.images.ravel()))) else "-plain"
        kind += f"-{hashlib.sha256(names.encode(errors='surrogateescape')).hexdigest()[:8]}"
    return writable_path(folder / f"{root.name or 'root'}-{tree}-{cache_spec(model).fingerprint}{kind}.h5")
