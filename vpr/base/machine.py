"""The machine: compute device, CPU cores, and settings of OpenMP and glibc."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from typing import TYPE_CHECKING, Literal, get_args

from vpr.base.errors import VprError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
log = logging.getLogger("vpr")

_most_cores: int | None = None  # upper limit for this process, if `limit_cores` set one
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
MOST_BYTES = 2**31 - 1


def choose_device(name: Device) -> torch.device:
    """The torch device for a name; ``auto`` takes CUDA, then Apple's MPS, then the CPU. The choice is logged.

    Raises VprError if the device is unknown or not available.
    """
    import torch

    if name not in get_args(Device):
        remedy = f"pass one of {', '.join(get_args(Device))}"
        raise VprError(f"there is no device {name!r}", thing="--device", remedy=remedy)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = next(kind for kind in ("cuda", "mps", "cpu") if present[kind]) if name == "auto" else name
    if not present[kind]:
        available = ", ".join(kind for kind, is_present in present.items() if is_present)
        remedy = f"pass --device auto or one of: {available}"
        raise VprError(f"device {kind} is not available on this machine", thing="--device", remedy=remedy)
    detail = torch.cuda.get_device_name() if kind == "cuda" else f"{torch.get_num_threads()} threads"
    log.info("device: %s (%s)", kind, detail)
    keep_freed_memory()
    return torch.device(kind)


def shorten_busy_waiting() -> None:
    """Shorten OpenMP busy-waiting so that image decoding gets the cores. Call it before torch is imported.

    By default idle threads spin for milliseconds, and describing photos takes a quarter more time. If they hardly spin,
    training is slower, because they fall asleep between operations.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def keep_freed_memory() -> None:
    """Keep glibc from returning large freed blocks to the OS. Other C libraries do not have this setting.

    A network's features are freed and allocated again at every step. Fresh pages from the OS cost 2 to 3 times the time
    of the convolutions (batches of 64 photos of 160 pixels).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MOST_BYTES)
        mallopt(M_TRIM_THRESHOLD, MOST_BYTES)


def usable_cores() -> int:
    """The number of CPU cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if _most_cores is None else min(cores, _most_cores)


def limit_cores(count: int) -> None:
    """Let this process use at most ``count`` cores, because other processes of this machine use the rest.

    The OpenMP threads of torch and FAISS are reduced, never increased. Threads wait for one another: if cores are busy,
    a search of one query takes ten times as long.
    """
    global _most_cores
    import faiss
    import torch

    _most_cores = max(1, count)
    torch.set_num_threads(min(torch.get_num_threads(), _most_cores))
    faiss.omp_set_num_threads(min(faiss.omp_get_max_threads(), _most_cores))
