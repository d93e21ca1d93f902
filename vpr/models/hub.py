"""Models of torch.hub as teachers: third-party code, run only with ``--trust-teacher``."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch.nn import functional

from vpr.base.errors import VprError
from vpr.models.descriptors import Descriptors
from vpr.models.netvlad import IMAGENET_MEAN, IMAGENET_STD
from vpr.models.settings import Crop, HubOptions, Interpolation

HUB = "hub:"


class HubModel(nn.Module):
    """Images (B, 3, H, W), uint8 or float in [0, 255], to unit descriptors.

    network: takes images normalised by ImageNet's statistics and returns (B, C).
    """

    mean: torch.Tensor  # (3, 1, 1) in [0, 1]
    std: torch.Tensor  # likewise

    def __init__(self, network: nn.Module, name: str, size: int) -> None:
        """Raises VprError if the network does not return one descriptor per image."""
        super().__init__()
        self.network, self.name, self.size = network.eval(), name, size
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        try:
            with torch.inference_mode():
                found: Any = self.network(torch.zeros(2, 3, size, size))
        except Exception as error:  # third-party code may raise anything
            raise VprError(
                f"{name} fails on images of {size} pixels ({_first_line(error)})",
                thing=name,
                remedy="pass another --teacher-size",
            ) from error
        if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != 2:
            output = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise VprError(
                f"{name} returns {output} for 2 images, not descriptors (2, C)", thing=name, remedy="pass another entry"
            )
        self.dim = found.shape[1]

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
        found = self.network((images.float() / 255 - self.mean) / self.std)
        return Descriptors(functional.normalize(found.float(), dim=1), None)


def is_hub(source: Path) -> bool:
    """Whether the source is a model of torch.hub: ``hub:OWNER/REPO[:REF]:ENTRY`` or ``hub:FOLDER:ENTRY``."""
    return str(source).startswith(HUB)


def load_hub(source: Path, options: HubOptions, device: torch.device) -> HubModel:
    """The model of an entry, from GitHub or from a folder with a hubconf.py.

    Raises VprError without ``--trust-teacher``, and for any error of the third-party code.
    """
    name = str(source)
    repository, _, entry = name.removeprefix(HUB).rpartition(":")
    if not repository or not entry:
        raise VprError(
            f"{name} names no model",
            thing=name,
            remedy=f"pass {HUB}OWNER/REPO:ENTRY, where ENTRY is a function in hubconf.py",
        )
    if not options.trust_teacher:
        raise VprError(
            f"{name} is third-party code, which can do anything on this machine",
            thing=name,
            remedy="read it, and pass --trust-teacher to run it",
        )
    kind = "local" if Path(repository).is_dir() else "github"
    try:
        network = torch.hub.load(repository, entry, source=kind, trust_repo=True, **_arguments(options))
    except VprError:
        raise
    except Exception as error:  # third-party code may raise anything
        remedy = "the first time needs an internet connection" if kind == "github" else "check its hubconf.py"
        problem = f"{name} cannot be loaded ({type(error).__name__}: {_first_line(error)})"
        raise VprError(problem, thing=name, remedy=remedy) from error
    if not isinstance(network, nn.Module):
        problem = f"{name} returns {type(network).__name__}, not a network"
        raise VprError(problem, thing=name, remedy="pass another entry")
    given = ",".join(sorted(options.teacher_arguments))  # part of the name: they may change the output, but no weight
    return HubModel(network.cpu(), f"{name}({given})" if given else name, options.teacher_size).to(device)


def _arguments(options: HubOptions) -> dict[str, Any]:
    """The arguments of the entry, with values parsed as YAML: numbers, true, false, text."""
    pairs = [argument.partition("=") for argument in options.teacher_arguments]
    if not all(name and sign for name, sign, _ in pairs):
        raise VprError(
            f"--teacher-arguments {','.join(options.teacher_arguments)}: give name=value,name=value",
            thing="--teacher-arguments",
        )
    return {name: yaml.safe_load(value) for name, _, value in pairs}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
