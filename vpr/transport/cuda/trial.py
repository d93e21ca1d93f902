"""The first use of the Triton kernels in a process: a small problem, solved by torch too."""

import logging
from functools import cache

import torch
from torch.nn import functional

from vpr.transport import torch_backend
from vpr.transport.cuda import backend
from vpr.transport.marginals import marginal_weights
from vpr.transport.problem import Settings

log = logging.getLogger("vpr.transport")

PAIRS, PATCHES, CHANNELS = 4, 20, 32
WITHIN = 1e-3  # of a similarity; the kernels multiply by tensor cores


@cache
def agrees(device: str) -> bool:
    """Whether the kernels run on a device ("cuda", "cpu" under the interpreter) and give what torch gives there.

    The log warns when they do not; the answer is kept for the process.
    """
    try:
        worst = max(_difference(torch.device(device), mass) for mass in (1.0, 0.7))
    except Exception as error:  # noqa: BLE001  a compiler and a driver may raise anything
        log.warning("the Triton kernels fail on this device (%s: %s); torch computes", type(error).__name__, error)
        return False
    if not worst <= WITHIN:
        log.warning("the Triton kernels differ from torch by %.1e on this device; torch computes", worst)
        return False
    return True


def _difference(device: torch.device, mass: float) -> float:
    """The largest difference of two scores of the same pair."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((PATCHES, CHANNELS), (PAIRS, PATCHES, CHANNELS), (CHANNELS,), (PAIRS, CHANNELS))
    drawn = (torch.randn(shape, generator=generator) for shape in shapes)
    query, database, *globals_ = (functional.normalize(array, dim=-1).to(device) for array in drawn)
    settings = Settings(mass=mass)
    ours = backend.structural(query, database, globals_[0], globals_[1], "complement", None, settings)
    similarity = query @ database.transpose(1, 2)
    mu, nu = marginal_weights("complement", query, database, *globals_)
    theirs = torch_backend.solve(similarity, mu, nu, settings)
    alone = backend.solve(similarity, mu, nu, settings)
    return max(float((score - theirs.score).abs().max()) for score in (ours.score, alone.score))
