"""What describes the photos of a run: ONNX Runtime by a network that is kept on disk, or else the model in torch.

Torch takes seconds to import, and a kept network does without it. The model is then loaded when it is asked for.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vpr.base.errors import VprError
from vpr.cache import CacheSpec
from vpr.description.batches import ImageDescriptors
from vpr.description.kept_networks import KeptNetwork, open_kept
from vpr.models.model_name import is_model_name
from vpr.models.onnx_network import Engine, choose_engine
from vpr.models.recorded import student_config
from vpr.models.settings import DescriptionConfig, ModelConfig

if TYPE_CHECKING:
    from vpr.description.model_spec import PatchModel

log = logging.getLogger("vpr")


class Describer(Protocol):
    """A model on a device, without a word of what computes it."""

    @property
    def config(self) -> DescriptionConfig:
        """The settings of the model; also the form of its input images, `vpr.description.images.ModelInput`."""
        ...

    @property
    def device(self) -> str:
        """The name of torch's device, such as cpu or cuda:1."""
        ...

    @property
    def spec(self) -> CacheSpec:
        """The kind of descriptors that it makes."""
        ...

    @property
    def network(self) -> PatchModel:
        """The model in torch, in evaluation mode."""
        ...

    def describe(self, images: np.ndarray) -> ImageDescriptors:
        """The descriptors of images (b, 3, H, W) uint8 of the model's input size."""
        ...


class KeptDescriber:
    """ONNX Runtime on the CPU, by the network that is kept for a run; by the model in torch once that was asked for.

    The model in torch may then be changed, as any other.
    """

    device = "cpu"

    def __init__(self, run: Path, config: ModelConfig, kept: KeptNetwork, engine: Engine) -> None:
        """engine: of the model in torch, if it is asked for."""
        self.run, self.config, self._kept = run, config, kept
        self._engine: Engine = engine
        self._loaded: Describer | None = None
        self._is_announced = False

    @property
    def spec(self) -> CacheSpec:
        """As `Describer.spec`."""
        return self._kept.spec if self._loaded is None else self._loaded.spec

    @property
    def network(self) -> PatchModel:
        """As `Describer.network`; raises VprError if the run has changed since it was opened."""
        if self._loaded is None:
            from vpr.description.network_describer import load_describer  # imports torch

            loaded = load_describer(self.run, self.device, self._engine)
            if loaded.spec != self._kept.spec:
                problem = f"{self.run} has changed since it was loaded"
                raise VprError(problem, thing=self.run, remedy="load it again")
            loaded.network.engine.adopt(loaded.network, self._kept.network)
            self._loaded = loaded
        return self._loaded.network

    def describe(self, images: np.ndarray) -> ImageDescriptors:
        """As `Describer.describe`."""
        if self._loaded is not None:
            return self._loaded.describe(images)
        if not self._is_announced:
            log.info("engine: ONNX Runtime")
            self._is_announced = True
        return ImageDescriptors.from_network(*self._kept.network(images))


def open_describer(run: Path, device: str, engine: Engine, trust: bool = False) -> Describer:
    """What describes the photos of a run, or of a model that ``run`` names, on a device, by an engine.

    trust: run the code of others. Raises VprError if the run is missing, unfinished, damaged or of another kind, and
    for a model of others without trust.
    """
    if is_model_name(run):
        from vpr.description.network_describer import name_describer  # imports torch

        return name_describer(run, device, engine, trust)
    config = student_config(run)
    if device == "cpu" and choose_engine(engine) != "torch" and (kept := open_kept(run, config)) is not None:
        return KeptDescriber(run, config, kept, engine)
    from vpr.description.network_describer import load_describer  # imports torch

    return load_describer(run, device, engine)
