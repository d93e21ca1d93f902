"""The match of two images: marginals, transport plan, correspondences of patches."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.description.batches import ImageDescriptors
from vpr.retrieval.rerank import marginal_guides, require_patches
from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity
from vpr.transport.geometry import plan_geometry
from vpr.transport.geometry_reference import PatchGeometry
from vpr.transport.marginals import marginal_weights


@dataclass(frozen=True, eq=False)
class Match:
    """The transport between the P patches of a query and the Q patches of a database image."""

    score: float  # S_struct
    query_weights: np.ndarray  # (P,) float32 marginals, with sum 1
    database_weights: np.ndarray  # (Q,) likewise
    plan: np.ndarray  # (P, Q) float32 mass moved from patch to patch; its sum is the mass of the transport problem
    similarity: np.ndarray  # (P, Q) float32 cosines

    @property
    def moved_shares(self) -> tuple[np.ndarray, np.ndarray]:
        """The share of each patch's marginal that the plan moves, (P,) and (Q,) in [0, 1].

        With partial transport, patches that the other image does not show have shares near 0.
        """
        sides = (self.query_weights, self.plan.sum(1)), (self.database_weights, self.plan.sum(0))
        own, other = (np.clip(moved / np.maximum(weights, 1e-12), 0, 1) for weights, moved in sides)
        return own, other

    @cached_property
    def geometry(self) -> PatchGeometry | None:
        """The geometry of the plan, of one pair; None if the patches are no square grids."""
        if any(math.isqrt(patches) ** 2 != patches for patches in self.plan.shape):
            return None
        return plan_geometry(self.plan[None])

    def strongest_pairs(self, count: int) -> np.ndarray:
        """At most ``count`` correspondences (k, 2), query patch and database patch, sorted by descending mass.

        A pair of patches corresponds if it moves more mass than all other pairs of both patches. Each patch appears at
        most once.
        """
        best = (self.plan == self.plan.max(1, keepdims=True)) & (self.plan == self.plan.max(0, keepdims=True))
        pairs = np.argwhere(best & (self.plan > 0))
        order = np.argsort(-self.plan[pairs[:, 0], pairs[:, 1]], kind="stable")
        chosen: list[tuple[int, int]] = []
        rows, columns = set[int](), set[int]()
        for row, column in pairs[order].tolist():
            if len(chosen) < count and row not in rows and column not in columns:  # the first of equal pairs
                chosen.append((row, column))
                rows.add(row)
                columns.add(column)
        return np.array(chosen, np.int64).reshape(-1, 2)

    def correspondences(self, count: int) -> list[dict[str, object]]:
        """`strongest_pairs` as dicts: [row, column] of both patches on their grids, mass and similarity."""
        sides = [math.isqrt(patches) for patches in self.plan.shape]
        return [
            {
                "query": [int(own) // sides[0], int(own) % sides[0]],
                "database": [int(other) // sides[1], int(other) % sides[1]],
                "mass": float(self.plan[own, other]),
                "similarity": float(self.similarity[own, other]),
            }
            for own, other in self.strongest_pairs(count)
        ]


@dataclass(frozen=True, eq=False)
class MatchedPhotos:
    """The similarity of two photos: S_global, and the match that gives S_struct."""

    global_similarity: float
    match: Match

    def score(self, weight: float) -> float:
        """The score of re-ranking: S_global + weight * S_struct."""
        return self.global_similarity + weight * self.match.score


def match_described(described: ImageDescriptors, config: RerankConfig) -> MatchedPhotos:
    """Match the first of two described photos, as the query, with the second."""
    (first, second), patches, weights = described.globals_, require_patches(described), described.weights
    given = None if weights is None else (weights[0], weights[1])
    matched = match((patches[0], patches[1]), (first, second), config, given)
    return MatchedPhotos(float(first @ second), matched)


def require_files(photos: tuple[Path, ...]) -> None:
    """Raise VprError for a path that is not a file."""
    for photo in photos:
        if not photo.is_file():
            raise VprError(f"there is no photo {photo}; check the path")


def match(
    patches: tuple[np.ndarray, np.ndarray],
    global_descriptors: tuple[np.ndarray, np.ndarray],
    config: RerankConfig,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
) -> Match:
    """Match a query with a database image, as re-ranking does.

    patches: (P, C) and (Q, C) unit vectors. global_descriptors: (G,) each, unit vectors. weights: patch weights (P,)
    and (Q,), for marginals that need them. The score is that of re-ranking. Raises TransportError for descriptors of
    other shapes or with NaN or infinity, and for weights that are missing.
    """
    own, other = (side.astype(np.float32) for side in patches)
    guides = [
        marginal_guides(descriptor[None], side[None], config.marginals)[0]
        for descriptor, side in zip(global_descriptors, (own, other))
    ]
    pair = own, other[None], guides[0], guides[1][None]
    given = (weights[0], weights[1][None]) if weights is not None and config.needs_weights else None
    result = structural_similarity(*pair, transport=config.transport, weights=given, plan=True)
    assert result.plan is not None
    mu, nu = marginal_weights(config.marginals, *pair, given)
    return Match(float(result.score[0]), mu[0], nu[0], result.plan[0], own @ other.T)
