"""How the patches of two images match: marginals, transport plan, correspondences."""

import math
from dataclasses import dataclass

import numpy as np

from vpr.retrieval.rerank import guides_of
from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity
from vpr.transport.marginals import marginal_weights


@dataclass(frozen=True, eq=False)
class Match:
    """The transport between the P patches of a query and the Q patches of a database image."""

    score: float  # S_struct
    query_weights: np.ndarray  # (P,) float32 marginals, of sum 1
    database_weights: np.ndarray  # (Q,) likewise
    plan: np.ndarray  # (P, Q) float32 mass moved from patch to patch; its sum is the mass of the settings
    similarity: np.ndarray  # (P, Q) float32 cosines

    @property
    def taken(self) -> tuple[np.ndarray, np.ndarray]:
        """The share of each patch's marginal that the plan moves, (P,) and (Q,) in [0, 1].

        With partial transport a patch that the other image does not show has a share near 0.
        """
        sides = (self.query_weights, self.plan.sum(1)), (self.database_weights, self.plan.sum(0))
        own, other = (np.clip(moved / np.maximum(weights, 1e-12), 0, 1) for weights, moved in sides)
        return own, other

    def strongest(self, count: int) -> np.ndarray:
        """At most ``count`` correspondences (k, 2), patch of the query and of the database, most mass first.

        Each patch stands for itself once: a pair is taken when it moves more mass than any other of its row and column.
        """
        best = (self.plan == self.plan.max(1, keepdims=True)) & (self.plan == self.plan.max(0, keepdims=True))
        pairs = np.argwhere(best & (self.plan > 0))
        order = np.argsort(-self.plan[pairs[:, 0], pairs[:, 1]], kind="stable")
        found: list[tuple[int, int]] = []
        rows, columns = set[int](), set[int]()
        for row, column in pairs[order].tolist():
            if len(found) < count and row not in rows and column not in columns:  # of equal ones the first
                found.append((row, column))
                rows.add(row)
                columns.add(column)
        return np.array(found, np.int64).reshape(-1, 2)

    def listed(self, count: int) -> list[dict[str, object]]:
        """`strongest` with [row, column] of both patches on the photos' grids, their mass and their similarity."""
        sides = [math.isqrt(patches) for patches in self.plan.shape]
        return [
            {
                "query": [int(own) // sides[0], int(own) % sides[0]],
                "database": [int(other) // sides[1], int(other) % sides[1]],
                "mass": float(self.plan[own, other]),
                "similarity": float(self.similarity[own, other]),
            }
            for own, other in self.strongest(count)
        ]


def match(
    patches: tuple[np.ndarray, np.ndarray],
    globals_: tuple[np.ndarray, np.ndarray],
    config: RerankConfig,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
) -> Match:
    """Match a query with a database image, as re-ranking does.

    patches: (P, C) and (Q, C) unit vectors. globals_: (G,) each, unit vectors. weights: (P,) and (Q,) of the
    patches, which rollout marginals need. The score is the one that re-ranking goes by. Raises TransportError for
    descriptors that do not fit or are no numbers, and for rollout marginals without weights.
    """
    own, other = (side.astype(np.float32) for side in patches)
    guides = [
        guides_of(descriptor[None], side[None], config.marginals)[0] for descriptor, side in zip(globals_, (own, other))
    ]
    pair = own, other[None], guides[0], guides[1][None]
    given = (weights[0], weights[1][None]) if weights is not None and config.marginals == "rollout" else None
    result = structural_similarity(*pair, transport=config.transport, weights=given, plan=True)
    assert result.plan is not None
    mu, nu = marginal_weights(config.marginals, *pair, given)
    return Match(float(result.score[0]), mu[0], nu[0], result.plan[0], own @ other.T)
