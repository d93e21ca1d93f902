"""Settings of the networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

from vpr.base.settings import Names, NonNegativeInt, PositiveInt, option

MINI_VIT = "vit_mini_patch16_112"  # the default backbone; vpr.models.mini_vit registers it with timm
IMAGENET = "imagenet"  # value of --weights for the weights of a package or of timm's hub
Head = Literal["shared", "whitening"]
Interpolation = Literal["bicubic", "bilinear"]
Crop = Literal["resize", "centre"]
Pooling = Literal["avg", "gem", "cls", "vlad", "layout"]
RUN = (
    "run folder of the structural model, 'builtin', a published model (megaloc, salad, ...), hub:... or timm:NAME; "
    "each may end in @SIZExGRID, for example builtin@224x14: input size, pixels, and patches per side"
)
TRUST = "run the code of others that --run names, of a published model or hub:...; it can do anything on this machine"


class DescriptionConfig(Protocol):
    """The settings of a model that photos are described by."""

    @property
    def head(self) -> Head:
        """``whitening`` if descriptors are adapted to a database."""
        ...

    @property
    def dim(self) -> int:
        """Length of a patch descriptor."""
        ...

    @property
    def grid(self) -> int:
        """Patch descriptors per side."""
        ...

    @property
    def global_length(self) -> int:
        """Length of a global descriptor."""
        ...

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input images, pixels."""
        ...

    @property
    def interpolation(self) -> Interpolation:
        """The interpolation of resized images."""
        ...

    @property
    def crop(self) -> Crop:
        """The part of a photo that the model sees."""
        ...


@dataclass(frozen=True)
class ModelConfig:
    """Structural model."""

    backbone: str = option(MINI_VIT, "name of a timm model")
    stage: NonNegativeInt = option(
        0,
        "last stage of the network that is used, for example 3 for layer3 of a ResNet; 0: the last one with a stride "
        "of at most 16 pixels in convolutional networks, all stages of others",
    )
    weights: str = option(
        "", "initial weights of the backbone: 'imagenet', or a .safetensors or .pth file; random if empty"
    )
    head: Head = option(
        "shared",
        "shared: one head with batch normalisation for both kinds of descriptors; whitening: PCA of patches",
    )
    dim: PositiveInt = option(128, "length of a patch descriptor")
    grid: PositiveInt = option(7, "patch descriptors per side; the features are pooled to grid x grid")
    image_size: PositiveInt = option(112, "input height and width, pixels")
    train_size: NonNegativeInt = option(
        0, "input height and width in training, pixels; the grid shrinks in proportion; 0: --image-size"
    )
    crop: Crop = option(
        "resize",
        "resize: the whole photo, without keeping its aspect ratio; centre: the middle of a photo whose shorter side "
        "is resized to 256 / 224 of the image size. Training uses random crops of either",
    )
    pooling: Pooling = option(
        "avg",
        "global descriptor from: the mean of the features (avg), their generalised mean with p = 3 (gem), the class "
        "token (cls), VLAD of the patches (vlad), or all patch descriptors in a row (layout)",
    )
    clusters: PositiveInt = option(64, "number of VLAD clusters")
    global_dim: PositiveInt = option(128, "length of a VLAD or layout descriptor after PCA whitening")
    patch_weights: bool = option(
        False, "after the training, also learn how much each patch counts, for the marginals 'learnt'"
    )

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input images, pixels."""
        return self.image_size, self.image_size

    @property
    def interpolation(self) -> Interpolation:
        """The interpolation of resized images."""
        return "bicubic"

    @property
    def uses_summary(self) -> bool:
        """Whether the global descriptor is a summary of the patches: VLAD or the layout."""
        return self.pooling in ("vlad", "layout")

    @property
    def global_length(self) -> int:
        """Length of a global descriptor."""
        return self.global_dim if self.uses_summary else self.dim

    def resized(self, size: int, grid: int = 0) -> ModelConfig:
        """These settings for another input size, pixels, and grid; with 0 a patch keeps its size in pixels."""
        return replace(self, image_size=size, grid=grid or max(1, round(self.grid * size / self.image_size)))


@dataclass(frozen=True)
class TeacherConfig:
    """NetVLAD teacher."""

    backbone: str = option("mini", "encoder: 'mini', 'vgg16' (to conv5), or a timm network, up to --stage")
    stage: NonNegativeInt = option(
        0, "last stage of a timm network that is used; 0: the last one with a stride of at most 16 pixels"
    )
    weights: str = option(
        "", "initial weights of the encoder: 'imagenet', or a .safetensors or .pth file; random if empty"
    )
    clusters: PositiveInt = option(16, "number of NetVLAD clusters")
    dim: PositiveInt = option(128, "length of a descriptor after PCA whitening")
    image_height: PositiveInt = option(112, "input height, pixels (480 in the literature)")
    image_width: PositiveInt = option(112, "input width, pixels (640 in the literature)")
    interpolation: Interpolation = option(
        "bicubic", "interpolation of resized photos; the checkpoints of Patch-NetVLAD need bilinear"
    )


@dataclass(frozen=True)
class HubOptions:
    """Teacher of torch.hub."""

    trust: bool = option(
        False, "run the code of others that --teacher names, of a published model or hub:...; it can do anything on "
        "this machine",
    )  # fmt: skip
    trust_teacher: bool = option(False, "the same as --trust, by its older name")
    teacher_size: PositiveInt | None = option(
        None, "input height and width of such a teacher, pixels; default: that of the published model, 322 for others"
    )
    teacher_arguments: Names = option(Names(), "arguments of the function in hubconf.py, as name=value,name=value")
