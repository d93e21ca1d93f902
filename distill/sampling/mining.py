"""Hard examples, mined from the descriptors of the model in training: similar places, or tuples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vpr.distill.sampling.places import Places
from vpr.retrieval.search import search

POOL = 20_000  # most anchors described to mine similar places
SMALLEST_POOL = 5_000  # of more than `POOL` anchors
NEIGHBOURS = 150  # similar anchors kept for each anchor
MARGIN = 0.1**0.5  # a tuple is hard if its negative is at most this much farther than its positive

# Numbers of photos (n,) to their descriptors (n, C), float32 unit vectors.
Describe = Callable[[np.ndarray], np.ndarray]


def pool_size(anchors: int, photos: int) -> int:
    """The number of anchors that a mining of places describes.

    Up to `POOL` anchors: all. Of more, as many as the photos that the steps until the next mining use, so that mining
    takes no longer than training; but at least `SMALLEST_POOL`, and at most `POOL`.

    >>> pool_size(3_000, 640), pool_size(1_400_000, 640), pool_size(1_400_000, 100_000)
    (3000, 5000, 20000)
    """
    return anchors if anchors <= POOL else min(POOL, max(SMALLEST_POOL, photos))


def similar_places(describe: Describe, anchors: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Some random anchors, the pool, each followed by the anchors of the pool with the most similar descriptors.

    size: of the pool, M. The result is (M, 1 + k), where k is `NEIGHBOURS`, or M - 1 if that is smaller.
    """
    pool = np.sort(rng.choice(anchors, size, replace=False))
    descriptors = describe(pool)
    _, rows = search(descriptors, descriptors, NEIGHBOURS + 1)
    groups: np.ndarray = pool[_move_self_first(rows)]
    return groups


def _move_self_first(rows: np.ndarray) -> np.ndarray:
    """Search results (M, 1 + k) with each row's own number in front; equal descriptors may have displaced it."""
    own = np.arange(len(rows))[:, None]
    order = np.argsort(rows != own, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, 1)
    ordered[:, 0] = own[:, 0]
    return ordered


@dataclass(frozen=True)
class TupleMining:
    """How tuples are mined."""

    queries: int  # drawn from the anchors
    candidates: int  # possible negatives, drawn from all photos
    negatives: int  # per tuple


def hard_tuples(
    describe: Describe,
    places: Places,
    mining: TupleMining,
    rng: np.random.Generator,
    probabilities: np.ndarray | None = None,
) -> np.ndarray:
    """Tuples (M, 2 + negatives) of photo numbers: a query, its most similar positive, and its most similar negatives,
    the hardest first.

    probabilities: of drawing each of `Places.anchors` as a query; equal if left out. Queries with too few negatives are
    dropped. So are queries whose tuple is not hard, unless no tuple is hard. The result may be empty.

    Source: Warburg et al., "Mapillary Street-Level Sequences", CVPR 2020, section 5. If a query has no positive, their
    loader embeds the wrong photos for later queries; this one does not.
    """
    anchors, photos = places.anchors, places.photos
    count = min(mining.queries, len(anchors))
    queries = np.sort(rng.choice(anchors, count, replace=False, p=probabilities))
    candidates = np.sort(rng.choice(len(photos.paths), min(mining.candidates, len(photos.paths)), replace=False))
    positives = [places.positives(query) for query in queries]
    described = np.unique(np.concatenate([queries, candidates, *positives]))
    descriptors = describe(described)

    def look_up(numbers: np.ndarray) -> np.ndarray:
        rows: np.ndarray = descriptors[np.searchsorted(described, numbers)]
        return rows

    query_descriptors = look_up(queries)
    nearest = np.array([group[np.argmax(look_up(group) @ query)] for query, group in zip(query_descriptors, positives)])
    similarity = query_descriptors @ look_up(candidates).T
    _, negative = places.guard.masks(photos, queries, candidates)
    similarity[~negative] = -np.inf
    hardest = np.argsort(-similarity, axis=1, kind="stable")[:, : mining.negatives]
    tuples = np.column_stack([queries, nearest, candidates[hardest]])
    positive_similarity = (query_descriptors * look_up(nearest)).sum(1)
    hard = _distance(positive_similarity) + MARGIN > _distance(similarity.max(1))
    complete = negative.sum(1) >= mining.negatives
    chosen = complete & hard if (complete & hard).any() else complete
    return np.asarray(tuples[chosen])


def _distance(similarity: np.ndarray) -> np.ndarray:
    """The Euclidean distance of unit vectors with the given inner product."""
    return np.asarray(np.sqrt(np.maximum(2 - 2 * similarity, 0)))
