"""The loss on global descriptors: a loss of pytorch-metric-learning, on pairs of photos, with a miner and a memory.

The library gets pairs, by its argument ``indices_tuple``, and no labels. With labels each pair is positive or negative.
But a pair of photos may be neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytorch_metric_learning import distances, losses
from pytorch_metric_learning.utils.loss_and_miner_utils import convert_to_weights
from torch import nn

from vpr.base.errors import VprError
from vpr.distill.losses.fast_ap import fast_ap
from vpr.distill.losses.miners import MINERS, Comparison, PrecomputedCosines, PrecomputedDistances
from vpr.distill.losses.pairs import PhotoBatch
from vpr.distill.settings import ObjectiveConfig


def _margin(config: ObjectiveConfig, default: float) -> float:
    return default if config.margin is None else config.margin


# Each takes the settings, and optionally the library's ``distance``.
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "infonce": lambda config, **options: losses.NTXentLoss(config.temperature, **options),
    "supcon": lambda config, **options: losses.SupConLoss(config.temperature, **options),
    # the default margin is that of the MSLS baselines
    "triplet": lambda config, **options: losses.TripletMarginLoss(_margin(config, 0.1**0.5), **options),
    "margin": lambda config, **options: losses.MarginLoss(_margin(config, 0.2), beta=config.beta, **options),
    "multi-similarity": lambda config, **options: losses.MultiSimilarityLoss(
        alpha=config.ms_alpha, beta=50, base=config.ms_base, **options
    ),
    "circle": lambda config, **options: losses.CircleLoss(_margin(config, 0.4), **options),
    "contrastive": lambda config, **options: losses.ContrastiveLoss(neg_margin=_margin(config, 1.0), **options),
}
FAST_AP, PROXY_ANCHOR = "fast-ap", "proxy-anchor"  # the library computes these from labels, not from pairs


class MetricLoss(nn.Module):
    """The configured loss. Its parameters, such as proxies, are trained with those of the model."""

    def __init__(self, config: ObjectiveConfig, dim: int, classes: int) -> None:
        """dim: length of a descriptor. classes: number of classes.

        The memory must hold a whole batch, see `check_memory`. Raises VprError as `check_objective` does.
        """
        super().__init__()
        check_objective(config)
        self.config = config
        self.loss: Any = None
        if config.loss == PROXY_ANCHOR:
            self.loss = losses.ProxyAnchorLoss(classes, dim, _margin(config, 0.1), alpha=32)
        elif config.loss != FAST_AP:
            self.loss = LOSSES[config.loss](config)
        # Only the queue is used: the library's own forward pass compares labels.
        self.memory: Any = losses.CrossBatchMemory(self.loss, dim, config.memory) if config.memory else None

    def forward(
        self, descriptors: torch.Tensor, batch: PhotoBatch, cosines: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss of descriptors (B, C), a scalar; zero if there are no pairs.

        cosines (B, B): used by loss and miner in place of the cosines of the descriptors.
        """
        compared = self._compare(descriptors, batch, cosines)
        mined = None
        if self.config.miner != "none":
            with torch.no_grad():
                mined = MINERS[self.config.miner](compared)
        if self.config.loss == PROXY_ANCHOR:
            proxy_loss: torch.Tensor = self.loss(descriptors, batch.classes, mined)
            return proxy_loss
        indices = compared.pairs.indices() if mined is None else mined
        if self.config.loss == FAST_AP:
            weights = convert_to_weights(indices, batch.photos, dtype=descriptors.dtype)
            return fast_ap(compared.distance_matrix() ** 2, compared.pairs, weights)
        loss = self.loss if cosines is None else self._loss_with(cosines)
        pair_loss: torch.Tensor = loss(descriptors, None, indices, compared.references)
        return pair_loss

    def _compare(self, descriptors: torch.Tensor, batch: PhotoBatch, cosines: torch.Tensor | None) -> Comparison:
        """The batch with itself, or with the cross-batch memory, which then holds the batch too."""
        if self.memory is None:
            return Comparison(descriptors, batch.pairs(), batch.same_photo(batch.photos), None, cosines)
        memory, size = self.memory, self.config.memory
        memory.add_to_memory(descriptors, batch.photos, len(descriptors))
        filled = size if memory.has_been_filled else memory.queue_idx
        photos, references = memory.label_memory[:filled], memory.embedding_memory[:filled]
        pairs, same_photo = batch.find_pairs(batch.photos, photos), batch.same_photo(photos)
        return Comparison(descriptors, pairs, same_photo, references, cosines)

    def _loss_with(self, cosines: torch.Tensor) -> nn.Module:
        """The loss on a precomputed matrix (B, B) of cosines."""
        uses_cosines = isinstance(self.loss.distance, distances.CosineSimilarity)
        distance = PrecomputedCosines(cosines) if uses_cosines else PrecomputedDistances(cosines)
        return LOSSES[self.config.loss](self.config, distance=distance)

    def get_extra_state(self) -> dict[str, Any]:
        """The position in the memory, which the library keeps outside its buffers."""
        memory = self.memory
        return {} if memory is None else {"filled": memory.has_been_filled, "place": memory.queue_idx}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `get_extra_state`."""
        if self.memory is not None:
            self.memory.has_been_filled, self.memory.queue_idx = bool(state["filled"]), int(state["place"])


def check_objective(config: ObjectiveConfig) -> None:
    """Raise VprError for a loss, miner and memory that cannot be combined."""
    if config.memory and config.loss in (FAST_AP, PROXY_ANCHOR):
        problem, remedy = f"--loss {config.loss}", "leave it out, or pass --loss infonce"
    elif config.memory and config.miner == "distance-weighted":
        problem, remedy = "--miner distance-weighted", "pass --miner multi-similarity"
    else:
        return
    raise VprError(f"--memory cannot be combined with {problem}", thing="--memory", remedy=remedy)


def check_memory(config: ObjectiveConfig, batch: int) -> None:
    """Raise VprError if the cross-batch memory is smaller than a batch of this many photos."""
    if 0 < config.memory < batch:
        problem = f"--memory {config.memory} is smaller than a batch of {batch} photos"
        raise VprError(problem, thing="--memory", remedy="pass a larger --memory, or 0")


def check_metric_structure(config: ObjectiveConfig) -> None:
    """Raise VprError for a loss or memory that cannot take the cosines of ``--structural-in metric``."""
    if config.memory:
        problem, remedy = "--memory, which keeps no patches", "leave --memory out"
    elif config.loss == PROXY_ANCHOR:
        problem, remedy = f"--loss {PROXY_ANCHOR}", "pass --loss margin --miner distance-weighted"
    else:
        return
    raise VprError(f"--structural-in metric cannot be combined with {problem}", thing="--structural-in", remedy=remedy)
