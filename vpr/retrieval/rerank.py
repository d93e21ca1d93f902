"""Re-ranking: shortlists reordered by global and structural similarity of cached descriptors.

Queries go in batches. A batch's database images are read once, however many of its queries want them, while the batch
before is computed; the memory they take is bounded by an option, whatever the size of the database.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from vpr.base.machine import usable_cores
from vpr.base.progress import progress
from vpr.cache import CacheError, DescriptorCache
from vpr.description.adaptation import Adaptation
from vpr.description.describe import Described
from vpr.retrieval.pruning import pruned_scores
from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity_pairs
from vpr.transport.errors import TransportError
from vpr.transport.marginals import Marginals

CPU = torch.device("cpu")
MOST_QUERIES = 32  # in a batch: they share the images of a sequence and need little memory


@dataclass(frozen=True)
class Similarities:
    """Of each query and each of its candidates, both (Q, K) float32; higher is better, -inf where there is none.

    Where pruning skipped a candidate its structural similarity is an upper bound, under which it stays behind the first
    N; deeper ranks are then not exact.
    """

    global_: np.ndarray  # S_global: cosine of the global descriptors
    structural: np.ndarray  # S_struct: similarity of the patches under their transport plan


class Images(Protocol):
    """Described images by number, of which some are read at a time."""

    def __len__(self) -> int: ...

    @property
    def image_bytes(self) -> int:
        """Memory that the patches of one image take."""
        ...

    def read(self, numbers: np.ndarray, with_weights: bool = False, buffer: np.ndarray | None = None) -> Described:
        """The descriptors of the images (b,).

        with_weights: the weights of their patches too, which rollout marginals need. buffer: memory for the patches,
        which `buffer_for` made. Raises CacheError if there are no patches, or no weights.
        """
        ...

    def buffer_for(self, images: int) -> np.ndarray | None:
        """Memory that the patches of up to so many images are read into again and again; None if that saves nothing."""
        ...

    def require_numbers(self, numbers: np.ndarray, described: Described) -> None:
        """Raise CacheError naming the first of the images (b,) whose descriptors are not finite numbers."""
        ...


@dataclass(frozen=True, eq=False)
class CachedImages:
    """Images of a descriptor cache; an adaptation is applied as they are read."""

    cache: DescriptorCache
    rows: np.ndarray  # (N,) of the images in the cache
    adaptation: Adaptation | None = None
    global_descriptors: np.ndarray | None = None  # (N, G) float32; None takes those of the cache

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_bytes(self) -> int:
        """As float16, and as float32 too if they are adapted."""
        return max(1, (2 if self.adaptation is None else 6) * self.cache.patches[:1].size)

    def buffer_for(self, images: int) -> np.ndarray | None:
        """As `Images.buffer_for`."""
        return np.empty((images, *self.cache.patches.shape[1:]), np.float16)

    def read(self, numbers: np.ndarray, with_weights: bool = False, buffer: np.ndarray | None = None) -> Described:
        """As `Images.read`."""
        rows = self.rows[numbers]
        patches = self.cache.read_patches(rows, None if buffer is None else buffer[: len(rows)])
        if self.adaptation is not None:
            patches = self.adaptation.patches(patches)
        known = self.cache.globals_[rows] if self.global_descriptors is None else self.global_descriptors[numbers]
        weights = self.cache.read_weights(rows) if with_weights else None
        return Described(np.asarray(known, np.float32), patches, weights)

    def require_numbers(self, numbers: np.ndarray, described: Described) -> None:
        """As `Images.require_numbers`."""
        rows, weights = self.rows[numbers], described.weights
        self.cache.require_numbers(rows, patches_of(described))
        if weights is not None:
            with np.errstate(divide="ignore"):  # weights that are all zero are found too
                self.cache.require_numbers(rows, 1 / weights.sum(1, keepdims=True))


@dataclass(frozen=True, eq=False)
class ImagesInMemory:
    """Images whose descriptors are in memory."""

    described: Described

    def __len__(self) -> int:
        return len(self.described.globals_)

    @property
    def image_bytes(self) -> int:
        """As they are."""
        return max(1, patches_of(self.described)[:1].nbytes)

    def buffer_for(self, images: int) -> np.ndarray | None:
        """As `Images.buffer_for`."""
        return None

    def read(self, numbers: np.ndarray, with_weights: bool = False, buffer: np.ndarray | None = None) -> Described:
        """As `Images.read`."""
        if with_weights and self.described.weights is None:
            raise CacheError("these descriptors have no weights of patches, which rollout marginals need")
        weights = self.described.weights[numbers] if with_weights and self.described.weights is not None else None
        return Described(self.described.globals_[numbers], patches_of(self.described)[numbers], weights)

    def require_numbers(self, numbers: np.ndarray, described: Described) -> None:
        """Nothing: what a network computes from pixels are numbers."""


def patches_of(described: Described) -> np.ndarray:
    """The patch descriptors (b, P, C); raises CacheError for images without any."""
    if described.patches is None:
        raise CacheError("these descriptors have no patches; take a model that makes them")
    return described.patches


@dataclass(frozen=True)
class QueryBatch:
    """Some queries and, read into memory, the database images that any of them is compared with."""

    queries: slice
    numbers: np.ndarray  # (U,) of the database images, rising
    images: Described


def compare_images(
    queries: Images,
    database: Images,
    candidates: np.ndarray,
    config: RerankConfig,
    *,
    weight: float = 1.0,
    device: torch.device = CPU,
    title: str | None = None,
) -> Similarities:
    """Similarities of queries 0 to Q - 1 and their candidates (Q, K), numbers of database images; -1 marks none.

    weight: of S_struct in the final score, by which candidates are pruned. title: the progress bar's text; no bar
    without one. On a CUDA device transport runs there, without pruning. Raises CacheError for descriptors that are not
    finite numbers, and for rollout marginals if there are no weights of patches.
    """
    work = _Comparison(queries, candidates, config, weight, device)
    with progress(total=len(candidates), title=title, unit="query") as bar:
        for batch in _batches(database, candidates, config):
            work.compute(batch, database)
            bar.update(batch.queries.stop - batch.queries.start)
    return work.result


def _batches(database: Images, candidates: np.ndarray, config: RerankConfig) -> Iterator[QueryBatch]:
    """The batches, each read while the one before is computed; two of them fit into ``memory_mb``."""
    size = (config.memory_mb << 20) // (2 * database.image_bytes * max(1, candidates.shape[1]))
    size = min(max(1, size), MOST_QUERIES)
    most = min(size * candidates.shape[1], len(database))
    # of the two batches that are there at a time; those that follow take it over
    buffers = [database.buffer_for(most) for _ in range(2 if len(candidates) > size else 1)]

    def read(start: int) -> QueryBatch:
        numbers = np.unique(candidates[start : start + size])
        numbers = numbers[numbers >= 0]
        queries = slice(start, min(start + size, len(candidates)))
        images = database.read(numbers, config.marginals == "rollout", buffers[start // size % 2])
        return QueryBatch(queries, numbers, images)

    with ThreadPoolExecutor(1) as reader:
        ahead: Future[QueryBatch] | None = None
        for start in range(0, len(candidates), size):
            before, ahead = ahead, reader.submit(read, start)
            if before is not None:
                yield before.result()
        if ahead is not None:
            yield ahead.result()


def guides_of(globals_: np.ndarray, patches: np.ndarray, kind: Marginals) -> np.ndarray:
    """The descriptors (b, C) by which the other image's patches are weighed.

    Those given (b, G), or the mean of the image's own patches (b, P, C) where the two differ in length, unit vectors;
    zeros for uniform and rollout marginals, which need none.
    """
    if kind in ("uniform", "rollout"):
        return np.zeros((len(patches), patches.shape[2]), np.float32)
    if globals_.shape[1] == patches.shape[2]:
        return globals_
    mean = patches.mean(1, dtype=np.float32)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)


class _Comparison:
    """The similarities of queries and their candidates (Q, K), as far as they are computed."""

    def __init__(
        self, queries: Images, candidates: np.ndarray, config: RerankConfig, weight: float, device: torch.device
    ) -> None:
        self.queries, self.candidates = queries, candidates
        self.config, self.weight, self.device = config, weight, device
        self.result = Similarities(*(np.full(candidates.shape, -np.inf, np.float32) for _ in range(2)))

    def compute(self, batch: QueryBatch, database: Images) -> None:
        """Fill the result's rows of a batch; if transport fails, name the image whose descriptors are the reason."""
        numbers = np.arange(batch.queries.start, batch.queries.stop)
        own = self.queries.read(numbers, self.config.marginals == "rollout")
        try:
            self._compute(batch, own)
        except TransportError:
            self.queries.require_numbers(numbers, own)
            database.require_numbers(batch.numbers, batch.images)
            raise

    def _compute(self, batch: QueryBatch, own: Described) -> None:
        theirs, wanted = batch.images, self.candidates[batch.queries]
        query, place = np.nonzero(wanted >= 0)
        if not len(query):
            return
        images = np.searchsorted(batch.numbers, wanted[query, place])
        rows = query + batch.queries.start
        self.result.global_[rows, place] = np.einsum("nc,nc->n", own.globals_[query], theirs.globals_[images])
        sides, kind = (patches_of(own), patches_of(theirs)), self.config.marginals
        guides = guides_of(own.globals_, sides[0], kind), guides_of(theirs.globals_, sides[1], kind)
        if self.config.prune and self.device.type != "cuda":
            self.prune(batch, sides, guides, (own.weights, theirs.weights))
            return
        arrays: list[Any] = [*sides, *guides]
        if own.weights is not None and theirs.weights is not None:
            arrays += [own.weights, theirs.weights]
        if self.device.type == "cuda":
            arrays = [torch.from_numpy(np.ascontiguousarray(array)).to(self.device) for array in arrays]
        scores = structural_similarity_pairs(
            arrays[0],
            arrays[1],
            arrays[2],
            arrays[3],
            (query, images),
            self.config.transport,
            weights=(arrays[4], arrays[5]) if len(arrays) > 4 else None,
            threads=self.config.threads or None,
        ).score
        scores = scores if isinstance(scores, np.ndarray) else scores.cpu().numpy()
        self.result.structural[rows, place] = scores

    def prune(
        self,
        batch: QueryBatch,
        sides: tuple[np.ndarray, np.ndarray],
        guides: tuple[np.ndarray, np.ndarray],
        weights: tuple[np.ndarray | None, np.ndarray | None],
    ) -> None:
        """Fill the structural similarities of a batch query by query; an upper bound replaces transport if it is low.

        sides, guides, weights: patches (b, P, C), guides (b, C) and weights of patches (b, P) of the queries and of the
        database images.
        """
        (patches, others), (own, theirs) = sides, guides

        def one(k: int) -> None:
            row = batch.queries.start + k
            there = np.flatnonzero(self.candidates[row] >= 0)
            images = np.searchsorted(batch.numbers, self.candidates[row, there])
            problem = patches[k].astype(np.float32), others[images], own[k], theirs[images]
            given = None
            if weights[0] is not None and weights[1] is not None:
                given = weights[0][k], weights[1][images]
            known = self.result.global_[row, there]
            self.result.structural[row, there] = pruned_scores(problem, known, self.config, self.weight, given)

        # our threads share the queries: BLAS with threads of its own would have them wait for one another
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(self.config.threads or usable_cores()) as workers:
            list(workers.map(one, range(len(patches))))
