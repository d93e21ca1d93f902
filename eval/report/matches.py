"""The matches of the pairs on a page, packed into bytes."""

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
from vpr.description.images import CROP_MARGIN
from vpr.retrieval.matching import Match, match

if TYPE_CHECKING:
    from vpr.eval.evaluator import Answers

TARGETS = 6  # patches that get most of the mass of a patch
LINES = 16  # strongest correspondences
STEPS = 1000  # of a number of the fitted map


@dataclass(frozen=True)
class PackedMatches:
    """The matches of a page."""

    grid: int  # patches along a side of a photo
    middle: float  # side of the central square that the patches cover, by the shorter side; 0 for the whole photo
    pairs: dict[str, str]  # base64 of `pack`, by "query-entry", numbers on the page

    def record(self) -> dict[str, Any]:
        """The data for the script of the page."""
        return {
            "grid": self.grid,
            "middle": self.middle,
            "targets": min(TARGETS, self.grid**2),
            "lines": LINES,
            "steps": STEPS,
            "pairs": self.pairs,
        }

    @property
    def bytes(self) -> int:
        """Their approximate size in the page."""
        return sum(len(packed) + 16 for packed in self.pairs.values())


def pack(matched: Match) -> bytes:
    """A match as bytes. Each image has P patches, at most 255. T is `TARGETS`, or P if that is less.

    In this order:

    - P + P bytes: the marginals of the query, then of the database image, divided by the largest
    - P + P: the share of each marginal that is moved
    - P x T: for each patch of the query, the T patches that get most of its mass
    - P x T: the share of its mass that they get
    - 1 + 2 x LINES: the number of correspondences, and their patches, filled up with zeros
    - 1 + 6 x 2: the score of the geometry, and the map of `PatchGeometry.transform`, as 16-bit integers, little-endian,
      in steps of 1 / `STEPS`

    Shares are bytes from 0 to 255 for 0 to 1.
    """
    order = np.argsort(-matched.plan, axis=1, kind="stable")[:, :TARGETS]
    mass = np.take_along_axis(matched.plan, order, 1) / np.maximum(matched.query_weights[:, None], 1e-12)
    lines = matched.strongest_pairs(LINES)
    filled = np.zeros((LINES, 2), np.uint8)
    filled[: len(lines)] = lines
    shares = (side / side.max() for side in (matched.query_weights, matched.database_weights))
    parts = [*map(_to_bytes, [*shares, *matched.moved_shares]), order.astype(np.uint8), _to_bytes(mass)]
    parts += [np.array([len(lines)], np.uint8), filled]
    assert matched.geometry is not None  # the patches are square grids
    whole = np.clip(np.rint(matched.geometry.transform[0] * STEPS), -32768, 32767)
    parts += [_to_bytes(matched.geometry.score), whole.astype("<i2")]
    return b"".join(part.tobytes() for part in parts)


def packed_matches(answers: Answers, pairs: Sequence[tuple[int, int]], names: Sequence[str]) -> PackedMatches | None:
    """The matches of pairs of query and database numbers. For sequences the centre frames are matched.

    names: of the pairs on the page. None unless the patches of the model are a square grid of at most 255.
    """
    described = answers.described
    if described is None or not 0 < described.cache.spec.patches <= 255:
        return None
    grid = round(described.cache.spec.patches**0.5)
    if grid**2 != described.cache.spec.patches:
        return None
    cache, rows = described.cache, described.rows

    def pack_pair(pair: tuple[int, int]) -> str:
        sides = (rows.query[pair[0]], rows.database[pair[1]])
        centre = np.array([side[len(side) // 2] for side in sides])
        patches, globals_ = cache.read_patches(centre), np.asarray(cache.globals_[centre])
        weights = cache.read_weights(centre) if answers.rerank_config.needs_weights else None
        marginals = None if weights is None else (weights[0], weights[1])
        matched = match((patches[0], patches[1]), (globals_[0], globals_[1]), answers.rerank_config, marginals)
        return base64.b64encode(pack(matched)).decode()

    # the threads here share the pairs; further threads of BLAS would slow them down
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(usable_cores()) as workers:
        packed = progress(workers.map(pack_pair, pairs), title="matches", unit="pair", total=len(pairs))
        middle = 0.0 if described.crop == "resize" else 1 / CROP_MARGIN
        return PackedMatches(grid, middle, dict(zip(names, packed)))


def _to_bytes(shares: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(255 * np.clip(shares, 0, 1)), np.uint8)
