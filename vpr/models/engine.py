"""The engine that runs a network on a CPU: ONNX Runtime, or torch.

ONNX Runtime takes 40 % of torch's time for the network in the box. Its descriptors differ by about 1e-6, so a cache
takes those of both engines. On other devices, for networks that cannot be exported, and for those that gain nothing,
the engine is torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.models.onnx_graph import build_network, serialize
from vpr.models.onnx_network import VARIABLE, Engine, OnnxNetwork, choose_engine

log = logging.getLogger("vpr")

WeightVersions = list[tuple[int, int]]


def make_network(model: Any) -> OnnxNetwork:
    """The model for ONNX Runtime, with the weights that it has now; errors as `build_network`."""
    with torch.inference_mode(False):  # the caller's mode, in which weights cannot be copied
        return OnnxNetwork(serialize(build_network(model)))


class DescribingEngine:
    """What describes photos by a model.

    The network for ONNX Runtime is made when it is needed first, and again when the model has other weights.
    """

    def __init__(
        self, name: Engine, device: torch.device, keep: Callable[[Any, OnnxNetwork], None] | None = None
    ) -> None:
        """name: ``auto`` is the environment variable, or else ONNX Runtime on a CPU for a network that gains by it.

        keep: called with the model and each network that is made of it. Raises VprError for an unknown name.
        """
        self.name, self.device, self._keep = choose_engine(name), device, keep
        self._weights: WeightVersions | None = None  # of the model for which the engine was chosen
        self._modules: list[nn.Module] = []  # of that model
        self._network: OnnxNetwork | None = None
        self._is_announced = False

    def adopt(self, model: Any, network: OnnxNetwork) -> None:
        """Take a network that was made before from a model with the same weights."""
        self._modules, self._network = list(model.modules()), network
        self._weights = _weight_versions(self._modules)

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
        if self._network is not None and not self._is_announced:
            log.info("engine: ONNX Runtime")
            self._is_announced = True
        return self._network

    def _make(self, model: Any) -> OnnxNetwork | None:
        if self.name == "torch" or (self.name == "auto" and self.device.type != "cpu"):
            return None
        if self.name == "auto" and not getattr(model, "gains_by_onnx", True):
            log.info("engine: torch (ONNX Runtime is not faster for this network)")
            return None
        try:
            if self.device.type != "cpu":
                problem = f"it is for the CPU, and the device is {self.device.type}"
                raise VprError(problem, remedy=f"pass --device cpu, or set {VARIABLE}=torch")
            network = make_network(model)
        except (VprError, ImportError) as error:
            problem = f"{error.name} is not installed" if isinstance(error, ImportError) else str(error)
            if self.name == "onnx":
                raise VprError(f"ONNX Runtime cannot be used: {problem}", thing=VARIABLE) from error
            log.info("engine: torch (%s)", problem)
            return None
        if self._keep is not None:
            self._keep(model, network)
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
