"""Re-ranking: shortlists reordered by global and structural similarity of cached descriptors."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from vpr.cache import DescriptorCache
from vpr.command import option
from vpr.similarity import structural_similarity

QUERIES = 32  # in a batch: each database image that any of them wants is read once


@dataclass(frozen=True)
class RerankConfig:
    """Re-ranking."""

    marginals: Literal["uniform", "relevancy", "inverse", "complement", "softmax"] = option(
        "complement", "how much each patch counts"
    )
    epsilon: float = option(0.05, "entropic regularisation, in units of cost (1 - cosine)")
    mass: float = option(1.0, "share of the mass that is transported, in (0, 1]; below 1 is partial transport")


@dataclass(frozen=True)
class Similarities:
    """Of each query and each of its candidates, both (Q, K) float32; higher is better, -inf where there is none."""

    global_: np.ndarray  # S_global: cosine of the global descriptors
    structural: np.ndarray  # S_struct: similarity of the patches under their transport plan

    def combined(self, weight: float) -> np.ndarray:
        """S_global + weight * S_struct, (Q, K)."""
        return self.global_ + np.float32(weight) * self.structural


def compare(
    cache: DescriptorCache, queries: np.ndarray, candidates: np.ndarray, config: RerankConfig, title: str | None = None
) -> Similarities:
    """Similarities of queries (Q,) and their candidates (Q, K), both rows of the cache; -1 marks no candidate.

    title: the progress bar's text; no bar without one.
    """
    shape = candidates.shape
    result = Similarities(np.full(shape, -np.inf, np.float32), np.full(shape, -np.inf, np.float32))
    threads = max(1, torch.get_num_threads())

    def one(query: int) -> None:
        there = np.flatnonzero(candidates[query] >= 0)
        rows = candidates[query, there]
        own = cache.globals_[queries[query]]
        result.global_[query, there] = cache.globals_[rows] @ own
        result.structural[query, there] = structural_similarity(
            np.asarray(cache.patches[queries[query]], np.float32),
            cache.patches[rows],
            own,
            cache.globals_[rows],
            config.marginals,
            config.epsilon,
            config.mass,
        ).score

    with ThreadPoolExecutor(threads) as pool:
        done: Iterator[None] = pool.map(one, range(len(queries)))
        for _ in tqdm(done, title, len(queries), disable=title is None, unit="query", dynamic_ncols=True):
            pass
    return result


def reorder(candidates: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Each row of candidates (Q, K) by falling score (Q, K); equal scores keep the shortlist's order. A permutation."""
    return np.take_along_axis(candidates, np.argsort(-scores, axis=1, kind="stable"), 1)


def reciprocal_rank(scores: np.ndarray, constant: float = 60.0) -> np.ndarray:
    """Fuse the shortlist's order with ours, when the shortlist has no scores: 1 / (c + rank in the shortlist) +
    1 / (c + rank by our scores), ranks from 1 (reciprocal rank fusion, Cormack et al., SIGIR 2009). (Q, K) to (Q, K)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ours = np.empty_like(order)
    np.put_along_axis(ours, order, np.arange(scores.shape[1])[None], 1)
    theirs = np.arange(scores.shape[1])[None]
    return (1 / (constant + 1 + theirs) + 1 / (constant + 1 + ours)).astype(np.float32)
