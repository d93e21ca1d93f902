"""The comparison of images of one cache."""

import numpy as np

from vpr.retrieval.rerank import CPU, CachedImages, compare_images


def compare(cache, queries, candidates, config, weight=1.0, device=CPU):
    """`compare_images` of queries (Q,) and their candidates (Q, K), both rows of the cache."""
    sides = CachedImages(cache, queries), CachedImages(cache, np.arange(len(cache)))
    return compare_images(*sides, candidates, config, weight=weight, device=device)
