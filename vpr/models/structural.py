"""The structural model: a timm backbone and a head that gives one global and many patch descriptors."""

import dataclasses
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vpr.base.errors import VprError
from vpr.models.backbone import create_backbone
from vpr.models.descriptors import Descriptors
from vpr.models.imagenet import input_statistics
from vpr.models.patch_weights import PatchWeights
from vpr.models.settings import Crop, Interpolation, ModelConfig
from vpr.models.summary import PatchSummary


class StructuralModel(nn.Module):
    """Images to global and patch descriptors (Zhang et al., BMVC 2022, section 3).

    Input: uint8 or float in [0, 255], shape (B, 3, H, W). Output: `Descriptors` with unit vectors in R^dim. A timm
    model works if its `forward_features` returns tokens (B, N, D), or maps (B, D, h, w) or (B, h, w, D).
    """

    mean: torch.Tensor  # (3, 1, 1) of the backbone's input, in [0, 1]
    std: torch.Tensor  # likewise
    backbone: Any  # a timm model
    engine: Any = None  # a `DescribingEngine`, of a finished model

    def __init__(self, config: ModelConfig, fill: bool = True) -> None:
        """fill: load the weights that the configuration names into the backbone.

        Raises VprError as `create_backbone`, and for a pooling that the head does not support.
        """
        super().__init__()
        check_pooling(config)
        self.config = config
        self.backbone = create_backbone(config, fill)
        self.head = nn.Linear(self.backbone.num_features, config.dim)
        self.norm = SharedNorm(config.dim) if config.head == "shared" else None
        self.summary = None
        if config.pooling in ("vlad", "layout"):
            self.summary = PatchSummary(
                config.pooling, (config.grid**2, config.dim), config.clusters, config.global_dim
            )
        self.patch_weights = PatchWeights(config.dim) if config.patch_weights else None
        mean, std = input_statistics(self.backbone, config.backbone, config.weights)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input images, pixels."""
        return self.config.input_size

    @property
    def interpolation(self) -> Interpolation:
        """The interpolation of resized images."""
        return self.config.interpolation

    @property
    def crop(self) -> Crop:
        """The part of a photo that it sees."""
        return self.config.crop

    @property
    def global_dim(self) -> int:
        """Length of a global descriptor."""
        return self.config.global_length

    def forward(self, images: torch.Tensor) -> Descriptors:
        tokens, summary = self._tokens(images)
        patches = F.adaptive_avg_pool2d(tokens, self.config.grid).flatten(2).transpose(1, 2)
        if self.norm is not None:
            summary, patches = self.norm.normalise(self.head(summary), self.head(patches))
            return self._described(F.normalize(summary, dim=-1), F.normalize(patches, dim=-1))
        patches = self.map_patches(F.normalize(patches, dim=-1))
        if self.summary is not None:
            return self._described(self.summary(patches), patches)
        if self.config.pooling == "avg":
            return self._described(F.normalize(patches.mean(1), dim=-1), patches)
        return self._described(F.normalize(self.head(F.normalize(summary, dim=-1)), dim=-1), patches)

    def _described(self, global_descriptor: torch.Tensor, patches: torch.Tensor) -> Descriptors:
        """The output, with the weights of the patches if they were learnt."""
        weights = None if self.patch_weights is None else self.patch_weights(patches)
        return Descriptors(global_descriptor, patches, weights)

    def set_patch_weights(self, weights: PatchWeights | None) -> None:
        """Give the model other weights of patches, or none."""
        self.patch_weights = weights
        self.config = dataclasses.replace(self.config, patch_weights=weights is not None)

    def features_side(self) -> int:
        """The number of features along the shorter side of the map, before pooling to the grid."""
        training = self.training
        self.eval()  # in evaluation mode batch statistics do not change
        with torch.no_grad():
            tokens, _ = self._tokens(torch.zeros(1, 3, *self.input_size, device=self.mean.device))
        self.train(training)
        return min(tokens.shape[2:])

    def raw_patches(self, images: torch.Tensor) -> torch.Tensor:
        """Unit features (B, P, D), the input for fitting a whitening head."""
        tokens, _ = self._tokens(images)
        return F.normalize(F.adaptive_avg_pool2d(tokens, self.config.grid).flatten(2).transpose(1, 2), dim=-1)

    def map_patches(self, raw: torch.Tensor) -> torch.Tensor:
        """The patch descriptors (B, P, dim) of a whitening head, from `raw_patches`."""
        return F.normalize(self.head(raw), dim=-1)

    def summarise(self, images: torch.Tensor) -> torch.Tensor:
        """The pooled features (B, D), the head's input for the global descriptor."""
        return self._tokens(images)[1]

    def _tokens(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The token map (B, D, h, w) and its pooled features (B, D)."""
        features = self.backbone.forward_features((images.float() / 255 - self.mean) / self.std)
        if features.ndim == 3:
            prefix = getattr(self.backbone, "num_prefix_tokens", 0)
            side = round((features.shape[1] - prefix) ** 0.5)
            tokens = features[:, prefix:].transpose(1, 2).unflatten(2, (side, side))
        else:
            channels_last = features.shape[-1] == self.backbone.num_features
            tokens = features.permute(0, 3, 1, 2) if channels_last else features
        if self.config.pooling == "cls":
            return tokens, features[:, 0]
        return tokens, generalised_mean(tokens) if self.config.pooling == "gem" else tokens.mean((2, 3))


def resize_model(model: StructuralModel, image_size: int, grid: int) -> StructuralModel:
    """A model with the same weights for another input size, in pixels, and another grid.

    VLAD keeps its centres; a layout must be fitted again. Raises VprError for a network with a fixed input size.
    """
    other = StructuralModel(dataclasses.replace(model.config, image_size=image_size, grid=grid), fill=False)
    wanted = other.state_dict()
    kept = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith("summary.") or value.shape == wanted[name].shape
    }
    try:
        other.load_state_dict({**wanted, **kept})
    except RuntimeError as error:
        problem = f"{model.config.backbone} is made for one input size"
        raise VprError(problem, thing="--train-size", remedy="leave --train-size out") from error
    device = next(model.parameters()).device
    return other.to(device).to(memory_format=torch.channels_last).train(model.training)


def check_pooling(config: ModelConfig) -> None:
    """Raise VprError if the head or the sizes do not support the pooling."""
    if not config.uses_summary:
        return
    if config.head != "whitening":
        problem = f"--pooling {config.pooling} needs whitened patches"
        raise VprError(problem, thing="--pooling", remedy="pass --head whitening")
    if config.global_dim == config.dim:
        raise VprError(
            f"patch and global descriptors must differ in length, and both have {config.dim} numbers",
            thing="--global-dim",
            remedy="pass another --global-dim",
        )


class SharedNorm(nn.BatchNorm1d):
    """Batch normalisation of global descriptors (B, C), and of patch descriptors (B, P, C) by the same statistics.

    It removes the component that all images share. Without it all pairs look similar to a model with random weights,
    and the contrastive losses collapse. Both kinds of descriptors still share one linear map.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, affine=False)

    def normalise(self, summary: torch.Tensor, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled features and patches, normalised by the same statistics: the batch's in training, else the running."""
        normalised = self(summary)  # first: the order of operations is the order in which gradients are added
        mean, variance = self.running_mean, self.running_var
        if self.training or mean is None or variance is None:
            mean, variance = summary.mean(0), summary.var(0, unbiased=False)
        return normalised, (patches - mean) * (variance + self.eps).rsqrt()


def generalised_mean(tokens: torch.Tensor, power: float = 3.0) -> torch.Tensor:
    """Generalised mean (GeM, Radenovic et al., TPAMI 2019) of the positive parts: (B, D, h, w) to (B, D)."""
    return tokens.clamp(min=1e-3).pow(power).mean((2, 3)).pow(1 / power)
