"""Baselines without a model: chance, thumbnails and colour histograms."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from vpr.base.progress import progress
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.images import read_image
from vpr.eval.metrics import KS, Metrics, evaluate
from vpr.eval.ranking import search_shortlist
from vpr.retrieval.vector_index import VectorIndex

PIXELS = 7
LEVELS = 4  # of each colour in a histogram


def thumbnails(data: RetrievalSet, metrics: Metrics = evaluate, depth: int = max(KS)) -> dict[str, float]:
    """Metrics with thumbnails of 7x7 pixels, mean removed, as global descriptors; for sequences of the centre frame."""
    return metrics(_rank(data, thumbnail_descriptors, depth), data.answers)


def colour_histograms(data: RetrievalSet, metrics: Metrics = evaluate, depth: int = max(KS)) -> dict[str, float]:
    """Metrics with colour histograms, 4 levels each of red, green and blue, as global descriptors."""
    return metrics(_rank(data, histogram_descriptors, depth), data.answers)


def _rank(data: RetrievalSet, describe: Callable[[RetrievalSet, np.ndarray], np.ndarray], depth: int) -> np.ndarray:
    """Rankings (Q, K) by descriptors of the centre frames."""
    sides = [side.images[:, side.images.shape[1] // 2] for side in (data.queries, data.database)]
    queries = describe(data, sides[0])
    database = queries if np.array_equal(sides[0], sides[1]) else describe(data, sides[1])
    return search_shortlist(data, queries, VectorIndex(database), depth).ranked


def thumbnail_descriptors(data: RetrievalSet, paths: np.ndarray) -> np.ndarray:
    """Unit thumbnails (N, 3 * 49) float32."""
    rows = np.empty((len(paths), 3 * PIXELS**2), np.float32)
    for row, image in enumerate(_small_images(data, paths, "thumbnails")):
        rows[row] = np.asarray(image.resize((PIXELS, PIXELS), Image.Resampling.BOX), np.float32).ravel()
    return _normalise(rows - rows.mean(1, keepdims=True))


def histogram_descriptors(data: RetrievalSet, paths: np.ndarray) -> np.ndarray:
    """Unit square roots of colour histograms (N, 64) float32."""
    rows = np.empty((len(paths), LEVELS**3), np.float32)
    for row, image in enumerate(_small_images(data, paths, "colours")):
        levels = np.asarray(image, np.int64).reshape(-1, 3) * LEVELS // 256
        rows[row] = np.bincount(levels @ (LEVELS**2, LEVELS, 1), minlength=LEVELS**3)
    return _normalise(np.sqrt(rows))


def _small_images(data: RetrievalSet, paths: np.ndarray, title: str) -> Iterator[Image.Image]:
    for path in progress(paths, title=title, unit="image"):
        yield Image.fromarray(read_image(data.root / path, (8 * PIXELS, 8 * PIXELS)))


def _normalise(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def chance(data: RetrievalSet) -> dict[str, float]:
    """Expected Recall@k of a random order: the mean over scored queries of 1 - C(N - p, k) / C(N, k), for p positives
    among the N database entries that are searched."""
    searched = np.concatenate([np.full(q.stop - q.start, d.stop - d.start) for q, d in data.spans()])[data.scored]
    positives = data.answers.counts[data.scored]
    return {f"recall@{k}": float(np.mean([_chance(n, p, k) for n, p in zip(searched, positives)])) for k in KS}


def _chance(entries: int, positives: int, k: int) -> float:
    """The probability of a positive among k random entries."""
    drawn = np.arange(min(k, entries))
    return 1 - float(np.prod(np.clip(entries - positives - drawn, 0, None) / (entries - drawn)))
