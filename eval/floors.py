"""What no model is needed for: the figures that a place-recognition model has to beat."""

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.msls import MSLS
from eval.metrics import KS, evaluate
from eval.ranking import Scope, frame_paths, shortlist
from vpr.images import read_image

PIXELS = 7


def thumbnails(dataset: MSLS, scope: Scope) -> dict[str, float]:
    """Metrics of thumbnails of 7x7 pixels, mean removed, as global descriptors; the centre frame of sequences."""
    centres = [paths[:, paths.shape[1] // 2] for paths in frame_paths(dataset)]
    queries, database = (_describe(dataset, paths) for paths in centres)
    return evaluate(shortlist(dataset, queries, database, scope, max(KS))[1], dataset.positives)


def _describe(dataset: MSLS, paths: np.ndarray) -> np.ndarray:
    """Unit thumbnails (N, 3 * 49) float32."""
    rows = np.empty((len(paths), 3 * PIXELS**2), np.float32)
    for row, path in enumerate(tqdm(paths, "thumbnails", unit="image", dynamic_ncols=True, leave=False)):
        image = Image.fromarray(read_image(dataset.root / path, (8 * PIXELS, 8 * PIXELS)))
        rows[row] = np.asarray(image.resize((PIXELS, PIXELS), Image.Resampling.BOX), np.float32).ravel()
    rows -= rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def chance(dataset: MSLS, scope: Scope) -> dict[str, float]:
    """Expected Recall@k of a random order: the mean over scored queries of 1 - C(N - p, k) / C(N, k), for p positives
    among the N database entries that are searched."""
    sizes = np.diff(dataset.database_offsets)
    if scope == "merged":
        sizes = np.full_like(sizes, sizes.sum())
    searched = np.repeat(sizes, np.diff(dataset.query_offsets))[dataset.scored]
    positives = dataset.positives.counts[dataset.scored]
    return {f"recall@{k}": float(np.mean([_chance(n, p, k) for n, p in zip(searched, positives)])) for k in KS}


def _chance(entries: int, positives: int, k: int) -> float:
    drawn = np.arange(min(k, entries))
    return 1 - float(np.prod(np.clip(entries - positives - drawn, 0, None) / (entries - drawn)))
