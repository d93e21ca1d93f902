"""The machine: compute device, CPU cores, and settings of OpenMP and glibc."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, get_args

from vpr.base.errors import VprError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
log = logging.getLogger("vpr")

_most_cores: int | None = None  # upper limit for this process, if `limit_cores` set one
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
MOST_BYTES = 2**31 - 1
# Of NVIDIA's cards and boards, of AMD, and of Windows for the Linux inside it.
GPU_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvmap", "/dev/kfd", "/dev/dxg")


def choose_device(name: Device) -> torch.device:
    """The torch device for a name; errors and log as `choose_device_kind`."""
    import torch

    return torch.device(choose_device_kind(name))


def choose_device_kind(name: Device) -> str:
    """cpu, cuda or mps for a name; ``auto`` takes CUDA, then Apple's MPS, then the CPU. The choice is logged.

    Torch is imported only if this machine may have a GPU, or if one is asked for. Raises VprError if the device is
    unknown or not available.
    """
    if name not in get_args(Device):
        remedy = f"pass one of {', '.join(get_args(Device))}"
        raise VprError(f"there is no device {name!r}", thing="--device", remedy=remedy)
    kind = "cpu" if name == "cpu" or (name == "auto" and not may_have_gpu()) else _present_kind(name)
    log.info("device: %s (%s)", kind, _device_detail(kind))
    keep_freed_memory()
    return kind


def _present_kind(name: Device) -> str:
    """As `choose_device_kind`, by asking torch."""
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = next(kind for kind in present if present[kind]) if name == "auto" else name
    if not present[kind]:
        available = ", ".join(kind for kind in ("cpu", "cuda", "mps") if present[kind])
        remedy = f"pass --device auto or one of: {available}"
        raise VprError(f"device {kind} is not available on this machine", thing="--device", remedy=remedy)
    return kind


def _device_detail(kind: str) -> str:
    if kind != "cuda":
        return f"{thread_count()} threads"
    import torch

    return str(torch.cuda.get_device_name())


def may_have_gpu() -> bool:
    """Whether torch may find a GPU. If torch is not imported yet, this looks for a driver, in microseconds.

    Only Linux shows its drivers as files. On other systems torch has to be asked.
    """
    return "torch" in sys.modules or sys.platform != "linux" or any(map(os.path.exists, GPU_DRIVERS))


def thread_count() -> int:
    """The number of threads with which networks are computed: torch's, or the one that torch would take."""
    if "torch" in sys.modules:
        return sys.modules["torch"].get_num_threads()  # type: ignore[no-any-return]
    given = [os.environ.get(name, "").partition(",")[0] for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS")]
    wanted = next((int(count) for count in given if count.isdecimal() and int(count)), 0)
    if wanted:  # the wish counts more than the cores that this process may use
        return min(wanted, _physical_cores(range(os.cpu_count() or 1)))
    return _physical_cores(_usable_processors())


def _physical_cores(processors: Iterable[int]) -> int:
    """The number of cores of some processors; two threads of a core are two processors."""
    cores = set()
    for number in processors:
        try:
            with open(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list", "rb") as file:
                cores.add(file.read())
        except OSError:  # a virtual machine, or another system
            cores.add(b"%d" % number)
    return len(cores)


def _usable_processors() -> Iterable[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


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
    cores = len([*_usable_processors()])
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
