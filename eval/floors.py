"""What no model is needed for: the figures that a place-recognition model has to beat."""

import numpy as np
from PIL import Image

from datasets.retrieval_set import RetrievalSet
from eval.metrics import KS, evaluate
from eval.ranking import search_shortlist
from vpr.base.progress import progress
from vpr.description.images import read_image

PIXELS = 7


def thumbnails(data: RetrievalSet) -> dict[str, float]:
    """Metrics of thumbnails of 7x7 pixels, mean removed, as global descriptors; the centre frame of sequences."""
    sides = [side.images[:, side.images.shape[1] // 2] for side in (data.queries, data.database)]
    queries, database = (thumbnail_descriptors(data, paths) for paths in sides)
    return evaluate(search_shortlist(data, queries, database, max(KS)).ranked, data.answers)


def thumbnail_descriptors(data: RetrievalSet, paths: np.ndarray) -> np.ndarray:
    """Unit thumbnails (N, 3 * 49) float32."""
    rows = np.empty((len(paths), 3 * PIXELS**2), np.float32)
    for row, path in enumerate(progress(paths, title="thumbnails", unit="image")):
        image = Image.fromarray(read_image(data.root / path, (8 * PIXELS, 8 * PIXELS)))
        rows[row] = np.asarray(image.resize((PIXELS, PIXELS), Image.Resampling.BOX), np.float32).ravel()
    rows -= rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def chance(data: RetrievalSet) -> dict[str, float]:
    """Expected Recall@k of a random order: the mean over scored queries of 1 - C(N - p, k) / C(N, k), for p positives
    among the N database entries that are searched."""
    searched = np.concatenate([np.full(q.stop - q.start, d.stop - d.start) for q, d in data.spans()])[data.scored]
    positives = data.answers.counts[data.scored]
    return {f"recall@{k}": float(np.mean([_chance(n, p, k) for n, p in zip(searched, positives)])) for k in KS}


def _chance(entries: int, positives: int, k: int) -> float:
    drawn = np.arange(min(k, entries))
    return 1 - float(np.prod(np.clip(entries - positives - drawn, 0, None) / (entries - drawn)))
