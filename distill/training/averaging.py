"""The line between the start and the end weights of a training, and the choice of a point on it.

A training on photos of one kind forgets what the trunk knew of others. The mean of both weights is often better than
either (WiSE-FT: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from vpr.base.noise import paired_error

log = logging.getLogger("vpr")

SHARES = (0.0, 1.0, 0.25, 0.5, 0.75)  # of the way from start to end, in the order in which they are measured
RE_RANKED = "R@1 re-ranked"  # what the commands measure, but for a teacher
NOISE_ERRORS = 2.0  # standard errors that a gain must exceed

Weights = Mapping[str, torch.Tensor]  # a state_dict
M = TypeVar("M", bound=nn.Module)
Measures = dict[str, np.ndarray]  # Recall@1 of each query (S,), by the name of the held-out set; of classes, P@1


def copy_weights(model: nn.Module) -> Weights:
    """A copy of the weights of a model."""
    return copy.deepcopy(model.state_dict())


def average_weights(start: Weights, end: Weights, share: float) -> Weights:
    """The weights at a share of the way from start to end; those that are not floating-point numbers are the end's."""
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() and 0 < share < 1 else value
        for name, value in (start if share == 0 else end).items()
    }


@dataclass(frozen=True, eq=False)
class KeptShare:
    """The share of the way from start to end whose weights are kept, and the measurements by which it was chosen."""

    share: float
    points: dict[float, Measures]  # by share; empty if the share was given

    def record(self) -> dict[str, Any]:
        """The entry ``average_with_start`` of metrics.json."""
        if not self.points:
            return {"kept_share": self.share}
        measured = {
            share: {name: float(values.mean()) for name, values in self.points[share].items()}
            for share in sorted(self.points)
        }
        recall = {f"{share:g}": values for share, values in measured.items()}
        return {"kept_share": self.share, "start": measured[0.0], "end": measured[1.0], "recall@1": recall}


def choose_share(
    measure: Callable[[float], Measures], measured: str = RE_RANKED, subject: str = "the training"
) -> KeptShare:
    """Choose among `SHARES` by the mean over the sets; of equal ones the nearest to the start.

    If it leads the start by no more than `NOISE_ERRORS`, see `paired_error`, the start is kept. measure: Recall@1 after
    re-ranking with the weights at a share. measured, subject: what that is, and what may have gained, for the log.
    """
    points: dict[float, Measures] = {}
    for share in SHARES:
        points[share] = measure(share)
        log.info("%s: %s %s", _title(share), measured, _percent(points[share]))
    best = max(points, key=lambda share: (_mean(points[share]), -share))
    differences = [values - points[0.0][name] for name, values in points[best].items()]
    gain = _mean(points[best]) - _mean(points[0.0])
    noise = NOISE_ERRORS * math.sqrt(sum(paired_error(own) ** 2 for own in differences)) / len(differences)
    lead = f"{100 * gain:.1f} +- {100 * noise:.1f} points of R@1"
    if gain <= noise + 1e-9:
        log.warning("%s gained nothing beyond noise on held-out data (%s), so the start is kept", subject, lead)
        return KeptShare(0.0, points)
    log.info("kept: the weights at %g of the way from start to end, %s better than the start", best, lead)
    return KeptShare(best, points)


def keep_share(
    model: M,
    start: Weights,
    given: float | None,
    measure: Callable[[M], Measures],
    measured: str = RE_RANKED,
    subject: str = "the training",
) -> KeptShare:
    """Give a trained model the weights at a share of the way from the start to its own.

    given: the share; None chooses it by `choose_share`, with ``measured`` and ``subject``. An interrupted choice starts
    again from the last checkpoint.
    """
    end = copy_weights(model)

    def measure_at(share: float) -> Measures:
        model.load_state_dict(average_weights(start, end, share))
        return measure(model)

    kept = choose_share(measure_at, measured, subject) if given is None else KeptShare(given, {})
    model.load_state_dict(average_weights(start, end, kept.share))
    return kept


def _mean(measures: Measures) -> float:
    """The mean over the sets."""
    return float(np.mean([values.mean() for values in measures.values()]))


def _title(share: float) -> str:
    return {0.0: "start, before the first step", 1.0: "end of the training"}.get(share, f"{share:g} of the way")


def _percent(measures: Measures) -> str:
    return ", ".join(f"{100 * values.mean():.1f} % on {name}" for name, values in measures.items())
