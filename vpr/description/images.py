"""Street photos as tensors: decoded, turned upright, resized; an unreadable one is an error that names it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch.utils.data import Dataset, Subset

from vpr.base.errors import VprError

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what sets an image upright, by its EXIF orientation


class ImageError(VprError):
    """An image file that is missing or cannot be decoded."""

    def __str__(self) -> str:
        """The message; a DataLoader's process puts its traceback in front of it, which is left out."""
        return super().__str__().rpartition("ImageError: ")[2].strip()


def read_image(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Decode one image into an array of shape (height, width, 3), uint8 RGB, upright, bicubic with anti-aliasing.

    The aspect ratio is not kept, as in the MSLS baselines. Raises ImageError naming the file.
    """
    height, width = size
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * width, 2 * height))
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
            upright = image.convert("RGB") if turn is None else image.convert("RGB").transpose(turn)
    except FileNotFoundError:
        raise ImageError(f"{path} is missing; unpack the image archives again") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(
            f"{path} cannot be decoded ({error}); restore it (MSLS: unpack msls_patch_v1.1.zip on top)"
        ) from None
    return np.asarray(upright.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0))


class ImageFiles(Dataset[torch.Tensor]):
    """The images at ``root / paths[i]`` as uint8 tensors (3, height, width).

    keep: hold every decoded image in memory (N * 3 * height * width bytes), for small sets read many times.
    """

    def __init__(
        self, root: Path, paths: Sequence[str] | np.ndarray, size: tuple[int, int], keep: bool = False
    ) -> None:
        self.root, self.paths, self.size = Path(root), paths, size
        self._kept: dict[int, torch.Tensor] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        pixels = read_image(self.root / self.paths[index], self.size)
        tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        if self._kept is not None:
            self._kept[index] = tensor
        return tensor


Images = (
    ImageFiles | Subset[torch.Tensor]
)  # what is described and trained on: uint8 tensors (3, height, width) by number
