"""The device that computes: chosen once, said, and settable."""

import logging
from typing import Literal

import torch

from vpr.errors import VprError

Device = Literal["auto", "cpu", "cuda", "mps"]
log = logging.getLogger("vpr")


def choose_device(name: Device) -> torch.device:
    """The torch device for a name; ``auto`` takes CUDA, then Apple's MPS, then the CPU, and says which.

    Raises VprError when the named device is not there.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if present[kind])
    if not present[name]:
        there = ", ".join(kind for kind, here in present.items() if here)
        raise VprError(f"device {name} is not on this machine; pass --device auto or one of: {there}")
    detail = torch.cuda.get_device_name() if name == "cuda" else f"{torch.get_num_threads()} threads"
    log.info("device: %s (%s)", name, detail)
    return torch.device(name)
