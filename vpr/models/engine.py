"""The engine that runs a network on a CPU: ONNX Runtime, or torch.

ONNX Runtime takes 40 % of torch's time for the network in the box. Its descriptors differ by about 1e-6, so a cache
takes those of both engines. On other devices, and for networks that cannot be exported, the engine is torch.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Literal, get_args

import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.models.descriptors import Descriptors
from vpr.models.onnx_graph import INPUT, build_network, open_session, serialize

log = logging.getLogger("vpr")

Engine = Literal["auto", "onnx", "torch"]
WeightVersions = list[tuple[int, int]]
VARIABLE = "VPR_ENGINE"  # environment variable: the engine that ``auto`` means


class OnnxNetwork:
    """A network that ONNX Runtime runs: images (B, 3, H, W) uint8 to descriptors.

    It has the weights that the model had when it was made. It can be copied and sent to other processes.
    """

    def __init__(self, model: Any) -> None:
        """Raises ImportError and VprError as `build_network`."""
        with torch.inference_mode(False):  # the caller's mode, in which weights cannot be copied
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


class DescribingEngine:
    """What describes photos by a model.

    The network for ONNX Runtime is made when it is needed first, and again when the model has other weights.
    """

    def __init__(self, name: Engine, device: torch.device) -> None:
        """name: ``auto`` is the environment variable, or else ONNX Runtime on a CPU if the network can be exported.

        Raises VprError for an unknown name.
        """
        if name not in get_args(Engine):
            remedy = f"pass one of {', '.join(get_args(Engine))}"
            raise VprError(f"there is no engine {name!r}", thing="engine", remedy=remedy)
        self.name, self.device = _default() if name == "auto" else name, device
        self._weights: WeightVersions | None = None  # of the model for which the engine was chosen
        self._modules: list[nn.Module] = []  # of that model
        self._network: OnnxNetwork | None = None

    def network(self, model: Any) -> OnnxNetwork | None:
        """The model for ONNX Runtime; None for torch. The choice is logged.

        Raises VprError if the name is ``onnx`` and ONNX Runtime cannot be used.
        """
        if self._weights is not None and self._network is None:  # torch, which needs nothing
            return None
        if not self._modules or self._modules[0] is not model:
            self._modules = list(model.modules())
        weights = _weight_versions(self._modules)
        if weights != self._weights:
            self._network, self._weights = self._make(model), weights
        return self._network

    def _make(self, model: Any) -> OnnxNetwork | None:
        if self.name == "torch" or (self.name == "auto" and self.device.type != "cpu"):
            return None
        try:
            if self.device.type != "cpu":
                problem = f"it is for the CPU, and the device is {self.device.type}"
                raise VprError(problem, remedy=f"pass --device cpu, or set {VARIABLE}=torch")
            network = OnnxNetwork(model)
        except (VprError, ImportError) as error:
            problem = f"{error.name} is not installed" if isinstance(error, ImportError) else str(error)
            if self.name == "onnx":
                raise VprError(f"ONNX Runtime cannot be used: {problem}", thing=VARIABLE) from error
            log.info("engine: torch (%s)", problem)
            return None
        if self._network is None:
            log.info("engine: ONNX Runtime")
        return network


def network_of(model: Any) -> OnnxNetwork | None:
    """The network of a model's engine; None if torch describes, as for every model that has no engine."""
    engine: DescribingEngine | None = getattr(model, "engine", None)
    return None if engine is None else engine.network(model)


def _weight_versions(modules: list[nn.Module]) -> WeightVersions:
    """What changes if a weight of a module is assigned or changed in place: the memory and the version of each."""
    versions: WeightVersions = []
    for module in modules:  # faster than `nn.Module.parameters`, which looks for the modules each time
        for tensors in (module._parameters, module._buffers):
            for tensor in tensors.values():
                if tensor is not None:
                    versions.append((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version))
    return versions


def _default() -> Engine:
    name = os.environ.get(VARIABLE, "auto")
    if name not in get_args(Engine):
        problem = f"the environment variable {VARIABLE} is {name!r}"
        raise VprError(problem, thing=VARIABLE, remedy=f"set it to one of {', '.join(get_args(Engine))}")
    return name  # type: ignore[return-value]  # checked above
