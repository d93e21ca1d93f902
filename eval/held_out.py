"""The training-side city that is kept apart: a training's models are judged on it, and the weight is fixed on it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.msls import Protocol, load
from datasets.retrieval_set import Entries, RetrievalSet
from eval.calibration import DEPTH, by_weight, calibrate, goodness, some_queries
from eval.described import DescribedSet, describe
from eval.metrics import evaluate
from eval.options import RankingConfig
from eval.ranking import find_shortlist
from vpr.description.describe import global_descriptors
from vpr.description.images import ImageFiles
from vpr.description.into_cache import Filling, describe_into_cache
from vpr.description.spec import cache_spec
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel
from vpr.retrieval.rerank import CPU
from vpr.retrieval.search import search_groups
from vpr.retrieval.sequences import CacheRows, compare_sequences
from vpr.retrieval.settings import RerankConfig

CACHE = "validation.h5"  # descriptors of the model as it stands, in the run's cache folder


class HeldOut:
    """One held-out city, or none: then nothing is calibrated, and nothing can be scored."""

    def __init__(self, root: Path, city: str, out: Path, device: torch.device) -> None:
        """out: the run folder, whose cache is used. Raises DatasetError for a city that is not there."""
        self.city, self.out, self.device = city, out, device
        self.data = load(root, Protocol(split="val", cities=(city,))).retrieval_set if city else None

    def calibrate(self, model: StructuralModel) -> dict[str, Any]:
        """The part of metrics.json that holds the calibration of a finished model."""
        if self.data is None:
            return {}
        (self.out / "cache" / CACHE).unlink(missing_ok=True)
        cache = self.out / "cache" / f"{self.city}-{cache_spec(model).fingerprint}.h5"
        described = describe(model, self.data, cache, self.device, RankingConfig())
        return {"calibration": dataclasses.asdict(calibrate(described, self.city, self.device))}

    def score(self, model: StructuralModel | NetVLAD) -> dict[str, float]:
        """Judge a model in training: ``score``, the mean of Recall@1, 5 and 10, and ``recall@1``.

        Of a student both are after re-ranking, with the best weight of S_struct; ``shortlist_recall@1`` is before.
        """
        if self.data is None:
            raise ValueError("there is no held-out city")
        chosen = some_queries(self.data)
        answers = [self.data.answers[query] for query in chosen]
        if isinstance(model, NetVLAD):
            queries, database = (self._described(model, side) for side in (self.data.queries, self.data.database))
            metrics = evaluate(search_groups(queries, database, self.data.spans(), DEPTH)[1][chosen], answers)
            return {"score": goodness(metrics) / 3, "recall@1": metrics["recall@1"]}
        files, path = self.data.image_files(), self.out / "cache" / CACHE
        filled = describe_into_cache(path, model, self.data.root, files, self.device, Filling(overwrite=True))
        described = DescribedSet.of(self.data, filled.cache)
        ranked = find_shortlist(described, DEPTH).ranked[chosen]
        rows = CacheRows(described.rows.query[chosen], described.rows.database)
        found = by_weight(ranked, compare_sequences(filled.cache, rows, ranked, RerankConfig(), device=CPU), answers)
        best = max(found.values(), key=goodness)
        return {
            "score": goodness(best) / 3,
            "recall@1": best["recall@1"],
            "shortlist_recall@1": found[0.0]["recall@1"],
        }

    def _described(self, model: NetVLAD, side: Entries) -> np.ndarray:
        """Global descriptors of single images (S, C)."""
        assert isinstance(self.data, RetrievalSet)
        images = ImageFiles(self.data.root, side.images.ravel(), model.input_size, model.interpolation)
        return global_descriptors(model, images, self.device)
