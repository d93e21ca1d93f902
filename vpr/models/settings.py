"""Settings of the networks."""

from dataclasses import dataclass
from typing import Literal

from vpr.base.settings import Names, NonNegativeInt, PositiveInt, option

MINI_VIT = "vit_mini_patch16_112"  # the default backbone; vpr.models.mini_vit registers it with timm
IMAGENET = "imagenet"  # what --weights calls the weights that a package or timm's hub has
Head = Literal["shared", "whitening"]
Interpolation = Literal["bicubic", "bilinear"]
Crop = Literal["resize", "centre"]
Pooling = Literal["avg", "gem", "cls", "vlad", "layout"]


@dataclass(frozen=True)
class ModelConfig:
    """Structural model."""

    backbone: str = option(MINI_VIT, "any timm model by name")
    stage: NonNegativeInt = option(
        0, "cut the network after this stage; 0: convolutional ones at stride 16, others whole"
    )
    weights: str = option("", "weights to start the backbone from: 'imagenet', or a .safetensors or .pth file")
    head: Head = option("shared", "one head with batch statistics for both kinds, or PCA whitening of the patches")
    dim: PositiveInt = option(128, "numbers of a patch descriptor, C")
    grid: PositiveInt = option(7, "patch descriptors along each side; the features are pooled to grid x grid")
    image_size: PositiveInt = option(112, "input height and width, pixels")
    train_size: NonNegativeInt = option(
        0, "input height and width in training, pixels; the grid shrinks alike. 0 trains at the image size"
    )
    crop: Crop = option(
        "resize",
        "resize: the whole photo, its aspect ratio not kept; centre: the middle of a photo, its shorter side resized "
        "to 256 / 224 of the image size. Training takes random crops of either",
    )
    pooling: Pooling = option(
        "avg",
        "global descriptor from the mean of the features, their generalised mean (p = 3), the class token, VLAD of the "
        "patches, or all patches in place",
    )
    clusters: PositiveInt = option(64, "VLAD clusters")
    global_dim: PositiveInt = option(128, "numbers of a VLAD or layout descriptor after PCA whitening")

    @property
    def summarises(self) -> bool:
        """Whether the global descriptor is made of the patches, by VLAD or the layout."""
        return self.pooling in ("vlad", "layout")

    @property
    def global_length(self) -> int:
        """Numbers of a global descriptor."""
        return self.global_dim if self.summarises else self.dim


@dataclass(frozen=True)
class TeacherConfig:
    """NetVLAD teacher."""

    backbone: str = option("mini", "encoder: 'mini', 'vgg16' to conv5, or any timm network, cut after --stage")
    stage: NonNegativeInt = option(0, "cut a timm network after this stage; 0: at stride 16")
    weights: str = option("", "weights to start the encoder from: 'imagenet', or a .safetensors or .pth file")
    clusters: PositiveInt = option(16, "NetVLAD clusters K")
    dim: PositiveInt = option(128, "descriptor dimensions after PCA whitening")
    image_height: PositiveInt = option(112, "input height, pixels (480 in the literature)")
    image_width: PositiveInt = option(112, "input width, pixels (640 in the literature)")
    interpolation: Interpolation = option(
        "bicubic", "how photos are resized; the checkpoints of Patch-NetVLAD were made with bilinear"
    )


@dataclass(frozen=True)
class HubConfig:
    """Teacher of torch.hub."""

    trust_teacher: bool = option(False, "run the code of a hub: teacher, which may do anything on this machine")
    teacher_size: PositiveInt = option(322, "height and width of the photos for a hub: teacher, pixels")
    teacher_arguments: Names = option(Names(), "arguments of its entry, as name=value,name=value")
