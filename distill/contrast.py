"""The loss on global descriptors: a loss, a miner and a memory of pytorch-metric-learning, fed with pairs of places.

The library compares labels; places are no labels, since photos at a middle distance are neither positives nor
negatives. So it is given the numbers of the photos as labels, and `pairs_by` tells it which pairs are which.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_metric_learning import distances, losses, miners
from pytorch_metric_learning.utils import loss_and_miner_utils
from scipy.sparse.csgraph import connected_components
from torch import nn

from vpr.base.errors import VprError
from vpr.distill.settings import ObjectiveConfig

Pairs = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Known:
    """What the loss knows of a batch of B photos."""

    photos: torch.Tensor  # (B,) int64 numbers
    classes: torch.Tensor  # (B,) int64, for losses with a proxy a class
    pairs: Pairs  # of numbers (A,) and (N,): positive and negative pairs, two (A, N) bool

    def within(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Positive and negative pairs of the batch, two (B, B) bool."""
        return self.pairs(self.photos, self.photos)


def _margin(config: ObjectiveConfig, usual: float) -> float:
    return usual if config.margin is None else config.margin


LOSSES: dict[str, Callable[[ObjectiveConfig], nn.Module]] = {
    "infonce": lambda config: losses.NTXentLoss(temperature=config.temperature),
    "supcon": lambda config: losses.SupConLoss(temperature=config.temperature),
    "triplet": lambda config: losses.TripletMarginLoss(_margin(config, 0.1**0.5)),  # that of the MSLS baselines
    "margin": lambda config: losses.MarginLoss(_margin(config, 0.2), beta=config.beta),
    "multi-similarity": lambda config: losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5),
    "circle": lambda config: losses.CircleLoss(_margin(config, 0.4)),
    "contrastive": lambda config: losses.ContrastiveLoss(neg_margin=_margin(config, 1.0)),
    "fast-ap": lambda config: losses.FastAPLoss(),
}
WITHOUT_MEMORY = ("fast-ap", "proxy-anchor")  # the library's memory takes no such loss
MINERS: dict[str, Callable[[], Any]] = {
    "multi-similarity": lambda: miners.MultiSimilarityMiner(epsilon=0.1),
    "batch-hard": miners.BatchHardMiner,
    "batch-easy-hard": miners.BatchEasyHardMiner,
    "distance-weighted": miners.DistanceWeightedMiner,
    "triplet-margin": lambda: miners.TripletMarginMiner(margin=0.2, type_of_triplets="all"),
    "semi-hard": lambda: miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard"),
    "pair-margin": miners.PairMarginMiner,
    "angular": miners.AngularMiner,
    "hdc": miners.HDCMiner,
    "uniform-histogram": miners.UniformHistogramMiner,
}


def only_pairs(
    mined: tuple[torch.Tensor, ...], positive: torch.Tensor, negative: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Pairs (a, p, b, n) or triplets (a, p, n) without those that are no pairs; both masks (A, N) bool."""
    if len(mined) == 4:
        anchors, near, others, far = mined
        kept, apart = positive[anchors, near], negative[others, far]
        return anchors[kept], near[kept], others[apart], far[apart]
    anchors, near, far = mined
    kept = positive[anchors, near] & negative[anchors, far]
    return anchors[kept], near[kept], far[kept]


class OnlyPairs(nn.Module):
    """A miner whose choice is cut down to pairs of places: some miners take what is not the one for the other."""

    def __init__(self, miner: Any) -> None:
        super().__init__()
        self.miner = miner

    def forward(
        self, descriptors: torch.Tensor, labels: torch.Tensor, *others: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """As the miner's; others: the descriptors and labels that it compares with, where they are not the same."""
        mined = self.miner(descriptors, labels, *others)
        masks = loss_and_miner_utils.get_matches_and_diffs(labels, others[1] if others else None)
        return only_pairs(mined, *(mask.bool() for mask in masks))


class GivenCosines(distances.BaseDistance):
    """A distance of the library, of unit vectors, that may be told the cosines (B, B) of a batch with itself."""

    def __init__(self, usual: Any) -> None:
        """usual: the library's cosine or Euclidean distance, which it stands for."""
        super().__init__(usual.normalize_embeddings, usual.p, usual.power, usual.is_inverted)
        self.usual = usual
        self.cosines: torch.Tensor | None = None

    def compute_mat(self, query_emb: torch.Tensor, ref_emb: torch.Tensor) -> torch.Tensor:
        if self.cosines is None:
            return self.usual.compute_mat(query_emb, ref_emb)
        if self.is_inverted:
            return self.cosines.clone()  # some miners write into what they get
        # of an image with itself the root has no gradient, and is not asked for one
        return (2 - 2 * self.cosines).clamp(min=1e-8).sqrt()

    def pairwise_distance(self, query_emb: torch.Tensor, ref_emb: torch.Tensor) -> torch.Tensor:
        return self.usual.pairwise_distance(query_emb, ref_emb)


class Contrast(nn.Module):
    """The configured loss; its parameters, such as proxies, are trained with the model's."""

    def __init__(self, config: ObjectiveConfig, dim: int, classes: int) -> None:
        """dim: numbers of a descriptor. classes: how many there are.

        Raises VprError for parts that the library cannot combine.
        """
        super().__init__()
        check(config)
        self.config = config
        if config.loss == "proxy-anchor":
            self.loss: Any = losses.ProxyAnchorLoss(classes, dim, _margin(config, 0.1), alpha=32)
        else:
            self.loss = LOSSES[config.loss](config)
        self.miner: Any = None if config.miner == "none" else OnlyPairs(MINERS[config.miner]())
        comparing: list[Any] = [module for module in self.modules() if hasattr(module, "distance")]
        for module in comparing:
            module.distance = GivenCosines(module.distance)
        self.memory: Any = None
        if config.memory:
            self.memory = losses.CrossBatchMemory(self.loss, dim, config.memory, self.miner)

    def forward(self, descriptors: torch.Tensor, known: Known, cosines: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of descriptors (B, C), a scalar; zero where no pair is left.

        cosines (B, B): what loss and miner take in place of the descriptors' own.
        """
        with pairs_by(known.pairs), self._comparing_by(cosines):
            if self.memory is not None:
                return self.memory(descriptors, known.photos)
            if self.config.loss == "proxy-anchor":
                mined = None if self.miner is None else self._mined(descriptors, known)
                return self.loss(descriptors, known.classes, mined)
            return self.loss(descriptors, known.photos, self._mined(descriptors, known))

    def _mined(self, descriptors: torch.Tensor, known: Known) -> tuple[torch.Tensor, ...]:
        if self.miner is None:
            return loss_and_miner_utils.get_all_pairs_indices(known.photos)
        if self.config.miner == "distance-weighted":  # it compares labels itself: it gets the places of the batch
            _, places = connected_components(known.within()[0].cpu().numpy(), directed=False)
            labels = torch.as_tensor(places, device=descriptors.device).long()
            return only_pairs(self.miner.miner(descriptors, labels), *known.within())
        return self.miner(descriptors, known.photos)

    @contextmanager
    def _comparing_by(self, cosines: torch.Tensor | None) -> Iterator[None]:
        """Inside, the loss and the miner compare by the cosines given; None for those of the descriptors."""
        given = [module for module in self.modules() if isinstance(module, GivenCosines)]
        for distance in given:
            distance.cosines = cosines
        try:
            yield
        finally:
            for distance in given:
                distance.cosines = None

    def get_extra_state(self) -> dict[str, Any]:
        """Where the memory stands, which the library keeps outside its buffers."""
        memory = self.memory
        return {} if memory is None else {"filled": memory.has_been_filled, "place": memory.queue_idx}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_extra_state` gave."""
        if self.memory is not None:
            self.memory.has_been_filled, self.memory.queue_idx = bool(state["filled"]), int(state["place"])


def check(config: ObjectiveConfig) -> None:
    """Raise VprError for parts that do not go together."""
    if config.memory and config.loss in WITHOUT_MEMORY:
        raise VprError(f"--memory does not go with --loss {config.loss}; leave it out, or pass --loss infonce")
    if config.memory and config.miner == "distance-weighted":
        raise VprError("--memory does not go with --miner distance-weighted; pass --miner multi-similarity")


def check_structure(config: ObjectiveConfig) -> None:
    """Raise VprError for parts that do not compare by the cosines they are given."""
    if config.memory:
        raise VprError("--structural-in metric does not go with --memory, which keeps no patches; leave --memory out")
    if config.loss == "proxy-anchor" or config.miner == "angular":
        part = "--loss proxy-anchor" if config.loss == "proxy-anchor" else "--miner angular"
        raise VprError(f"--structural-in metric does not go with {part}; pass --loss margin --miner distance-weighted")


@contextmanager
def pairs_by(pairs: Pairs) -> Iterator[None]:
    """Inside, the library takes pairs as ``pairs`` has them wherever it would compare labels."""
    usual = loss_and_miner_utils.get_matches_and_diffs

    def matches_and_diffs(
        labels: torch.Tensor, others: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        positive, negative = pairs(labels, labels if others is None else others)
        return positive.byte(), negative.byte()

    loss_and_miner_utils.get_matches_and_diffs = matches_and_diffs
    try:
        yield
    finally:
        loss_and_miner_utils.get_matches_and_diffs = usual
