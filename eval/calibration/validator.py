"""Validation of models in training, and calibration of finished ones, on held-out data: a city, or some classes."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpr.datasets.default_data import ensure_mini_msls, is_mini_msls
from vpr.datasets.msls import Protocol, load
from vpr.datasets.retrieval_set import Entries, RetrievalSet
from vpr.description.cache_filling import CacheFillOptions, fill_cache
from vpr.description.describe import global_descriptors
from vpr.description.image_files import ImageFiles
from vpr.description.model_spec import cache_spec
from vpr.eval.calibration.calibration import DEPTH, Sample, calibrate, sample_queries
from vpr.eval.calibration.criterion import PLACE_CRITERION, Criterion
from vpr.eval.descriptors import DescribedSet, describe
from vpr.eval.options import RankingOptions
from vpr.eval.ranking import search_shortlist
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel
from vpr.retrieval.settings import RerankConfig
from vpr.retrieval.vector_index import VectorIndex

MEASURED_QUERIES, MEASURED_DATABASE = 300, 1500  # maximum size of a set by which weights are measured
MINI_CITY = "amsterdam"  # the held-out city of mini-MSLS
CACHE = "validation.h5"  # descriptors of the model in training, in the cache folder of the run
MEASURED = "measured"  # folder there, of descriptors of weights between start and end


class Validator:
    """A held-out set, and the criterion that scores models on it. Without a set there is no validation."""

    def __init__(
        self,
        held_out: str,
        data: RetrievalSet | None,
        out: Path,
        device: torch.device,
        criterion: Criterion = PLACE_CRITERION,
    ) -> None:
        """held_out: the name of the set, empty for none. out: the run folder, whose cache folder is used."""
        self.held_out, self.data, self.out, self.device, self.criterion = held_out, data, out, device, criterion

    @classmethod
    def load_city(cls, root: Path, city: str, out: Path, device: torch.device) -> Validator:
        """A validator with a city, or without a set if the name is empty. Raises DatasetError for a missing city."""
        data = load(root, Protocol(split="val", cities=(city,))).retrieval_set if city else None
        return cls(city, data, out, device)

    def calibrate(self, model: StructuralModel) -> dict[str, Any]:
        """The entry ``calibration`` of metrics.json for a finished model; empty without a held-out set."""
        if self.data is None:
            return {}
        (self.out / "cache" / CACHE).unlink(missing_ok=True)
        cache = self.out / "cache" / f"{self.held_out.replace(' ', '-')}-{cache_spec(model).fingerprint}.h5"
        described = describe(model, self.data, cache, self.device, RankingOptions(adapt=self.criterion.adapt))
        return {"calibration": calibrate(described, self.held_out, self.criterion).record()}

    def measure(self, model: StructuralModel) -> dict[str, np.ndarray]:
        """Recall@1 of each query (S,) after re-ranking with the criterion's prior setting, by the name of the set.

        The sets are the held-out city, and if the model is not trained on mini-MSLS the held-out city of mini-MSLS, as
        data unlike the training set. Raises ValueError without a held-out city or a prior.
        """
        prior, folder = self.criterion.prior, self.out / "cache" / MEASURED
        if prior is None or not self._measured:
            raise ValueError("there is no held-out city, or no prior setting")
        results = {}
        for name, data in self._measured.items():
            shutil.rmtree(folder, ignore_errors=True)
            options = RankingOptions(adapt=self.criterion.adapt)
            sample = Sample.draw(describe(model, data, folder / CACHE, self.device, options), self.criterion)
            compared = sample.compare(RerankConfig(marginals=prior.marginals, mass=prior.mass))
            scores = self.criterion.per_query(sample.order(compared, prior.weight), sample.positives)
            results[name] = scores[self.criterion.reported]
        shutil.rmtree(folder, ignore_errors=True)
        return results

    @cached_property
    def _measured(self) -> dict[str, RetrievalSet]:
        """The sets that models are measured on, thinned, by name; empty without a held-out set."""
        if self.data is None:
            return {}
        sets = {self.held_out: self.data}
        if not is_mini_msls(self.data.root):
            root = ensure_mini_msls(cities=[MINI_CITY])
            city = load(root, Protocol(split="val", cities=(MINI_CITY,))).retrieval_set
            sets[f"{MINI_CITY} of mini-MSLS"] = city
        thinned = {name: (data.thin(MEASURED_QUERIES, MEASURED_DATABASE), data) for name, data in sets.items()}
        # the few queries of a large database may lose all their positives
        return {name: some if len(some.scored) else data for name, (some, data) in thinned.items()}

    def score(self, model: StructuralModel | NetVLAD) -> dict[str, float]:
        """The metrics of a model in training: ``score``, the value of the criterion, and its reported metric.

        A student is scored after re-ranking, with the best weight of S_struct and the best marginals. Its metrics also
        have the reported metric before re-ranking, ``shortlist_NAME``. Raises ValueError without a held-out set.
        """
        if self.data is None:
            raise ValueError("there is no held-out city")
        if isinstance(model, NetVLAD):
            return self._score_teacher(model, self.data)
        reported, value = self.criterion.reported, self.criterion.value
        files, path = self.data.image_files(), self.out / "cache" / CACHE
        filled = fill_cache(path, model, self.data.root, files, self.device, CacheFillOptions(overwrite=True))
        sample = Sample.draw(DescribedSet.from_cache(self.data, filled.cache), self.criterion)
        best: dict[str, float] = {}
        for marginals in self.criterion.marginals:
            swept = sample.sweep_weights(sample.compare(RerankConfig(marginals=marginals)))
            metrics = {weight: scores.metrics for weight, scores in swept.items()}
            best = max(best, *metrics.values(), key=lambda candidate: value(candidate) if candidate else -1)
        return {"score": value(best), reported: best[reported], f"shortlist_{reported}": metrics[0.0][reported]}

    def _score_teacher(self, model: NetVLAD, data: RetrievalSet) -> dict[str, float]:
        """The metrics of a teacher. It has no patches, so there is no re-ranking."""
        chosen = sample_queries(data)
        queries, database = (self._descriptors(model, data, side) for side in (data.queries, data.database))
        ranked = search_shortlist(data, queries, VectorIndex(database), DEPTH).ranked[chosen]
        metrics = self.criterion.metrics(ranked, [data.answers[query] for query in chosen])
        return {"score": self.criterion.value(metrics), self.criterion.reported: metrics[self.criterion.reported]}

    def _descriptors(self, model: NetVLAD, data: RetrievalSet, side: Entries) -> np.ndarray:
        """Global descriptors of single images (S, C)."""
        return global_descriptors(model, ImageFiles.for_model(data.root, side.images.ravel(), model), self.device)
