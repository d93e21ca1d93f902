"""Processes that work together, by Lightning Fabric: torchrun starts them, and a command alone is one process."""

from __future__ import annotations

import datetime
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from vpr.base.errors import VprError
from vpr.base.files import writing_alone

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

T = TypeVar("T")
log = logging.getLogger("vpr")
LONGEST_WAIT = datetime.timedelta(hours=24)  # of processes for the one that calibrates and writes
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def join(device: torch.device, precision: Precision = "32-true") -> Fabric:
    """The processes that torchrun started with this one, or this one alone; on one kind of device.

    All but the first are silent from here on. Raises VprError for a precision that the device lacks, and
    for an environment that is not torchrun's.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    if precision == "16-mixed" and device.type == "cpu":
        raise VprError("--precision 16-mixed needs a GPU; pass --precision bf16-mixed")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Fabric(accelerator=device.type, devices=1, precision=precision)
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise VprError(f"WORLD_SIZE is {count}, but {name} is not set; start several processes with torchrun")
    nodes = count // int(os.environ.get("LOCAL_WORLD_SIZE", str(count)))
    warnings.filterwarnings("ignore", "torch.distributed.nn.functional.all_gather is deprecated")  # Fabric's own call
    strategy = DDPStrategy(find_unused_parameters=True, timeout=LONGEST_WAIT)
    fabric = Fabric(
        accelerator=device.type, strategy=strategy, devices=count // nodes, num_nodes=nodes, precision=precision
    )
    fabric.launch()
    log.info("%d processes work together", count)
    if not fabric.is_global_zero:
        log.setLevel(logging.ERROR)
    return fabric


def several_machines() -> bool:
    """Whether torchrun started processes on several machines, whose memory maps of one file may differ."""
    count = os.environ.get("WORLD_SIZE", "1")
    return os.environ.get("LOCAL_WORLD_SIZE", count) != count


def of_one_machine() -> None:
    """Raise VprError where there are several."""
    if several_machines():
        raise VprError(
            "processes of several machines cannot fill one cache; give each --cities and a --cache of its own"
        )


@contextmanager
def writing_first(fabric: Fabric | Alone, out: Path, wait: bool = False) -> Iterator[None]:
    """Inside, the first process alone writes to ``out``; wait and errors as `vpr.base.files.writing_alone`."""
    with writing_alone(out, wait=wait) if fabric.is_global_zero else nullcontext():
        yield


class Alone:
    """This process by itself, with the part of Fabric's interface that shared work needs."""

    is_global_zero, global_rank, world_size = True, 0, 1

    def broadcast(self, value: T) -> T:
        """What the first process has."""
        return value

    def barrier(self) -> None:
        """Wait for the others, of which there are none."""


ALONE = Alone()
