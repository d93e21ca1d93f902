"""Models of torch.hub as teachers: code of others, which runs only when the person says that it is trusted."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch.nn import functional

from vpr.base.errors import VprError
from vpr.models.descriptors import Descriptors
from vpr.models.netvlad import IMAGENET_MEAN, IMAGENET_STD
from vpr.models.settings import Crop, HubConfig, Interpolation

HUB = "hub:"


class HubModel(nn.Module):
    """Images (B, 3, H, W), uint8 or float in [0, 255], to unit descriptors, by a network whose input is normalised as
    ImageNet's and whose output is (B, C)."""

    mean: torch.Tensor  # (3, 1, 1) in [0, 1]
    std: torch.Tensor  # likewise

    def __init__(self, network: nn.Module, name: str, size: int) -> None:
        """Raises VprError when the network does not give a descriptor an image."""
        super().__init__()
        self.network, self.name, self.size = network.eval(), name, size
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        try:
            with torch.inference_mode():
                found: Any = self.network(torch.zeros(2, 3, size, size))
        except Exception as error:  # whatever their code raises
            raise VprError(
                f"{name} takes no images of {size} pixels ({_first_line(error)}); pass --teacher-size"
            ) from error
        if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != 2:
            what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise VprError(f"{name} gives {what} for 2 images, where a descriptor (2, C) is wanted; pass another entry")
        self.dim = found.shape[1]

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images it takes, pixels."""
        return self.size, self.size

    @property
    def crop(self) -> Crop:
        """Which part of a photo it takes: all of it."""
        return "resize"

    @property
    def interpolation(self) -> Interpolation:
        """How images are resized for it: as torchvision does."""
        return "bilinear"

    def forward(self, images: torch.Tensor) -> Descriptors:
        found = self.network((images.float() / 255 - self.mean) / self.std)
        return Descriptors(functional.normalize(found.float(), dim=1), None)


def is_hub(source: Path) -> bool:
    """Whether it names a model of torch.hub, ``hub:OWNER/REPO[:REF]:ENTRY`` or ``hub:FOLDER:ENTRY``."""
    return str(source).startswith(HUB)


def load_hub(source: Path, config: HubConfig, device: torch.device) -> HubModel:
    """The model of an entry, from GitHub or a folder that holds a hubconf.py.

    Raises VprError when the person has not said that the code is trusted, and for whatever goes wrong in it.
    """
    name = str(source)
    repository, _, entry = name.removeprefix(HUB).rpartition(":")
    if not repository or not entry:
        raise VprError(f"{name}: the entry is missing; pass {HUB}OWNER/REPO:ENTRY")
    if not config.trust_teacher:
        raise VprError(f"{name} is code of others, which may do anything; read it, and pass --trust-teacher to run it")
    kind = "local" if Path(repository).is_dir() else "github"
    try:
        network = torch.hub.load(repository, entry, source=kind, trust_repo=True, **_arguments(config))
    except VprError:
        raise
    except Exception as error:  # whatever their code raises
        remedy = "a network is needed the first time" if kind == "github" else "see its hubconf.py"
        raise VprError(f"{name} cannot be loaded ({type(error).__name__}: {_first_line(error)}); {remedy}") from error
    if not isinstance(network, nn.Module):
        raise VprError(f"{name} gives {type(network).__name__}, not a network; pass another entry")
    given = ",".join(sorted(config.teacher_arguments))  # they may change what the network does and no weight of it
    return HubModel(network.cpu(), f"{name}({given})" if given else name, config.teacher_size).to(device)


def _arguments(config: HubConfig) -> dict[str, Any]:
    """The arguments of the entry, values as YAML reads them: numbers, true, false, text."""
    pairs = [argument.partition("=") for argument in config.teacher_arguments]
    if not all(name and sign for name, sign, _ in pairs):
        raise VprError(f"--teacher-arguments {','.join(config.teacher_arguments)}: give name=value,name=value")
    return {name: yaml.safe_load(value) for name, _, value in pairs}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
