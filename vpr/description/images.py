"""Street photos as tensors: decoded, turned upright, resized; an unreadable one is an error that names it."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch.utils.data import Dataset, Subset

from vpr.base.errors import VprError
from vpr.models.settings import Interpolation

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what sets an image upright, by its EXIF orientation
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")  # others may start programs
HEIC = (".heic", ".heif")  # endings of photos that Pillow reads with pillow-heif
UNREADABLE = (OSError, SyntaxError, ValueError, LookupError, struct.error, MemoryError, Image.DecompressionBombError)
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # modes of Pillow for them


class ImageError(VprError):
    """An image file that is missing or cannot be decoded."""

    def __str__(self) -> str:
        """The message; a DataLoader's process puts its traceback in front of it, which is left out."""
        return super().__str__().rpartition("ImageError: ")[2].strip()


def read_image(path: Path, size: tuple[int, int], interpolation: Interpolation = "bicubic") -> np.ndarray:
    """Decode one image into an array of shape (height, width, 3), uint8 RGB, upright, resized with anti-aliasing.

    The aspect ratio is not kept, as in the MSLS baselines. Bicubic takes the decoder's and Pillow's short cuts, which
    change a value by a few 255ths; bilinear is exact, as torchvision resizes. Raises ImageError naming the file.
    """
    height, width = size
    if interpolation == "bilinear":
        return np.asarray(open_image(path).resize((width, height), Image.Resampling.BILINEAR))
    upright = open_image(path, (2 * width, 2 * height))
    return np.asarray(upright.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0))


def open_image(path: Path, least: tuple[int, int] | None = None) -> Image.Image:
    """Decode one image: RGB, upright.

    least: width and height in pixels that suffice, of a JPEG whose decoder may then take short cuts; all pixels without
    it. Raises ImageError naming the file.
    """
    try:
        with Image.open(path, formats=formats_for(path)) as image:
            if least is not None:
                image.draft("RGB", least)
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
            return coloured(image) if turn is None else coloured(image).transpose(turn)
    except FileNotFoundError:
        raise ImageError(f"{path} is missing; unpack the image archives again") from None
    except UNREADABLE as error:
        reason = "no image" if isinstance(error, UnidentifiedImageError) else error
        raise ImageError(
            f"{path} cannot be decoded ({reason}); restore it (MSLS: unpack msls_patch_v1.1.zip on top)"
        ) from None


def formats_for(path: Path) -> tuple[str, ...]:
    """The formats that a file may have: `FORMATS`, and HEIC where its ending says so and pillow-heif is there.

    Raises ImageError for a HEIC photo without it.
    """
    if path.suffix.lower() not in HEIC:
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError(f"{path} is HEIC, which needs another package: pip install vpr[heic]") from None
    register_heif_opener()
    return (*FORMATS, "HEIF")


def coloured(image: Image.Image) -> Image.Image:
    """The image in RGB; 16 bits are scaled down, where Pillow would cut them off; what is transparent lies on white,
    where Pillow would show whatever colour is hidden there.

    Raises ValueError for pixels without a known range.
    """
    if image.mode in SIXTEEN_BITS:
        pixels = np.asarray(image, np.int64)
        if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 65535:
            raise ValueError("its pixels have more than 16 bits")
        return Image.fromarray((pixels // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is not known; save it with 8 bits")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        white.alpha_composite(coloured)
        return white.convert("RGB")
    return image.convert("RGB")


class ImageFiles(Dataset[torch.Tensor]):
    """The images at ``root / paths[i]`` as uint8 tensors (3, height, width).

    keep: hold every decoded image in memory (N * 3 * height * width bytes), for small sets read many times.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str] | np.ndarray,
        size: tuple[int, int],
        interpolation: Interpolation = "bicubic",
        keep: bool = False,
    ) -> None:
        self.root, self.paths, self.size, self.interpolation = Path(root), paths, size, interpolation
        self._kept: dict[int, torch.Tensor] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        pixels = read_image(self.root / self.paths[index], self.size, self.interpolation)
        tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        if self._kept is not None:
            self._kept[index] = tensor
        return tensor


Images = (
    ImageFiles | Subset[torch.Tensor]
)  # what is described and trained on: uint8 tensors (3, height, width) by number
