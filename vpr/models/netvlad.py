"""The teacher: NetVLAD (Arandjelovic et al., CVPR 2016) with PCA whitening; keys as in Patch-NetVLAD's checkpoints."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import VGG16_Weights, vgg16

from vpr.models.backbone import create_network, load_weights
from vpr.models.descriptors import Descriptors
from vpr.models.imagenet import input_statistics
from vpr.models.settings import IMAGENET, Crop, Interpolation, TeacherConfig
from vpr.models.trunk import Trunk

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class NetVLADPool(nn.Module):
    """Features (B, D, h, w) to residuals summed by cluster, (B, K * D): intra-normalised, then unit vectors."""

    def __init__(self, clusters: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, clusters, 1, bias=False)
        self.centroids = nn.Parameter(torch.zeros(clusters, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = F.normalize(features, dim=1)
        assignment = self.conv(features).flatten(2).softmax(1)
        total = assignment @ features.flatten(2).transpose(1, 2)
        residuals = total - assignment.sum(2, keepdim=True) * self.centroids
        return F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)

    def initialise(self, centroids: np.ndarray, samples: np.ndarray) -> None:
        """Initialise from k-means centroids (K, D), as in the NetVLAD paper.

        The assignment is sharpened so that on the samples (S, D) the nearest cluster weighs 100 times the second
        nearest, on average.
        """
        directions = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
        nearest = np.sort(samples @ directions.T, axis=1)
        sharpness = np.log(100) / np.mean(nearest[:, -1] - nearest[:, -2])
        with torch.no_grad():
            self.centroids.copy_(torch.from_numpy(centroids))
            self.conv.weight.copy_(torch.from_numpy(sharpness * directions)[:, :, None, None])


class NetVLAD(nn.Module):
    """Images (B, 3, H, W), uint8 or float in [0, 255], to unit descriptors.

    Before `set_whitening` the global descriptor has clusters * channels dimensions, after it ``config.dim``.
    """

    mean: torch.Tensor  # (3, 1, 1) of ImageNet, in [0, 1]
    std: torch.Tensor  # likewise
    engine: Any = None  # a `DescribingEngine`, of a finished model

    def __init__(self, config: TeacherConfig, fill: bool = True) -> None:
        """fill: load the weights that the configuration names into the encoder. Errors as `create_encoder`."""
        super().__init__()
        self.config = config
        self.encoder, channels = create_encoder(config, fill)
        self.pool = NetVLADPool(config.clusters, channels)
        self.WPCA = nn.Sequential(nn.Conv2d(config.clusters * channels, config.dim, 1))
        self.whitened = False
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
        if isinstance(self.encoder, Trunk):
            mean, std = input_statistics(self.encoder, config.backbone, config.weights)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input images, pixels."""
        return self.config.image_height, self.config.image_width

    @property
    def dim(self) -> int:
        """Length of a whitened descriptor."""
        return self.config.dim

    @property
    def gains_by_onnx(self) -> bool:
        """Whether ONNX Runtime is faster than torch. For VGG-16 it takes 4 to 9 % less time, but 0.5 GB more."""
        return self.config.backbone != "vgg16"

    @property
    def crop(self) -> Crop:
        """The part of a photo that it sees: all of it."""
        return "resize"

    @property
    def interpolation(self) -> Interpolation:
        """The interpolation of resized images."""
        return self.config.interpolation

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Encoder features (B, D, h, w) before pooling."""
        features: torch.Tensor = self.encoder((images.float() / 255 - self.mean) / self.std)
        return features

    def forward(self, images: torch.Tensor) -> Descriptors:
        pooled = self.pool(self.features(images))
        if self.whitened:
            pooled = F.normalize(self.WPCA(pooled[:, :, None, None]).flatten(1), dim=1)
        return Descriptors(pooled, None)

    def set_whitening(self, components: np.ndarray, mean: np.ndarray) -> None:
        """Whiten by ``components`` (dim, K * D), rows already scaled, after subtracting ``mean`` (K * D,)."""
        state = {
            "0.weight": torch.from_numpy(components)[:, :, None, None],
            "0.bias": torch.from_numpy(-components @ mean),
        }
        self.WPCA.load_state_dict(state)
        self.whitened = True


def create_encoder(config: TeacherConfig, fill: bool) -> tuple[nn.Module, int]:
    """The encoder and its number of channels D. The encoder ``mini`` first removes exposure and white balance.

    fill: load the weights that the configuration names. Raises VprError as `create_backbone`.
    """
    if config.backbone == "mini":
        layers: list[nn.Module] = [nn.InstanceNorm2d(3)]
        widths, strides = (3, 24, 48, 96, 96), (2, 2, 2, 1)
        for before, after, stride in zip(widths, widths[1:], strides):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        return nn.Sequential(*layers[:-1]), widths[-1]
    if config.backbone == "vgg16":
        weights = VGG16_Weights.IMAGENET1K_V1 if config.weights == IMAGENET and fill else None
        return vgg16(weights=weights).features[:-2], 512
    network = create_network(config.backbone, config.image_height)
    if config.weights and fill:
        load_weights(network, config.backbone, config.weights)
    trunk = Trunk(network, config.stage)
    return trunk, trunk.num_features
