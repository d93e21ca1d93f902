"""Validation of models in training, and calibration of finished ones, on held-out data: cities, sets, classes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
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
from vpr.description.model_spec import cache_spec, has_learnt_weights
from vpr.eval.calibration.calibration import DEPTH, Sample, Scores, calibrate, sample_queries, sweep_weights
from vpr.eval.calibration.criterion import PLACE_CRITERION, Criterion, Setting
from vpr.eval.descriptors import DescribedSet, describe
from vpr.eval.options import RankingOptions
from vpr.eval.ranking import search_shortlist
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel
from vpr.retrieval.settings import RerankConfig
from vpr.retrieval.vector_index import VectorIndex
from vpr.run import calibration_of, recorded_calibration
from vpr.transport.marginals import Calibrated

MEASURED_QUERIES, MEASURED_DATABASE = 300, 1500  # maximum size of a set by which weights are measured
MINI_CITY = "amsterdam"  # the held-out city of mini-MSLS
VALIDATION = "validation"  # files of descriptors of the model in training, in the cache folder of the run
MEASURED = "measured"  # folder there, of descriptors of weights between start and end


class Validator:
    """Held-out sets, and the criterion that scores models on them. Without a set there is no validation."""

    def __init__(
        self,
        sets: Mapping[str, RetrievalSet],
        out: Path,
        device: torch.device,
        criterion: Criterion = PLACE_CRITERION,
    ) -> None:
        """sets: by name. out: the run folder, whose cache folder is used."""
        self.sets, self.out, self.device, self.criterion = sets, out, device, criterion

    @classmethod
    def with_prior(
        cls, sets: Mapping[str, RetrievalSet], out: Path, device: torch.device, start: Path | None = None
    ) -> Validator:
        """A validator of places. The prior setting is that of the calibration of a run, if it has one; with complement
        marginals if those were learnt, since weights of patches belong to one run.

        start: the run that a training starts from. Raises VprError for a damaged calibration.
        """
        recorded = {} if start is None else recorded_calibration(start)
        if start is None or not recorded:
            return cls(sets, out, device)
        found = calibration_of(start, recorded)
        marginals: Calibrated = "complement" if found.marginals == "learnt" else found.marginals
        prior = Setting(marginals, found.mass, found.weight)
        return cls(sets, out, device, replace(PLACE_CRITERION, marginals=(marginals,), prior=prior))

    @property
    def held_out(self) -> str:
        """The names of the sets, joined by commas."""
        return ",".join(self.sets)

    @property
    def fingerprint(self) -> str:
        """A digest of the content of the sets; empty without a set."""
        digests = "".join(data.fingerprint for data in self.sets.values())
        return hashlib.sha256(digests.encode()).hexdigest()[:16] if digests else ""

    def calibrate(self, model: StructuralModel) -> dict[str, Any]:
        """The entry ``calibration`` of metrics.json for a finished model; empty without a held-out set."""
        if not self.sets:
            return {}
        described = []
        for name, data in self.sets.items():
            self._validation_cache(name).unlink(missing_ok=True)
            cache = self.out / "cache" / f"{_file_name(name)}-{cache_spec(model).fingerprint}.h5"
            described.append(describe(model, data, cache, self.device, RankingOptions(adapt=self.criterion.adapt)))
        counts = model.patch_weights is not None and float(model.patch_weights.span) > 0
        criterion = self.criterion.with_learnt_marginals() if counts else self.criterion
        record = calibrate(described, self.held_out, criterion).record()
        return {"calibration": {**record, "fingerprint": self.fingerprint}}

    def measure(self, model: StructuralModel | NetVLAD) -> dict[str, np.ndarray]:
        """Recall@1 of each query (S,) after re-ranking with the criterion's setting, by the name of the set.

        A teacher has no patches, so its answers are not re-ranked. Learnt weights of patches are used if there are any.

        The sets are the held-out data, and for places, if the model is not trained on mini-MSLS, the held-out city of
        mini-MSLS, as data unlike the training set. Raises ValueError without held-out data or a setting.
        """
        if isinstance(model, NetVLAD):
            answers = {name: self._rank_by_teacher(model, data) for name, data in self._measured.items()}
            return {name: self.criterion.per_query(*own)[self.criterion.reported] for name, own in answers.items()}
        setting, folder = self.criterion.measured_with or self.criterion.prior, self.out / "cache" / MEASURED
        if setting is None or not self._measured:
            raise ValueError("there are no held-out data, or no setting to measure with")
        results = {}
        for name, data in self._measured.items():
            shutil.rmtree(folder, ignore_errors=True)
            options = RankingOptions(adapt=self.criterion.adapt)
            sample = Sample.draw(
                describe(model, data, folder / f"{VALIDATION}.h5", self.device, options), self.criterion
            )
            marginals = "learnt" if has_learnt_weights(model) else setting.marginals
            compared = sample.compare(RerankConfig(marginals=marginals, mass=setting.mass))
            scores = self.criterion.per_query(sample.order(compared, setting.weight), sample.positives)
            results[name] = scores[self.criterion.reported]
        shutil.rmtree(folder, ignore_errors=True)
        return results

    @cached_property
    def _measured(self) -> dict[str, RetrievalSet]:
        """The sets that models are measured on, those of places thinned, by name; empty without a held-out set."""
        sets = dict(self.sets)
        if not sets or not self.criterion.of_scenes:
            return sets
        if not all(is_mini_msls(data.root) for data in self.sets.values()):
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
        if not self.sets:
            raise ValueError("there is no held-out city")
        reported, value = self.criterion.reported, self.criterion.value
        if isinstance(model, NetVLAD):
            metrics = Scores.pool([self._score_teacher(model, data) for data in self.sets.values()]).metrics
            return {"score": value(metrics), reported: metrics[reported]}
        samples = [self._sample(model, name, data) for name, data in self.sets.items()]
        best: dict[str, float] = {}
        for marginals in self.criterion.marginals:
            compared = [sample.compare(RerankConfig(marginals=marginals)) for sample in samples]
            by_weight = {weight: scores.metrics for weight, scores in sweep_weights(samples, compared).items()}
            best = max(best, *by_weight.values(), key=lambda candidate: value(candidate) if candidate else -1)
        return {"score": value(best), reported: best[reported], f"shortlist_{reported}": by_weight[0.0][reported]}

    def _sample(self, model: StructuralModel, name: str, data: RetrievalSet) -> Sample:
        """The queries of a set, described by a model in training."""
        options, path = CacheFillOptions(overwrite=True), self._validation_cache(name)
        filled = fill_cache(path, model, data.root, data.image_files(), self.device, options)
        return Sample.draw(DescribedSet.from_cache(data, filled.cache), self.criterion)

    def _validation_cache(self, name: str) -> Path:
        """The file of a set's descriptors of the model in training."""
        return self.out / "cache" / f"{VALIDATION}-{_file_name(name)}.h5"

    def _score_teacher(self, model: NetVLAD, data: RetrievalSet) -> Scores:
        """The scores of a teacher on a set. It has no patches, so there is no re-ranking."""
        answers = self._rank_by_teacher(model, data)
        return Scores(self.criterion.metrics(*answers), self.criterion.values(*answers))

    def _rank_by_teacher(self, model: NetVLAD, data: RetrievalSet) -> tuple[np.ndarray, list[np.ndarray]]:
        """The shortlists (S, K) of some queries, and their positives."""
        chosen = sample_queries(data)
        queries, database = (self._descriptors(model, data, side) for side in (data.queries, data.database))
        ranked = search_shortlist(data, queries, VectorIndex(database), DEPTH).ranked[chosen]
        return ranked, [data.answers[query] for query in chosen]

    def _descriptors(self, model: NetVLAD, data: RetrievalSet, side: Entries) -> np.ndarray:
        """Global descriptors of single images (S, C)."""
        return global_descriptors(model, ImageFiles.for_model(data.root, side.images.ravel(), model), self.device)


def _file_name(name: str) -> str:
    """The name of a set in file names."""
    return name.replace(" ", "-")
