"""Published models and entries of torch.hub as teachers: the code of others, run only with ``--trust``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch.nn import functional

from vpr.base.errors import VprError
from vpr.models.descriptors import Descriptors
from vpr.models.model_name import TIMM, ModelName, is_model_name
from vpr.models.netvlad import IMAGENET_MEAN, IMAGENET_STD
from vpr.models.published.hub_code import first_line, load_entry, require_trust
from vpr.models.published.network import GlobalNetwork, hub_source, require_numbers
from vpr.models.settings import Crop, HubOptions, Interpolation


class HubModel(nn.Module):
    """Images (B, 3, H, W), uint8 or float in [0, 255], to unit descriptors.

    network: takes images normalised by ImageNet's statistics and returns (B, C).
    """

    mean: torch.Tensor  # (3, 1, 1) in [0, 1]
    std: torch.Tensor  # likewise

    def __init__(self, network: GlobalNetwork, name: str, size: int) -> None:
        """Raises VprError if the network does not return one descriptor per image."""
        super().__init__()
        self.network, self.name, self.size = network.eval(), name, size
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        try:
            with torch.inference_mode():
                self.dim = self.network.probe(size)
        except VprError:
            raise
        except Exception as error:  # third-party code may raise anything
            raise VprError(
                f"{name} fails on images of {size} pixels ({first_line(error)})",
                thing=name,
                remedy="pass another --teacher-size",
            ) from error

    @property
    def origin(self) -> tuple[str, ...]:
        """What the descriptors are made by beside the weights, see `GlobalNetwork.origin`."""
        return self.network.origin

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input images, pixels."""
        return self.size, self.size

    @property
    def crop(self) -> Crop:
        """The part of a photo that it sees: all of it."""
        return "resize"

    @property
    def interpolation(self) -> Interpolation:
        """The interpolation of resized images, the same as torchvision's default."""
        return "bilinear"

    def forward(self, images: torch.Tensor) -> Descriptors:
        """Raises VprError for descriptors as `require_numbers` does."""
        found = self.network((images.float() / 255 - self.mean) / self.std)
        require_numbers(self.name, found)
        return Descriptors(functional.normalize(found.float(), dim=1), None)


def is_hub(source: Path) -> bool:
    """Whether the source of a teacher is code of others: a published model, or ``hub:OWNER/REPO[:REF]:ENTRY``."""
    return is_model_name(source) and not str(source).startswith(TIMM)


def load_hub(source: Path, options: HubOptions, device: torch.device) -> HubModel:
    """The teacher of a published model, or of an entry in a repository on GitHub or in a folder with a hubconf.py.

    Raises VprError without ``--trust``, and for any error of the third-party code.
    """
    name = ModelName.parse(str(source))
    code = hub_source(name)
    require_trust(code, options.trust or options.trust_teacher)
    code = replace(code, arguments={**code.arguments, **_arguments(options)})
    size = options.teacher_size or name.size or code.adapter.image_size
    return HubModel(GlobalNetwork(load_entry(code), code), str(source), size).to(device)


def _arguments(options: HubOptions) -> dict[str, Any]:
    """The arguments of the entry, with values parsed as YAML: numbers, true, false, text."""
    pairs = [argument.partition("=") for argument in options.teacher_arguments]
    if not all(name and sign for name, sign, _ in pairs):
        raise VprError(
            f"--teacher-arguments {','.join(options.teacher_arguments)}: give name=value,name=value",
            thing="--teacher-arguments",
        )
    return {name: yaml.safe_load(value) for name, _, value in pairs}
