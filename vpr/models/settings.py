"""Settings of the networks."""

from dataclasses import dataclass
from typing import Literal

from vpr.base.settings import PositiveInt, option

MINI_VIT = "vit_mini_patch16_112"  # the default backbone; vpr.models.mini_vit registers it with timm


@dataclass(frozen=True)
class ModelConfig:
    """Structural model."""

    backbone: str = option(MINI_VIT, "any timm model by name")
    pretrained: bool = option(False, "start from timm's pretrained weights, which timm downloads")
    weights: str = option("", "backbone weights to start from: a .safetensors or .pth file")
    dim: PositiveInt = option(128, "descriptor dimensions C")
    grid: PositiveInt = option(7, "patch descriptors along each side; the tokens are pooled to grid x grid")
    image_size: PositiveInt = option(112, "input height and width, pixels")
    pooling: Literal["gem", "avg", "cls"] = option(
        "avg", "global descriptor from the generalised mean of the tokens (p = 3), their mean, or the class token"
    )


@dataclass(frozen=True)
class TeacherConfig:
    """NetVLAD teacher."""

    backbone: Literal["mini", "vgg16"] = option("mini", "encoder: a small one for mini-MSLS, or VGG16 to conv5")
    pretrained: bool = option(False, "start VGG16 from torchvision's ImageNet weights, which are downloaded")
    clusters: PositiveInt = option(16, "NetVLAD clusters K")
    dim: PositiveInt = option(128, "descriptor dimensions after PCA whitening")
    image_height: PositiveInt = option(112, "input height, pixels (480 in the literature)")
    image_width: PositiveInt = option(112, "input width, pixels (640 in the literature)")
