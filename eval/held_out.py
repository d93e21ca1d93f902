"""What a training keeps apart, a city or some classes: its models are judged on it, and the weight is fixed on it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpr.datasets.msls import Protocol, load
from vpr.datasets.retrieval_set import Entries, RetrievalSet
from vpr.description.describe import global_descriptors
from vpr.description.images import ImageFiles
from vpr.description.into_cache import Filling, describe_into_cache
from vpr.description.spec import cache_spec
from vpr.eval.calibration import DEPTH, PLACES, Judging, by_weight, calibrate, some_queries
from vpr.eval.described import DescribedSet, describe
from vpr.eval.options import RankingConfig
from vpr.eval.ranking import find_shortlist, search_shortlist
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel
from vpr.retrieval.rerank import CPU
from vpr.retrieval.sequences import CacheRows, compare_sequences
from vpr.retrieval.settings import RerankConfig

CACHE = "validation.h5"  # descriptors of the model as it stands, in the run's cache folder


class HeldOut:
    """A set that is held out, or none: then nothing is calibrated, and nothing can be scored."""

    def __init__(
        self,
        name: str,
        data: RetrievalSet | None,
        out: Path,
        device: torch.device,
        judging: Judging = PLACES,
    ) -> None:
        """name: of the set, empty for none. out: the run folder, whose cache is used. judging: by what."""
        self.city, self.data, self.out, self.device, self.judging = name, data, out, device, judging

    @classmethod
    def of_city(cls, root: Path, city: str, out: Path, device: torch.device) -> "HeldOut":
        """A city of a tree, or none for an empty name. Raises DatasetError for a city that is not there."""
        data = load(root, Protocol(split="val", cities=(city,))).retrieval_set if city else None
        return cls(city, data, out, device)

    def calibrate(self, model: StructuralModel) -> dict[str, Any]:
        """The part of metrics.json that holds the calibration of a finished model."""
        if self.data is None:
            return {}
        (self.out / "cache" / CACHE).unlink(missing_ok=True)
        cache = self.out / "cache" / f"{self.city.replace(' ', '-')}-{cache_spec(model).fingerprint}.h5"
        described = describe(model, self.data, cache, self.device, RankingConfig(adapt=self.judging.adapt))
        return {"calibration": dataclasses.asdict(calibrate(described, self.city, self.device, self.judging))}

    def score(self, model: StructuralModel | NetVLAD) -> dict[str, float]:
        """Judge a model in training: ``score``, the mean of what is judged by, and its first metric, ``recall@1``.

        Of a student both are after re-ranking, with the best weight of S_struct; ``shortlist_recall@1`` is before.
        """
        first, goodness = self.judging.first, self.judging.goodness
        if self.data is None:
            raise ValueError("there is no held-out city")
        chosen = some_queries(self.data)
        answers = [self.data.answers[query] for query in chosen]
        if isinstance(model, NetVLAD):
            queries, database = (self._described(model, side) for side in (self.data.queries, self.data.database))
            metrics = self.judging.metrics(
                search_shortlist(self.data, queries, database, DEPTH).ranked[chosen], answers
            )
            return {"score": goodness(metrics), first: metrics[first]}
        files, path = self.data.image_files(), self.out / "cache" / CACHE
        filled = describe_into_cache(path, model, self.data.root, files, self.device, Filling(overwrite=True))
        described = DescribedSet.of(self.data, filled.cache)
        shortlist = find_shortlist(described, DEPTH, self.judging.deepest(self.data))
        ranked = shortlist.ranked[chosen]
        behind = None if shortlist.behind is None else shortlist.behind[chosen]
        rows = CacheRows(described.rows.query[chosen], described.rows.database)
        best: dict[str, float] = {}
        for kind in self.judging.kinds:
            compared = compare_sequences(filled.cache, rows, ranked, RerankConfig(marginals=kind), device=CPU)
            found = by_weight(ranked, compared, answers, self.judging, behind)
            best = max(best, *found.values(), key=lambda metrics: goodness(metrics) if metrics else -1)
        return {"score": goodness(best), first: best[first], f"shortlist_{first}": found[0.0][first]}

    def _described(self, model: NetVLAD, side: Entries) -> np.ndarray:
        """Global descriptors of single images (S, C)."""
        assert isinstance(self.data, RetrievalSet)
        images = ImageFiles.of(self.data.root, side.images.ravel(), model)
        return global_descriptors(model, images, self.device)
