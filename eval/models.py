"""A run's models and the caches of what they say of a dataset."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets.msls import MSLS
from eval.ranking import frame_paths
from vpr.cache import DescriptorCache, PatchType
from vpr.extraction import fill_cache
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel
from vpr.runs import cache_spec, read_metrics

DEFAULT_WEIGHT = 5.0  # of S_struct, for runs that held no city out


@dataclass(frozen=True)
class Describer:
    """Fills and opens descriptor caches of a dataset."""

    folder: Path  # where caches lie that were not named
    device: torch.device
    workers: int = 0

    def describe(
        self, model: StructuralModel | NetVLAD, dataset: MSLS, cache: str = "", dtype: PatchType = "float16"
    ) -> DescriptorCache:
        """The cache of all frames of the dataset, completed where it lacks some.

        The default file's name carries the tree and the model, so that it never belongs to another.
        """
        keys = np.concatenate([paths.ravel() for paths in frame_paths(dataset)])
        tree = hashlib.sha256(str(dataset.root.resolve()).encode()).hexdigest()[:8]
        kind = "" if dtype == "float16" else f"-{dtype}"
        name = f"{dataset.root.resolve().name}-{tree}-{cache_spec(model).fingerprint}{kind}.h5"
        path = Path(cache) if cache else self.folder / name
        return fill_cache(path, model, dataset.root, keys, self.device, self.workers, dtype=dtype)


def structural_weight(run: Path, asked: float) -> float:
    """The weight of S_struct: the one asked for, or, for -1, the one that the run's calibration fixed."""
    if asked >= 0:
        return asked
    return read_metrics(run).get("calibration", {}).get("weight", DEFAULT_WEIGHT)
