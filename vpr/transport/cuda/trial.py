"""The first use of the Triton kernels in a process: a small problem, which torch solves too."""

import logging
from functools import cache

import torch
from torch.nn import functional

from vpr.transport import torch_backend
from vpr.transport.cuda import backend
from vpr.transport.marginals import marginal_weights
from vpr.transport.problem import Images, Solver, Transport

log = logging.getLogger("vpr.transport")

PAIRS, PATCHES, CHANNELS = 4, 20, 32
LARGEST_DIFFERENCE = 1e-3  # of two scores, because the kernels multiply by tensor cores


@cache
def kernels_agree(device: str) -> bool:
    """Whether the kernels run on a device ("cuda", "cpu" in the interpreter) and agree with torch there.

    If not, the log warns. The answer is kept for the process.
    """
    try:
        worst = max(_difference(torch.device(device), mass) for mass in (1.0, 0.7))
    except Exception as error:  # noqa: BLE001  a compiler and a driver may raise anything
        log.warning("the Triton kernels fail on this device (%s: %s); torch computes", type(error).__name__, error)
        return False
    if not worst <= LARGEST_DIFFERENCE:
        log.warning("the Triton kernels differ from torch by %.1e on this device; torch computes", worst)
        return False
    return True


def _difference(device: torch.device, mass: float) -> float:
    """The largest difference of two scores of the same pair."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((PATCHES, CHANNELS), (PAIRS, PATCHES, CHANNELS), (CHANNELS,), (PAIRS, CHANNELS))
    drawn = (torch.randn(shape, generator=generator) for shape in shapes)
    images = Images(*(functional.normalize(array, dim=-1).to(device) for array in drawn))
    transport, solver = Transport(mass=mass), Solver()
    from_patches = backend.score_candidates(images, None, transport, solver)
    problem = images.query_patches @ images.database_patches.transpose(1, 2), *marginal_weights("complement", *images)
    expected = torch_backend.solve(*problem, transport, solver)
    from_cosines = backend.solve(*problem, transport, solver)
    return max(float((found.score - expected.score).abs().max()) for found in (from_patches, from_cosines))
