"""Image files as tensors by number, to describe and to train on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from vpr.description.images import ImageError, ModelInput, Size, crop_middle, read_uncropped
from vpr.models.settings import Crop, Interpolation


class SizedImages(Protocol):
    """Images by number, and how many there are."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> torch.Tensor: ...


class ImageFiles(Dataset[torch.Tensor]):
    """The images at ``root / paths[i]`` as uint8 tensors (3, height, width), read by `read_image`.

    keep: keep every decoded image in memory (N * 3 * height * width bytes), for small sets that are read many times.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str] | np.ndarray,
        size: Size,
        interpolation: Interpolation = "bicubic",
        crop: Crop = "resize",
        keep: bool = False,
    ) -> None:
        self.root, self.paths, self.size, self.interpolation = Path(root), paths, size, interpolation
        self.crop: Crop = crop
        self._kept: dict[int, torch.Tensor] | None = {} if keep else None

    @classmethod
    def for_model(
        cls, root: Path, paths: Sequence[str] | np.ndarray, model: ModelInput, keep: bool = False
    ) -> "ImageFiles":
        """The images in the form that a model takes."""
        return cls(root, paths, model.input_size, model.interpolation, model.crop, keep)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.crop == "resize":
            return self.read_uncropped(index)
        pixels = self.read_uncropped(index).permute(1, 2, 0).numpy()
        return torch.from_numpy(crop_middle(pixels, self.size).transpose(2, 0, 1).copy())

    def read_uncropped(self, index: int) -> torch.Tensor:
        """An image before the crop: (3, height, width) of `size_before_crop`, or of the size if there is no crop."""
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        pixels = read_uncropped(self.root / self.paths[index], self.size, self.interpolation, self.crop)
        tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        if self._kept is not None:
            self._kept[index] = tensor
        return tensor


class TolerantImages(Dataset[torch.Tensor]):
    """The images of another dataset. One that cannot be read is black, and ``unreadable`` has its error, by number."""

    def __init__(self, images: "SizedImages", size: Size) -> None:
        self.images, self.size, self.unreadable = images, size, dict[int, str]()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        try:
            return self.images[index]
        except ImageError as error:
            self.unreadable[index] = str(error)
            return torch.zeros(3, *self.size, dtype=torch.uint8)


class UncroppedImages(Dataset[torch.Tensor]):
    """The same images before the crop; training takes random crops of them."""

    def __init__(self, images: ImageFiles) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images.read_uncropped(index)


Images = (
    ImageFiles | TolerantImages | UncroppedImages | Subset[torch.Tensor]
)  # uint8 tensors (3, height, width) by number
