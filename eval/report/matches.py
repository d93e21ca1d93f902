"""The matches of the pairs that a page shows, packed into bytes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from vpr.base.machine import usable_cores
from vpr.base.progress import progress
from vpr.description.images import WIDER
from vpr.retrieval.matching import Match, match

if TYPE_CHECKING:
    from vpr.eval.evaluation import Answers

TARGETS = 6  # patches to which most of a patch's mass goes
LINES = 16  # strongest correspondences


@dataclass(frozen=True)
class Packed:
    """The matches of a page."""

    grid: int  # patches along a side of a photo
    middle: float  # side of the middle square that the patches cover, by the shorter side of the photo; 0: all of it
    pairs: dict[str, str]  # base64 of `pack`, by "query-entry" as numbers of the page

    def record(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {
            "grid": self.grid,
            "middle": self.middle,
            "targets": min(TARGETS, self.grid**2),
            "lines": LINES,
            "pairs": self.pairs,
        }

    @property
    def bytes(self) -> int:
        """What they take in the page, about."""
        return sum(len(packed) + 16 for packed in self.pairs.values())


def pack(found: Match) -> bytes:
    """A match as bytes; P patches, at most 255, in either image, and T targets: `TARGETS`, or P where that is less.

    In this order: marginals of the query, then of the database image, by the largest (P + P); the share of each that is
    moved (P + P); the T patches to which most mass of each patch of the query goes (P x T); the share of its mass that
    goes there (P x T); the number of correspondences, and which (1 + 2 x LINES, filled up with zeros).
    Shares are bytes, 255 being 1.
    """
    order = np.argsort(-found.plan, axis=1, kind="stable")[:, :TARGETS]
    mass = np.take_along_axis(found.plan, order, 1) / np.maximum(found.query_weights[:, None], 1e-12)
    lines = found.strongest(LINES)
    filled = np.zeros((LINES, 2), np.uint8)
    filled[: len(lines)] = lines
    shares = (side / side.max() for side in (found.query_weights, found.database_weights))
    parts = [*map(_bytes, [*shares, *found.taken]), order.astype(np.uint8), _bytes(mass)]
    parts += [np.array([len(lines)], np.uint8), filled]
    return b"".join(part.tobytes() for part in parts)


def packed_matches(answers: Answers, pairs: Sequence[tuple[int, int]], names: Sequence[str]) -> Packed | None:
    """The matches of query and database numbers; of sequences, those of their centre frames.

    names: of the pairs, in the page. None where no model with square grids of at most 255 patches described the photos.
    """
    described = answers.described
    if described is None or not 0 < described.cache.spec.patches <= 255:
        return None
    grid = round(described.cache.spec.patches**0.5)
    if grid**2 != described.cache.spec.patches:
        return None
    cache, rows = described.cache, described.rows

    def one(pair: tuple[int, int]) -> str:
        sides = (rows.query[pair[0]], rows.database[pair[1]])
        centre = np.array([side[len(side) // 2] for side in sides])
        patches, globals_ = cache.read_patches(centre), np.asarray(cache.globals_[centre])
        weights = cache.read_weights(centre) if answers.compared.marginals == "rollout" else None
        given = None if weights is None else (weights[0], weights[1])
        found = match((patches[0], patches[1]), (globals_[0], globals_[1]), answers.compared, given)
        return base64.b64encode(pack(found)).decode()

    # our threads share the pairs: BLAS with threads of its own would have them wait for one another
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(usable_cores()) as workers:
        packed = progress(workers.map(one, pairs), title="matches", unit="pair", total=len(pairs))
        middle = 0.0 if described.crop == "resize" else 1 / WIDER
        return Packed(grid, middle, dict(zip(names, packed)))


def _bytes(shares: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
