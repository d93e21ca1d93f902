"""Processes that train one model together, each on its part of every batch.

What they compute together is what one process computes of the whole batch: descriptors are gathered, with their
gradients, before the losses see them.
"""

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Subset

from vpr.base.errors import VprError
from vpr.description.describe import BATCH, global_descriptors
from vpr.description.images import Images


class Shards:
    """A batch of B images in parts, one a process; an image's part and place follow from B alone."""

    def __init__(self, fabric: Fabric, groups: list[np.ndarray]) -> None:
        """groups: places in the batch, each (k,), that stay together; process r of N takes every N-th from the r-th.

        Raises VprError where there are fewer groups than processes.
        """
        self.fabric, count = fabric, fabric.world_size
        self.groups = [groups[rank::count] for rank in range(count)]
        if not all(self.groups):
            raise VprError(f"a batch has too few photos for {count} processes; start fewer, or give more --places")
        self.places = [np.sort(np.concatenate(part)) for part in self.groups]
        self.longest = max(map(len, self.places))

    @property
    def own_groups(self) -> list[tuple[int, np.ndarray]]:
        """The numbers of this process's groups among all, and where their images lie among its own."""
        rank, count = self.fabric.global_rank, self.fabric.world_size
        return [
            (rank + count * number, np.searchsorted(self.own, group)) for number, group in enumerate(self.groups[rank])
        ]

    @property
    def own(self) -> np.ndarray:
        """Places in the batch of this process's images, (b,)."""
        return self.places[self.fabric.global_rank]

    def whole(self, own: torch.Tensor) -> torch.Tensor:
        """What all processes have of their images (b, ...), in the order of the batch (B, ...); gradients flow back."""
        if len(self.places) == 1:
            return own
        padding = own.new_zeros((self.longest - len(own), *own.shape[1:]))
        parts: Any = self.fabric.all_gather(torch.cat([own, padding]).contiguous(), sync_grads=True)
        found = torch.cat([part[: len(places)] for part, places in zip(parts, self.places)])
        return found[torch.from_numpy(np.argsort(np.concatenate(self.places))).to(own.device)]


def describe_together(
    fabric: Fabric, model: nn.Module, images: Images, chosen: np.ndarray, workers: int = 0, title: str | None = None
) -> np.ndarray:
    """The global descriptors of the chosen images (N,), (N, C) float32: each process describes every so manieth batch,
    and all of them get all descriptors, which are those that one process computes."""
    rank, count = fabric.global_rank, fabric.world_size
    if count == 1:
        return global_descriptors(model, Subset(images, chosen.tolist()), fabric.device, workers, title)
    for buffer in model.buffers():  # running statistics are each process's own until then
        buffer.copy_(fabric.broadcast(buffer))
    batches = [np.arange(start, min(start + BATCH, len(chosen))) for start in range(0, len(chosen), BATCH)]
    places = [np.concatenate(batches[number::count] or [batches[-1]]) for number in range(count)]
    own = places[rank]
    described = global_descriptors(
        model, Subset(images, chosen[own].tolist()), fabric.device, workers, None if rank else title
    )
    padded = np.zeros((max(map(len, places)), described.shape[1]), np.float32)
    padded[: len(own)] = described
    parts: Any = fabric.all_gather(torch.from_numpy(padded).to(fabric.device))
    found = np.empty((len(chosen), described.shape[1]), np.float32)
    for part, rows in zip(parts, places):
        found[rows] = part[: len(rows)].cpu().numpy()
    return found
