"""Processes that train one model together, each on its part of every batch, by Lightning Fabric.

`torchrun --nproc-per-node N -m vpr.distill` starts them; a command that is started alone is one process. What the
processes compute together is what one process computes of the whole batch: descriptors are gathered, with their
gradients, before the losses see them.
"""

import datetime
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from distill.settings import Precision
from vpr.base.errors import VprError
from vpr.base.files import writing_alone

log = logging.getLogger("vpr")
LONGEST_WAIT = datetime.timedelta(hours=24)  # of processes for the one that calibrates and writes


def join(device: torch.device, precision: Precision = "32-true") -> Fabric:
    """The processes that torchrun started with this one, or this one alone; on one kind of device.

    All but the first are silent from here on. Raises VprError for a precision that the device lacks.
    """
    if precision == "16-mixed" and device.type == "cpu":
        raise VprError("--precision 16-mixed needs a GPU; pass --precision bf16-mixed")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Fabric(accelerator=device.type, devices=1, precision=precision)
    nodes = count // int(os.environ.get("LOCAL_WORLD_SIZE", str(count)))
    warnings.filterwarnings("ignore", "torch.distributed.nn.functional.all_gather is deprecated")  # Fabric's own call
    strategy = DDPStrategy(find_unused_parameters=True, timeout=LONGEST_WAIT)
    fabric = Fabric(
        accelerator=device.type, strategy=strategy, devices=count // nodes, num_nodes=nodes, precision=precision
    )
    fabric.launch()
    log.info("%d processes train together", count)
    if not fabric.is_global_zero:
        log.setLevel(logging.ERROR)
    return fabric


@contextmanager
def writing_first(fabric: Fabric, out: Path) -> Iterator[None]:
    """Inside, the first process alone writes to a run folder; errors as `vpr.base.files.writing_alone`."""
    with writing_alone(out, wait=False) if fabric.is_global_zero else nullcontext():
        yield


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
