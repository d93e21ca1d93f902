"""Hard places and hard tuples, mined from the model's own descriptors."""

from collections.abc import Callable

import numpy as np

from vpr.distill.places import Places
from vpr.retrieval.search import search

POOL = 20_000  # photos described for one mining of places
NEAREST = 150  # neighbours kept of each
MARGIN = 0.1**0.5  # between the distances of a query to its positive and to a negative, below which a tuple is hard

Describe = Callable[
    [np.ndarray], np.ndarray
]  # numbers of photos (n,) to their descriptors (n, C), float32 unit vectors


def nearest_photos(describe: Describe, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each of at most `POOL` anchors followed by the other anchors of the pool nearest to it, (M, 1 + k).

    k is `NEAREST`, or one less than the pool when that is smaller.
    """
    pool = np.sort(rng.choice(anchors, min(POOL, len(anchors)), replace=False))
    descriptors = describe(pool)
    _, rows = search(descriptors, descriptors, NEAREST + 1)
    return pool[_own_first(rows)]


def _own_first(rows: np.ndarray) -> np.ndarray:
    """The rows with the photo itself in front; ties in similarity may have put it elsewhere or left it out."""
    own = np.arange(len(rows))[:, None]
    order = np.argsort(rows != own, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, 1)
    ordered[:, 0] = own[:, 0]
    return ordered


def hard_tuples(
    describe: Describe,
    places: Places,
    cached: tuple[int, int],
    negatives: int,
    rng: np.random.Generator,
    shares: np.ndarray | None = None,
) -> np.ndarray:
    """Tuples (M, 2 + negatives) of photos from one cache, as MSLS's loader mines them: a query, the photo of its place
    that is nearest by descriptor, and the nearest of the cached negatives, hardest first.

    cached: how many queries, and how many negatives, which are drawn from all photos. shares: the probability with
    which each of `Places.anchors` is drawn as a query. What lies within the guard's radius of a query is no negative.
    Queries with fewer negatives are left out; so are those whose hardest negative is farther than the positive by
    `MARGIN`, unless all are. There may be no tuple at all.

    Source: Warburg et al., "Mapillary Street-Level Sequences", CVPR 2020, section 5; their loader describes other
    photos than the queries' where an earlier query has no positive, which this one does not.
    """
    anchors, photos = places.anchors, places.photos
    queries = np.sort(rng.choice(anchors, min(cached[0], len(anchors)), replace=False, p=shares))
    others = np.sort(rng.choice(len(photos.paths), min(cached[1], len(photos.paths)), replace=False))
    partners = [places.partners(query) for query in queries]
    known = np.unique(np.concatenate([queries, others, *partners]))
    descriptors = describe(known)
    of_queries = descriptors[np.searchsorted(known, queries)]
    nearest = np.array(
        [
            group[np.argmax(descriptors[np.searchsorted(known, group)] @ query)]
            for query, group in zip(of_queries, partners)
        ]
    )
    similarity = of_queries @ descriptors[np.searchsorted(known, others)].T
    _, negative = places.guard.masks(photos, queries, others)
    similarity[~negative] = -np.inf
    hardest = np.argsort(-similarity, axis=1, kind="stable")[:, :negatives]
    tuples = np.column_stack([queries, nearest, others[hardest]])
    of_nearest = (of_queries * descriptors[np.searchsorted(known, nearest)]).sum(1)
    hard = _distance(of_nearest) + MARGIN > _distance(similarity.max(1))
    there = negative.sum(1) >= negatives
    return tuples[there & hard] if (there & hard).any() else tuples[there]


def _distance(similarity: np.ndarray) -> np.ndarray:
    """The distance of unit vectors by their inner product."""
    return np.sqrt(np.maximum(2 - 2 * similarity, 0))
