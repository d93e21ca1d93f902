"""The engine that runs a network on a CPU: ONNX Runtime, or torch.

ONNX Runtime takes 40 % of torch's time for the network in the box. Its descriptors differ by about 1e-6, so a cache
takes those of both engines. On other devices, and for networks that cannot be exported, the engine is torch.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Literal, get_args

import torch

from vpr.base.errors import VprError
from vpr.models.descriptors import Descriptors
from vpr.models.onnx_graph import INPUT, build_network, open_session, serialize

log = logging.getLogger("vpr")

Engine = Literal["auto", "onnx", "torch"]
VARIABLE = "VPR_ENGINE"  # environment variable: the engine that ``auto`` means


class OnnxNetwork:
    """A network that ONNX Runtime runs: images (B, 3, H, W) uint8 to descriptors.

    It has the weights that the model had when it was made. It can be copied and sent to other processes.
    """

    def __init__(self, model: Any) -> None:
        """Raises ImportError and VprError as `build_network`."""
        self.network = serialize(build_network(model))
        self._session: Any = None
        self._threads = 0

    def __call__(self, images: torch.Tensor) -> Descriptors:
        threads = torch.get_num_threads()
        if self._session is None or threads != self._threads:
            self._session, self._threads = open_session(self.network, threads), threads
        found = self._session.run(None, {INPUT: images.contiguous().numpy()})
        return Descriptors(*map(torch.from_numpy, found), *[None] * (2 - len(found)))

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network, "_session": None, "_threads": 0}


def attach_engine(model: Any, device: torch.device, engine: Engine = "auto") -> None:
    """Have a finished model describe photos by ONNX Runtime, if `make_engine` can; errors as there.

    The model must not be trained further, because the engine keeps the weights that it has now.
    """
    model.engine = make_engine(engine, model, device)


def make_engine(engine: Engine, model: Any, device: torch.device) -> OnnxNetwork | None:
    """The model for ONNX Runtime; None for torch. The choice is logged.

    Raises VprError if ``onnx`` is asked for and cannot be used.
    """
    if engine == "auto":
        engine = _default()
    if engine == "torch" or (engine == "auto" and device.type != "cpu"):
        return None
    try:
        if device.type != "cpu":
            raise VprError(f"ONNX Runtime is for the CPU, and the device is {device.type}", remedy="pass --device cpu")
        network = OnnxNetwork(model)
    except (VprError, ImportError) as error:
        problem = f"{error.name} is not installed" if isinstance(error, ImportError) else str(error)
        if engine == "onnx":
            raise VprError(f"--engine onnx cannot be used: {problem}", thing="--engine") from error
        log.info("engine: torch (%s)", problem)
        return None
    log.info("engine: ONNX Runtime")
    return network


def _default() -> Engine:
    name = os.environ.get(VARIABLE, "auto")
    if name not in get_args(Engine):
        problem = f"the environment variable {VARIABLE} is {name!r}"
        raise VprError(problem, thing=VARIABLE, remedy=f"set it to one of {', '.join(get_args(Engine))}")
    return name  # type: ignore[return-value]  # checked above
