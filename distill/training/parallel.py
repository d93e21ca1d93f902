"""Several processes that train one model together. Each computes a part of every batch.

Descriptors are gathered, with their gradients, before the losses. So the processes compute what one process would
compute from the whole batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Subset

from vpr.base.errors import VprError
from vpr.description.batches import BATCH
from vpr.description.describe import global_descriptors
from vpr.description.image_files import Images
from vpr.distill.sampling.augmentation import split_batch
from vpr.distill.sampling.batches import BatchSampler


class Shards:
    """A batch of B images, divided among the processes. It depends only on B and their number."""

    def __init__(self, fabric: Fabric, groups: list[np.ndarray]) -> None:
        """groups: positions in the batch, each (k,), that stay together; process r of N gets groups r, r + N, ...

        Raises VprError if there are fewer groups than processes.
        """
        self.fabric, count = fabric, fabric.world_size
        self.groups = [groups[rank::count] for rank in range(count)]
        if not all(self.groups):
            raise VprError(
                f"a batch has too few photos for {count} processes",
                thing="--places",
                remedy="start fewer processes, or pass more --places",
            )
        self.positions = [np.sort(np.concatenate(part)) for part in self.groups]
        self.longest = max(map(len, self.positions))

    @property
    def own(self) -> np.ndarray:
        """Positions in the batch of this process's images, (b,)."""
        return self.positions[self.fabric.global_rank]

    @property
    def own_groups(self) -> list[tuple[int, np.ndarray]]:
        """This process's groups: the number of each among all, and its positions among this process's images."""
        rank, count = self.fabric.global_rank, self.fabric.world_size
        return [
            (rank + count * number, np.searchsorted(self.own, group)) for number, group in enumerate(self.groups[rank])
        ]

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """Values of all images (B, ...), in the order of the batch, from each process's (b, ...); differentiable."""
        if len(self.positions) == 1:
            return own
        padding = own.new_zeros((self.longest - len(own), *own.shape[1:]))
        parts: Any = self.fabric.all_gather(torch.cat([own, padding]).contiguous(), sync_grads=True)
        gathered = torch.cat([part[: len(positions)] for part, positions in zip(parts, self.positions)])
        return gathered[torch.from_numpy(np.argsort(np.concatenate(self.positions))).to(own.device)]


@dataclass(frozen=True)
class ShardedBatch:
    """A whole batch and its division."""

    photos: np.ndarray  # (B,) photo numbers
    shards: Shards


class ShardSampler:
    """The batches of a sampler, reduced to this process's photos, for a DataLoader."""

    def __init__(self, sampler: BatchSampler, fabric: Fabric) -> None:
        self.sampler, self.fabric = sampler, fabric
        self.pending: deque[ShardedBatch] = deque()  # batches that the loader has taken, in order

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        for numbers in self.sampler:
            batch = ShardedBatch(np.array(numbers), Shards(self.fabric, split_batch(len(numbers))))
            self.pending.append(batch)
            yield batch.photos[batch.shards.own].tolist()


def describe_together(
    fabric: Fabric, model: nn.Module, images: Images, chosen: np.ndarray, workers: int = 0, title: str | None = None
) -> np.ndarray:
    """The global descriptors (N, C) float32 of the images with the numbers ``chosen`` (N,).

    With n processes, each describes every n-th batch, and all get the whole result. It equals that of one process.
    title: of the progress bar; None shows none.
    """
    if fabric.world_size > 1:
        for buffer in model.buffers():  # until here each process has its own running statistics
            buffer.copy_(fabric.broadcast(buffer))

    def describe(own: np.ndarray) -> np.ndarray:
        shown = title if fabric.is_global_zero else None
        return global_descriptors(model, Subset(images, own.tolist()), fabric.device, workers, shown)

    return share_rows(fabric, chosen, BATCH, describe)


def share_rows(
    fabric: Fabric, chosen: np.ndarray, block: int, describe: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """``describe`` of the numbers ``chosen`` (N,), which returns a row for each: (N, C) float32.

    With n processes, each computes every n-th block of numbers, and all get the whole result.
    """
    rank, count = fabric.global_rank, fabric.world_size
    if count == 1:
        return describe(chosen)
    blocks = [np.arange(start, min(start + block, len(chosen))) for start in range(0, len(chosen), block)]
    rows = [np.concatenate(blocks[number::count] or [blocks[-1]]) for number in range(count)]
    own = rows[rank]
    described = describe(chosen[own])
    padded = np.zeros((max(map(len, rows)), described.shape[1]), np.float32)
    padded[: len(own)] = described
    parts: Any = fabric.all_gather(torch.from_numpy(padded).to(fabric.device))
    descriptors = np.empty((len(chosen), described.shape[1]), np.float32)
    for part, numbers in zip(parts, rows):
        descriptors[numbers] = part[: len(numbers)].cpu().numpy()
    return descriptors
