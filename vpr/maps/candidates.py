"""From descriptors of photos to candidates of a map: search, and re-ranking by transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from vpr.cache import DescriptorCache
from vpr.description.adaptation import Adaptation
from vpr.maps.index import Search
from vpr.retrieval.confidence import ELSEWHERE_M, LIMIT
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.rerank import guides_of
from vpr.retrieval.settings import Fixed
from vpr.similarity import structural_similarity_pairs

MEMORY_BYTES = 256 << 20  # of the candidates' patches that are compared at a time
MOST_QUERIES = 32
SHARPNESS = 3.0  # fixed on the held-out city of mini-MSLS, as 0.5, 1, 2, 5 and 8 were not better


class Described(NamedTuple):
    """Unit vectors of N photos."""

    globals_: np.ndarray  # (N, G) float32
    patches: np.ndarray  # (N, P, C) float16, rows of the grid first


class Compares(Protocol):
    """How patches are compared, and where; a model says it."""

    @property
    def fixed(self) -> Fixed: ...
    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of Q photos, best first; all (Q, K)."""

    rows: np.ndarray  # int64 photos of the map
    global_: np.ndarray  # S_global
    structural: np.ndarray  # S_struct
    scores: np.ndarray  # S_global + w S_struct, falling
    places: np.ndarray  # (Q, K, 3) metres
    not_searched: int = 0  # photos of the map that could not be looked at

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Those of several batches, one after another."""
        width = min(part.rows.shape[1] for part in parts)  # an index may find fewer for some
        names = ("rows", "global_", "structural", "scores", "places")
        arrays = {name: np.concatenate([getattr(part, name)[:, :width] for part in parts]) for name in names}
        return cls(**arrays, not_searched=max(part.not_searched for part in parts))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def separations(self) -> np.ndarray:
        """How far each candidate's S_struct stands above the best elsewhere, in standard deviations, (Q, K).

        That of the first column is what `vpr.retrieval.confidence.separation` gives.
        """
        result = np.zeros(self.rows.shape)
        for own, (scores, places) in enumerate(zip(self.structural, self.places)):
            if len(scores) > 1:
                away = np.linalg.norm(places[:, None] - places[None], axis=2) > ELSEWHERE_M
                best = np.where(away, scores[None], -np.inf).max(1)
                best = np.where(away.any(1), best, scores.min())
                result[own] = (scores - best) / max(float(scores.std()), 1e-9)
        return np.clip(result, -LIMIT, LIMIT)

    @cached_property
    def tell(self) -> np.ndarray:
        """Whether a photo has candidates elsewhere, from which the first can stand out, (Q,) bool."""
        return (np.linalg.norm(self.places - self.places[:, :1], axis=2) > ELSEWHERE_M).any(1)

    @cached_property
    def weights(self) -> np.ndarray:
        """How much each candidate counts in a position, (Q, K): exp of `SHARPNESS` times its score in standard
        deviations, 1 for the first."""
        spread = np.maximum(self.scores.std(1, keepdims=True), 1e-9)
        return np.exp(SHARPNESS * (self.scores - self.scores[:, :1]) / spread)


@dataclass(frozen=True, eq=False)
class Comparer:
    """What photos are compared with."""

    model: Compares
    cache: DescriptorCache
    rows: np.ndarray  # (N,) of the map's photos in the cache
    search: Search
    adaptation: Adaptation | None
    places: np.ndarray  # (N, 3) of the photos, metres

    def find(self, described: Described, depth: int, shortlist: np.ndarray | None = None) -> Candidates:
        """The candidates of photos, at most ``depth`` for each, re-ranked.

        shortlist (Q, K): rows of the map that another model found; those that the search finds, where it is None.
        Raises CacheError for descriptors that are no numbers.
        """
        image_bytes = 4 * max(1, described.patches[:1].size)
        size = min(max(1, MEMORY_BYTES // (image_bytes * min(depth, len(self.rows)))), MOST_QUERIES)
        spans = [slice(start, start + size) for start in range(0, len(described.globals_), size)]
        parts = [
            self._batch(
                Described(described.globals_[span], described.patches[span]),
                depth,
                None if shortlist is None else shortlist[span, :depth],
            )
            for span in spans
        ]
        return Candidates.joined(parts)

    def _batch(self, described: Described, depth: int, shortlist: np.ndarray | None) -> Candidates:
        patches, globals_ = described.patches.astype(np.float32), described.globals_
        if self.adaptation is not None:
            patches = self.adaptation.patches(patches)
            globals_ = self.adaptation.globals_(patches)
        if shortlist is None:
            global_, rows = self.search(globals_, depth)
        else:
            global_, rows = self.search.cosines(globals_, shortlist), shortlist
        there = rows >= 0  # an index may find fewer for one photo than for another
        width = max(1, int(there.sum(1).min()))
        global_, rows = global_[:, :width], np.maximum(rows[:, :width], 0)
        structural = self.structural((globals_, patches), rows)
        scores = weighted_sum(global_, structural, self.model.fixed.weight)
        ordered, similar, structural = (reorder(side, scores) for side in (rows, global_, structural))
        return Candidates(ordered, similar, structural, reorder(scores, scores), self.places[ordered])

    def structural(self, own: tuple[np.ndarray, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """S_struct of photos, by their globals (Q, G) and patches (Q, P, C), and photos of the map (Q, K); -inf where
        the latter are -1."""
        fixed, images, there = self.model.fixed, np.unique(rows[rows >= 0]), np.nonzero(rows >= 0)
        result = np.full(rows.shape, -np.inf, np.float32)
        if not len(images):
            return result
        patches = self.cache.read_patches(self.rows[images])
        self.cache.require_numbers(self.rows[images], patches)
        if self.adaptation is not None:
            patches = self.adaptation.patches(patches)
        theirs = (np.asarray(self.search.globals_[images], np.float32), patches)
        guides = [guides_of(globals_, given, fixed.marginals) for globals_, given in (own, theirs)]
        arrays: list[Any] = [own[1], patches, *guides]
        if self.model.device.type == "cuda":
            arrays = [torch.from_numpy(np.ascontiguousarray(array)).to(self.model.device) for array in arrays]
        pairs = there[0], np.searchsorted(images, rows[there])
        scores = structural_similarity_pairs(
            arrays[0], arrays[1], arrays[2], arrays[3], pairs, fixed.marginals, fixed.epsilon, fixed.mass
        ).score
        result[there] = scores if isinstance(scores, np.ndarray) else scores.cpu().numpy()
        return result
