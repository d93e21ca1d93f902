"""The model of a run in torch, which describes photos by the engine that it has."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vpr.base.errors import VprError
from vpr.cache import CacheSpec
from vpr.description.batches import ImageDescriptors
from vpr.description.describe import describe_batch
from vpr.description.kept_networks import keep
from vpr.description.model_spec import PatchModel, cache_spec
from vpr.models.engine import DescribingEngine, network_of
from vpr.models.loading import load_student
from vpr.models.model_name import ModelName
from vpr.models.onnx_network import VARIABLE, Engine, OnnxNetwork, choose_engine
from vpr.models.published.network import open_published
from vpr.models.settings import DescriptionConfig
from vpr.models.structural import StructuralModel
from vpr.models.timm_model import open_timm


class NetworkDescriber:
    """A `vpr.description.describer.Describer` by a model in torch, in evaluation mode."""

    def __init__(self, network: PatchModel, device: str = "cpu") -> None:
        self.network, self.device = network, device

    @property
    def config(self) -> DescriptionConfig:
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


def name_describer(run: Path, device: str, engine: Engine, trust: bool) -> NetworkDescriber:
    """A model without a run folder on a device; errors as `vpr.description.describer.open_describer`.

    Torch runs it unless the engine is given: a network for ONNX Runtime would have to be made by each command.
    """
    name, place = ModelName.parse(str(run)), torch.device(device)
    chosen = choose_engine(engine) if engine != "auto" or VARIABLE in os.environ else "torch"
    if name.kind == "timm":
        structural = open_timm(name, place)
        structural.engine = DescribingEngine(chosen, place)
        return NetworkDescriber(structural, device)
    if chosen == "onnx":
        problem = f"{run} is code of others, which torch runs"
        raise VprError(problem, thing=VARIABLE, remedy=f"set {VARIABLE}=torch, or leave it out")
    return NetworkDescriber(open_published(name, place, trust), device)


def _keep(run: Path, model: StructuralModel, made: OnnxNetwork) -> None:
    """Keep a network that was made of the model of a run."""
    keep(run, cache_spec(model), model, made)
