"""Re-ranking: shortlists reordered by global and structural similarity of cached descriptors.

Queries are processed in batches. Each database image of a batch is read once, while the batch before is computed. An
option limits the memory for database images, for any size of the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from vpr.base.machine import usable_cores
from vpr.base.progress import progress
from vpr.cache import CacheError, DescriptorCache
from vpr.description.adaptation import Adaptation
from vpr.description.batches import ImageDescriptors
from vpr.retrieval.fusion import first_columns, weighted_sum
from vpr.retrieval.pruning import pruned_scores
from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity_pairs
from vpr.transport.errors import TransportError
from vpr.transport.geometry import pair_geometry, score_with_geometry
from vpr.transport.marginals import Marginals
from vpr.transport.problem import Images as PatchSets

if TYPE_CHECKING:
    import torch

CPU = "cpu"
MOST_QUERIES = 32  # maximum queries per batch


@dataclass(frozen=True)
class Similarities:
    """The similarities of each query and its candidates, both (Q, K) float32; -inf if there is no candidate.

    Higher is better. For candidates that pruning skipped, the structural similarity is an upper bound, which keeps them
    behind the first N; the ranks behind the first N are then not exact.
    """

    global_similarity: np.ndarray  # S_global: cosine of the global descriptors
    structural: np.ndarray  # S_struct: similarity of the patches under their transport plan
    # `PatchGeometry.score` of the first candidates by S_global + weight * S_struct, -inf for others; None without it
    geometry: np.ndarray | None = None

    @classmethod
    def empty(cls, shape: tuple[int, ...], config: RerankConfig) -> Similarities:
        """Similarities (Q, K) of pairs that are not compared yet, -inf."""
        arrays = (np.full(shape, -np.inf, np.float32) for _ in range(3 if config.geometry else 2))
        return cls(*arrays)


class Images(Protocol):
    """Images with descriptors, by number, to read some at a time."""

    def __len__(self) -> int: ...

    @property
    def image_bytes(self) -> int:
        """The memory for the patches of one image, bytes."""
        ...

    def read(
        self, numbers: np.ndarray, with_weights: bool = False, buffer: np.ndarray | None = None
    ) -> ImageDescriptors:
        """The descriptors of the images (b,).

        with_weights: also patch weights. buffer: memory for the patches, from `buffer_for`. Raises
        CacheError if there are no patches, or no weights.
        """
        ...

    def buffer_for(self, images: int) -> np.ndarray | None:
        """Reusable memory for the patches of at most ``images`` images; None if reuse saves nothing."""
        ...

    def require_numbers(self, numbers: np.ndarray, described: ImageDescriptors) -> None:
        """Raise CacheError with the first of the images (b,) whose descriptors have NaN or infinity."""
        ...


@dataclass(frozen=True, eq=False)
class CachedImages:
    """Images of a descriptor cache. If the cache is not adapted, an adaptation is applied when they are read."""

    cache: DescriptorCache
    rows: np.ndarray  # (N,) of the images in the cache
    adaptation: Adaptation | None = None  # also for the queries
    global_descriptors: np.ndarray | None = None  # (N, G) float32; None: those of the cache

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_bytes(self) -> int:
        """The bytes as float16, and also as float32 if they are adapted."""
        patches, dim = self.cache.patch_shape
        return max(1, (6 if self._is_adapting else 2) * patches * dim)

    @property
    def _is_adapting(self) -> bool:
        return self.adaptation is not None and not self.cache.spec.adapted

    def buffer_for(self, images: int) -> np.ndarray | None:
        """As `Images.buffer_for`."""
        return np.empty((images, *self.cache.patch_shape), np.float16)

    def read(
        self, numbers: np.ndarray, with_weights: bool = False, buffer: np.ndarray | None = None
    ) -> ImageDescriptors:
        """As `Images.read`."""
        rows = self.rows[numbers]
        patches = self.cache.read_patches(rows, None if buffer is None else buffer[: len(rows)])
        if self.adaptation is not None and self._is_adapting:
            patches = self.adaptation.adapt_patches(patches)
        known = self.cache.globals_[rows] if self.global_descriptors is None else self.global_descriptors[numbers]
        weights = self.cache.read_weights(rows) if with_weights else None
        return ImageDescriptors(np.asarray(known, np.float32), patches, weights)

    def require_numbers(self, numbers: np.ndarray, described: ImageDescriptors) -> None:
        """As `Images.require_numbers`."""
        rows, weights = self.rows[numbers], described.weights
        self.cache.require_numbers(rows, require_patches(described))
        if weights is not None:
            with np.errstate(divide="ignore"):  # weights that are all zero give infinity
                self.cache.require_numbers(rows, 1 / weights.sum(1, keepdims=True))


@dataclass(frozen=True, eq=False)
class ImagesInMemory:
    """Images whose descriptors are in memory."""

    described: ImageDescriptors

    def __len__(self) -> int:
        return len(self.described.globals_)

    @property
    def image_bytes(self) -> int:
        """The bytes of their data type."""
        return max(1, require_patches(self.described)[:1].nbytes)

    def buffer_for(self, images: int) -> np.ndarray | None:
        """As `Images.buffer_for`."""
        return None

    def read(
        self, numbers: np.ndarray, with_weights: bool = False, buffer: np.ndarray | None = None
    ) -> ImageDescriptors:
        """As `Images.read`."""
        if with_weights and self.described.weights is None:
            problem = "these descriptors have no patch weights, which these marginals need"
            raise CacheError(f"{problem}; describe the photos again, by the same run")
        weights = self.described.weights[numbers] if with_weights and self.described.weights is not None else None
        return ImageDescriptors(self.described.globals_[numbers], require_patches(self.described)[numbers], weights)

    def require_numbers(self, numbers: np.ndarray, described: ImageDescriptors) -> None:
        """Do nothing: a network computes finite numbers from pixels."""


def require_patches(described: ImageDescriptors) -> np.ndarray:
    """The patch descriptors (b, P, C); raises CacheError for images without patches."""
    if described.patches is None:
        raise CacheError("these descriptors have no patches; use a model that makes them")
    return described.patches


@dataclass(frozen=True)
class QueryBatch:
    """A batch of queries, and the database images of all their candidates in memory."""

    queries: slice
    numbers: np.ndarray  # (U,) of the database images, ascending
    images: ImageDescriptors


def compare_images(
    queries: Images,
    database: Images,
    candidates: np.ndarray,
    config: RerankConfig,
    *,
    weight: float = 1.0,
    device: str | torch.device = CPU,
    title: str | None = None,
) -> Similarities:
    """Similarities of queries 0 to Q - 1 and their candidates (Q, K).

    candidates: numbers of database images, padded with -1. weight: of S_struct in the final score, for pruning and for
    geometry. title: text of the progress bar; None for no bar. On a CUDA device, transport runs there, without pruning;
    geometry is computed on CPUs. Raises CacheError for descriptors with NaN or infinity, and for patch weights
    that are missing, TransportError for geometry of patches that are no square grid.
    """
    work = _Comparison(queries, candidates, config, weight, device)
    with progress(total=len(candidates), title=title, unit="query") as bar:
        for batch in _batches(database, candidates, config):
            work.compute(batch, database)
            bar.update(batch.queries.stop - batch.queries.start)
    return work.result


def _batches(database: Images, candidates: np.ndarray, config: RerankConfig) -> Iterator[QueryBatch]:
    """The batches; each is read while the one before is computed. Two batches fit into ``memory_mb``."""
    size = (config.memory_mb << 20) // (2 * database.image_bytes * max(1, candidates.shape[1]))
    size = min(max(1, size), MOST_QUERIES)
    most = min(size * candidates.shape[1], len(database))
    # two batches are in memory at a time; later batches reuse their buffers
    buffers = [database.buffer_for(most) for _ in range(2 if len(candidates) > size else 1)]

    def read(start: int) -> QueryBatch:
        numbers = np.unique(candidates[start : start + size])
        numbers = numbers[numbers >= 0]
        queries = slice(start, min(start + size, len(candidates)))
        images = database.read(numbers, config.needs_weights, buffers[start // size % 2])
        return QueryBatch(queries, numbers, images)

    with ThreadPoolExecutor(1) as reader:
        ahead: Future[QueryBatch] | None = None
        for start in range(0, len(candidates), size):
            before, ahead = ahead, reader.submit(read, start)
            if before is not None:
                yield before.result()
        if ahead is not None:
            yield ahead.result()


def marginal_guides(global_descriptors: np.ndarray, patches: np.ndarray, kind: Marginals) -> np.ndarray:
    """The unit vectors (b, C) by which the patches of the other image are weighted.

    These are the global descriptors (b, G), or the mean of the image's own patches (b, P, C) if their lengths differ;
    zeros for uniform and rollout marginals, which do not need them.
    """
    if kind in ("uniform", "rollout"):
        return np.zeros((len(patches), patches.shape[2]), np.float32)
    if global_descriptors.shape[1] == patches.shape[2]:
        return global_descriptors
    mean = patches.mean(1, dtype=np.float32)
    return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9))


class _Comparison:
    """The computation of the similarities of queries and their candidates (Q, K), batch by batch."""

    def __init__(
        self, queries: Images, candidates: np.ndarray, config: RerankConfig, weight: float, device: str | torch.device
    ) -> None:
        self.queries, self.candidates = queries, candidates
        self.config, self.weight, self.device = config, weight, device
        self.is_on_cuda = str(device).startswith("cuda")
        self.result = Similarities.empty(candidates.shape, config)

    def compute(self, batch: QueryBatch, database: Images) -> None:
        """Fill the rows of a batch. If transport fails, the error names the image with invalid descriptors."""
        numbers = np.arange(batch.queries.start, batch.queries.stop)
        own = self.queries.read(numbers, self.config.needs_weights)
        try:
            self._compute(batch, own)
        except TransportError:
            self.queries.require_numbers(numbers, own)
            database.require_numbers(batch.numbers, batch.images)
            raise

    def _compute(self, batch: QueryBatch, own: ImageDescriptors) -> None:
        theirs, candidates = batch.images, self.candidates[batch.queries]
        query, place = np.nonzero(candidates >= 0)
        if not len(query):
            return
        images = np.searchsorted(batch.numbers, candidates[query, place])
        rows = query + batch.queries.start
        self.result.global_similarity[rows, place] = np.einsum("nc,nc->n", own.globals_[query], theirs.globals_[images])
        sides, kind = (require_patches(own), require_patches(theirs)), self.config.marginals
        guides = marginal_guides(own.globals_, sides[0], kind), marginal_guides(theirs.globals_, sides[1], kind)
        if self.config.prune and not self.is_on_cuda:
            self.prune(batch, sides, guides, (own.weights, theirs.weights))
            return
        given = None if own.weights is None or theirs.weights is None else (own.weights, theirs.weights)
        pairs, threads = (query, images), self.config.threads or None
        if self.result.geometry is None:
            scores = self._structural(sides, guides, pairs, given)
        elif self.is_on_cuda:  # where there are no plans
            scores = self._structural(sides, guides, pairs, given)
            chosen = self._first_pairs(rows, place, scores)
            some = query[chosen], images[chosen]
            found = pair_geometry(*sides, *guides, some, self.config.transport, weights=given, threads=threads)
            self.result.geometry[rows[chosen], place[chosen]] = found.score
        else:
            scores, self.result.geometry[rows, place] = score_with_geometry(
                PatchSets(*sides, *guides),
                pairs,
                lambda part, scores: self._first_pairs(rows[part], place[part], scores),
                self.config.transport,
                weights=given,
                threads=threads,
            )
        self.result.structural[rows, place] = scores

    def _structural(
        self,
        sides: tuple[np.ndarray, np.ndarray],
        guides: tuple[np.ndarray, np.ndarray],
        pairs: tuple[np.ndarray, np.ndarray],
        weights: tuple[np.ndarray, np.ndarray] | None,
    ) -> np.ndarray:
        """The structural similarities (N,) of pairs of a batch. sides, guides, weights: as for `prune`."""
        arrays: list[Any] = [*sides, *guides, *(weights or ())]
        if self.is_on_cuda:
            import torch  # which a CPU does not need

            arrays = [torch.from_numpy(np.ascontiguousarray(array)).to(self.device) for array in arrays]
        scores = structural_similarity_pairs(
            arrays[0],
            arrays[1],
            arrays[2],
            arrays[3],
            pairs,
            self.config.transport,
            weights=(arrays[4], arrays[5]) if len(arrays) > 4 else None,
            threads=self.config.threads or None,
        ).score
        return scores if isinstance(scores, np.ndarray) else np.asarray(scores.cpu().numpy())

    def _first_pairs(self, rows: np.ndarray, place: np.ndarray, structural: np.ndarray) -> np.ndarray:
        """Those of n pairs of queries and candidates, both (n,), whose geometry is computed.

        They are the first of each query by S_global + weight * S_struct.
        """
        scores = np.full((rows[-1] - rows[0] + 1, self.candidates.shape[1]), -np.inf, np.float32)
        numbers = np.full(scores.shape, -1)
        scores[rows - rows[0], place] = weighted_sum(
            self.result.global_similarity[rows, place], structural, self.weight
        )
        numbers[rows - rows[0], place] = np.arange(len(rows))
        chosen = np.take_along_axis(numbers, first_columns(scores, self.config.geometry), 1).ravel()
        return chosen[chosen >= 0]

    def prune(
        self,
        batch: QueryBatch,
        sides: tuple[np.ndarray, np.ndarray],
        guides: tuple[np.ndarray, np.ndarray],
        weights: tuple[np.ndarray | None, np.ndarray | None],
    ) -> None:
        """Fill the structural similarities of a batch with pruning, query by query.

        sides, guides, weights: patches (b, P, C), guides (b, C) and patch weights (b, P) of the queries and of the
        database images.
        """
        (patches, others), (own, theirs) = sides, guides

        def prune_query(k: int) -> None:
            row = batch.queries.start + k
            places = np.flatnonzero(self.candidates[row] >= 0)
            images = np.searchsorted(batch.numbers, self.candidates[row, places])
            problem = patches[k].astype(np.float32), others[images], own[k], theirs[images]
            given = None
            if weights[0] is not None and weights[1] is not None:
                given = weights[0][k], weights[1][images]
            known = self.result.global_similarity[row, places]
            self.result.structural[row, places] = pruned_scores(problem, known, self.config, self.weight, given)

        # the queries are computed in threads already; threads of BLAS would slow them down
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(self.config.threads or usable_cores()) as workers:
            list(workers.map(prune_query, range(len(patches))))
