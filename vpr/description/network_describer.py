"""The model of a run in torch, which describes photos by the engine that it has."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from vpr.cache import CacheSpec
from vpr.description.batches import ImageDescriptors
from vpr.description.describe import describe_batch
from vpr.description.kept_networks import keep
from vpr.description.model_spec import cache_spec
from vpr.models.engine import DescribingEngine, network_of
from vpr.models.loading import load_student
from vpr.models.onnx_network import Engine, OnnxNetwork
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel


class NetworkDescriber:
    """A `vpr.description.describer.Describer` by a model in torch, in evaluation mode."""

    def __init__(self, network: StructuralModel, device: str = "cpu") -> None:
        self.network, self.device = network, device

    @property
    def config(self) -> ModelConfig:
        """The settings of the model."""
        return self.network.config

    @property
    def spec(self) -> CacheSpec:
        """The kind of descriptors that the model makes, with its weights of this moment."""
        return cache_spec(self.network)

    def describe(self, images: np.ndarray) -> ImageDescriptors:
        """As `vpr.description.describer.Describer.describe`."""
        batch = torch.from_numpy(images)
        return describe_batch(self.network, network_of(self.network), batch, torch.device(self.device))


def load_describer(run: Path, device: str, engine: Engine) -> NetworkDescriber:
    """The model of a run on a device. If ONNX Runtime runs it, the network is kept for the next command.

    Errors as `vpr.description.describer.open_describer`.
    """
    network = load_student(run, torch.device(device))
    network.engine = DescribingEngine(engine, torch.device(device), partial(_keep, run))
    return NetworkDescriber(network, device)


def _keep(run: Path, model: StructuralModel, made: OnnxNetwork) -> None:
    """Keep a network that was made of the model of a run."""
    keep(run, cache_spec(model), model, made)
