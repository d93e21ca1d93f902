"""The weight of S_struct in the final score, fixed on a training-side city that is evaluated nowhere else."""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets.msls import Protocol, load
from eval.metrics import evaluate
from eval.ranking import Rows, compare_shortlist, frame_paths, sequence_descriptors, shortlist
from vpr.extraction import fill_cache
from vpr.models.structural import StructuralModel
from vpr.rerank import RerankConfig, reorder
from vpr.runs import cache_spec

log = logging.getLogger("vpr")

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
QUERIES = 500
DEPTH = 100


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found."""

    city: str
    weight: float  # of S_struct, S_global having weight 1
    queries: int
    recall: dict[str, dict[str, float]]  # metrics by weight


def calibrate(model: StructuralModel, root: Path, city: str, cache: Path, device: torch.device) -> Calibration:
    """Re-rank queries of the held-out city under each of `WEIGHTS` and take the best mean of Recall@1, 5 and 10.

    At most `QUERIES` queries, evenly chosen, with shortlists of `DEPTH`; of equal weights the smaller one is taken.
    """
    dataset = load(root, Protocol(split="val", cities=(city,)))
    descriptors = fill_cache(cache, model, root, np.concatenate([p.ravel() for p in frame_paths(dataset)]), device)
    rows = Rows.of(dataset, descriptors)
    scored = dataset.scored
    chosen = scored[np.unique(np.linspace(0, len(scored) - 1, min(QUERIES, len(scored))).astype(int))]
    sides = (sequence_descriptors(descriptors, side) for side in (rows.query, rows.database))
    _, ranked = shortlist(dataset, *sides, "city", DEPTH)
    ranked = ranked[chosen]
    found = compare_shortlist(descriptors, Rows(rows.query[chosen], rows.database), ranked, RerankConfig())
    positives = [dataset.positives[query] for query in chosen]
    recall = {weight: evaluate(reorder(ranked, found.combined(weight)), positives) for weight in WEIGHTS}
    best = max(WEIGHTS, key=lambda weight: (_goodness(recall[weight]), -weight))
    log.info(
        "weight of S_struct: %g, fixed on %s (%d queries, R@1 %.1f %% -> %.1f %%)",
        best, city, len(chosen), 100 * recall[0.0]["recall@1"], 100 * recall[best]["recall@1"],
    )  # fmt: skip
    return Calibration(city, best, len(chosen), {str(weight): values for weight, values in recall.items()})


def validation(root: Path, city: str, out: Path, device: torch.device) -> Callable[[StructuralModel], dict]:
    """What a trainer calls with its finished model: the part of metrics.json that holds the calibration.

    Without a city (``--held-out ""``) nothing is calibrated.
    """

    def validate(model: StructuralModel) -> dict:
        if not city:
            return {}
        cache = out / "cache" / f"{city}-{cache_spec(model).fingerprint}.h5"
        return {"calibration": dataclasses.asdict(calibrate(model, root, city, cache, device))}

    return validate


def _goodness(metrics: dict[str, float]) -> float:
    return sum(metrics[f"recall@{k}"] for k in (1, 5, 10))
