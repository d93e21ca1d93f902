"""Re-ranking: shortlists reordered by global and structural similarity of cached descriptors.

Queries go in batches. A batch's database images are read once, however many of its queries want them, while the batch
before is computed; the memory they take is bounded by an option, whatever the size of the database.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from vpr.base.machine import usable_cores
from vpr.base.progress import progress
from vpr.cache import DescriptorCache
from vpr.retrieval.pruning import pruned_scores
from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity_pairs
from vpr.transport.marginals import Marginals
from vpr.transport.problem import TransportError

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


@dataclass(frozen=True)
class QueryBatch:
    """Some queries and, read into memory, the database images that any of them wants."""

    queries: slice
    rows: np.ndarray  # (U,) cache rows, rising
    patches: np.ndarray  # (U, P, C) float16
    globals_: np.ndarray  # (U, G) float32
    weights: np.ndarray | None  # (U, P) float32 of the patches, for rollout marginals


def compare(
    cache: DescriptorCache,
    queries: np.ndarray,
    candidates: np.ndarray,
    config: RerankConfig,
    *,
    weight: float = 1.0,
    device: torch.device = CPU,
    title: str | None = None,
) -> Similarities:
    """Similarities of queries (Q,) and their candidates (Q, K), both rows of the cache; -1 marks no candidate.

    weight: of S_struct in the final score, which pruning goes by. title: the progress bar's text; no bar without one.
    On a CUDA device the transport runs there, without pruning. Raises CacheError for descriptors that are no numbers,
    and for rollout marginals where the cache has no weights of patches.
    """
    work = _Comparison(cache, queries, candidates, config, weight, device)
    with progress(total=len(queries), title=title, unit="query") as bar:
        for batch in _batches(cache, candidates, config):
            work.compute(batch)
            bar.update(batch.queries.stop - batch.queries.start)
    return work.result


def _batches(cache: DescriptorCache, candidates: np.ndarray, config: RerankConfig) -> Iterator[QueryBatch]:
    """The batches, each read while the one before is computed; two of them fit into ``memory_mb``."""
    image_bytes = max(1, 2 * cache.patches[:1].size)
    size = (config.memory_mb << 20) // (2 * image_bytes * max(1, candidates.shape[1]))
    size = min(max(1, size), MOST_QUERIES)
    most = min(size * candidates.shape[1], len(cache))
    # memory of the two batches that are there at a time, taken over by those that follow
    room = [np.empty((most, *cache.patches.shape[1:]), np.float16) for _ in range(2 if len(candidates) > size else 1)]

    def read(start: int) -> QueryBatch:
        rows = np.unique(candidates[start : start + size])
        rows = rows[rows >= 0]
        patches = cache.read_patches(rows, room[start // size % 2][: len(rows)])
        queries, weights = slice(start, min(start + size, len(candidates))), weights_of(cache, rows, config.marginals)
        return QueryBatch(queries, rows, patches, cache.globals_[rows], weights)

    with ThreadPoolExecutor(1) as reader:
        ahead: Future[QueryBatch] | None = None
        for start in range(0, len(candidates), size):
            before, ahead = ahead, reader.submit(read, start)
            if before is not None:
                yield before.result()
        if ahead is not None:
            yield ahead.result()


def weights_of(cache: DescriptorCache, rows: np.ndarray, kind: Marginals) -> np.ndarray | None:
    """The weights of the patches of rows (b,), (b, P), where the marginals are given by them."""
    return cache.read_weights(rows) if kind == "rollout" else None


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
    """Queries (Q,) and candidates (Q, K), both cache rows, and their similarities as far as they are computed."""

    def __init__(self, cache: DescriptorCache, queries: np.ndarray, candidates: np.ndarray, config: RerankConfig,
                 weight: float, device: torch.device) -> None:  # fmt: skip
        self.cache, self.queries, self.candidates = cache, queries, candidates
        self.config, self.weight, self.device = config, weight, device
        self.result = Similarities(*(np.full(candidates.shape, -np.inf, np.float32) for _ in range(2)))

    def compute(self, batch: QueryBatch) -> None:
        """Fill the result's rows of a batch; what is wrong with its descriptors is looked for where transport fails."""
        try:
            self._compute(batch)
        except TransportError:
            own = self.queries[batch.queries]
            self.cache.require_numbers(own, self.cache.read_patches(own))
            self.cache.require_numbers(batch.rows, batch.patches)
            if self.cache.weights is not None and self.config.marginals == "rollout":
                with np.errstate(divide="ignore"):  # a row of zeros weighs nothing, and is found too
                    for rows in (own, batch.rows):
                        self.cache.require_numbers(rows, 1 / self.cache.weights[rows].sum(1, keepdims=True))
            raise

    def _compute(self, batch: QueryBatch) -> None:
        wanted = self.candidates[batch.queries]
        query, place = np.nonzero(wanted >= 0)
        images = np.searchsorted(batch.rows, wanted[query, place])
        rows, own = query + batch.queries.start, self.queries[batch.queries]
        globals_ = self.cache.globals_[own]
        self.result.global_[rows, place] = np.einsum("nc,nc->n", globals_[query], batch.globals_[images])
        patches, kind = self.cache.read_patches(own), self.config.marginals
        guides = guides_of(globals_, patches, kind), guides_of(batch.globals_, batch.patches, kind)
        weights = weights_of(self.cache, own, kind)
        if self.config.prune and self.device.type != "cuda":
            self.prune(batch, patches, guides, weights)
            return
        arrays: list[Any] = [patches, batch.patches, *guides]
        if weights is not None and batch.weights is not None:
            arrays += [weights, batch.weights]
        if self.device.type == "cuda":
            arrays = [torch.from_numpy(np.ascontiguousarray(array)).to(self.device) for array in arrays]
        scores = structural_similarity_pairs(
            arrays[0],
            arrays[1],
            arrays[2],
            arrays[3],
            (query, images),
            self.config.marginals,
            self.config.epsilon,
            self.config.mass,
            weights=(arrays[4], arrays[5]) if len(arrays) > 4 else None,
            threads=self.config.threads or None,
        ).score
        scores = scores if isinstance(scores, np.ndarray) else scores.cpu().numpy()
        self.result.structural[rows, place] = scores

    def prune(
        self, batch: QueryBatch, patches: np.ndarray, guides: tuple[np.ndarray, ...], weights: np.ndarray | None
    ) -> None:
        """Fill the structural similarities of a batch query by query, with bounds where transport is not needed."""
        own, theirs = guides

        def one(k: int) -> None:
            row = batch.queries.start + k
            there = np.flatnonzero(self.candidates[row] >= 0)
            images = np.searchsorted(batch.rows, self.candidates[row, there])
            problem = patches[k].astype(np.float32), batch.patches[images], own[k], theirs[images]
            known = self.result.global_[row, there]
            given = None
            if weights is not None and batch.weights is not None:
                given = weights[k], batch.weights[images]
            self.result.structural[row, there] = pruned_scores(problem, known, self.config, self.weight, given)

        # our threads share the queries: BLAS with threads of its own would have them wait for one another
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(self.config.threads or usable_cores()) as workers:
            list(workers.map(one, range(len(patches))))
