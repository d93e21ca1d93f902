"""Several processes that share work, by Lightning Fabric. torchrun starts them; without it there is one process."""

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
from vpr.base.files import write_lock

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

T = TypeVar("T")
log = logging.getLogger("vpr")
LONGEST_WAIT = datetime.timedelta(hours=24)  # of the other processes, while the first one calibrates and writes
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def launch_fabric(device: torch.device, precision: Precision = "32-true") -> Fabric:
    """Set up Fabric for the processes that torchrun started, or for this single process.

    device: its kind is used by all processes. From here on only the first process logs more than errors. Raises
    VprError for a precision that the device does not support, and if WORLD_SIZE was not set by torchrun.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    if precision == "16-mixed" and device.type == "cpu":
        raise VprError("--precision 16-mixed needs a GPU", thing="--precision", remedy="pass --precision bf16-mixed")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Fabric(accelerator=device.type, devices=1, precision=precision)
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            remedy = "start several processes with torchrun"
            raise VprError(f"WORLD_SIZE is {count}, but {name} is not set", thing=name, remedy=remedy)
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


def spans_machines() -> bool:
    """Whether torchrun started processes on several machines, whose memory maps of one file may differ."""
    count = os.environ.get("WORLD_SIZE", "1")
    return os.environ.get("LOCAL_WORLD_SIZE", count) != count


def require_one_machine() -> None:
    """Raise VprError if torchrun started processes on several machines."""
    if spans_machines():
        raise VprError(
            "processes of several machines cannot fill one cache",
            thing="--cache",
            remedy="run one command per machine, each with its own --cities and --cache",
        )


@contextmanager
def first_process_lock(fabric: Fabric | SingleProcess, out: Path, wait: bool = False) -> Iterator[None]:
    """Let the first process hold a write lock on ``out``; wait and errors as `vpr.base.files.write_lock`."""
    with write_lock(out, wait=wait) if fabric.is_global_zero else nullcontext():
        yield


class SingleProcess:
    """One process, with the part of Fabric's interface that shared work needs."""

    is_global_zero, global_rank, world_size = True, 0, 1

    def broadcast(self, value: T) -> T:
        """The value of the first process."""
        return value

    def barrier(self) -> None:
        """Return at once: there are no other processes."""


SINGLE_PROCESS = SingleProcess()
