"""The machine: the device that computes, and the cores that this process may use."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from typing import TYPE_CHECKING, Literal

from vpr.base.errors import VprError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
log = logging.getLogger("vpr")

_most_cores: int | None = None  # that this process takes, where `limit_cores` said so
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
MOST_BYTES = 2**31 - 1


def choose_device(name: Device) -> torch.device:
    """The torch device for a name; ``auto`` takes CUDA, then Apple's MPS, then the CPU. The choice is logged.

    Raises VprError when the named device is not there.
    """
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = next(kind for kind in ("cuda", "mps", "cpu") if present[kind]) if name == "auto" else name
    if not present[kind]:
        there = ", ".join(kind for kind, here in present.items() if here)
        raise VprError(f"device {kind} is not on this machine; pass --device auto or one of: {there}")
    detail = torch.cuda.get_device_name() if kind == "cuda" else f"{torch.get_num_threads()} threads"
    log.info("device: %s (%s)", kind, detail)
    keep_freed_memory()
    return torch.device(kind)


def wait_briefly() -> None:
    """Have OpenMP's threads spin for a moment only when they wait, so that decoding gets the cores.

    To be called before torch is imported. By default they spin for milliseconds, and describing photos takes a quarter
    more time. If they hardly spin, training takes longer, since they fall asleep between operations.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def keep_freed_memory() -> None:
    """Have the C library hand large freed blocks out again, where it would give them back to the system.

    A network's features are freed and wanted again at every step; pages that come fresh from the system cost more time
    than the convolutions (2 to 3 times, for batches of 64 photos of 160 pixels). Only glibc has this setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MOST_BYTES)
        mallopt(M_TRIM_THRESHOLD, MOST_BYTES)


def usable_cores() -> int:
    """How many cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if _most_cores is None else min(cores, _most_cores)


def limit_cores(count: int) -> None:
    """Have this process take no more than so many cores; others of the same machine take the rest.

    OpenMP's threads, of torch and FAISS, are made fewer and never more: they wait for one another, which costs a search
    of one query ten times its time where the cores are not free.
    """
    global _most_cores
    import faiss
    import torch

    _most_cores = max(1, count)
    torch.set_num_threads(min(torch.get_num_threads(), _most_cores))
    faiss.omp_set_num_threads(min(faiss.omp_get_max_threads(), _most_cores))
