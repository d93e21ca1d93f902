"""Street photos as tensors: decoded, turned upright, resized; an unreadable one is an error that names it."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch.utils.data import Dataset, Subset

from vpr.base.errors import VprError
from vpr.base.packages import install_extra
from vpr.models.settings import Crop, Interpolation

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what sets an image upright, by its EXIF orientation
Size = tuple[int, int]  # height and width, pixels
WIDER = 256 / 224  # of the crop: how the field resizes before it takes the middle
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")  # others may start programs
HEIC = (".heic", ".heif")  # endings of photos that Pillow reads with pillow-heif
UNREADABLE = (OSError, SyntaxError, ValueError, LookupError, struct.error, MemoryError, Image.DecompressionBombError)
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # modes of Pillow for them


class ImageError(VprError):
    """An image file that is missing or cannot be decoded."""

    def __str__(self) -> str:
        """The message; a DataLoader's process puts its traceback in front of it, which is left out."""
        return super().__str__().rpartition("ImageError: ")[2].strip()


def widened(size: Size) -> Size:
    """The height and width of which the middle (height, width) is taken by the crop ``centre``."""
    return round(size[0] * WIDER), round(size[1] * WIDER)


def cut(pixels: np.ndarray, size: Size) -> np.ndarray:
    """The middle (height, width) of an array (h, w, ...)."""
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape, size))
    return pixels[top : top + size[0], left : left + size[1]]


def read_image(path: Path, size: Size, interpolation: Interpolation = "bicubic", crop: Crop = "resize") -> np.ndarray:
    """Decode one image into an array of shape (height, width, 3), uint8 RGB, upright, resized with anti-aliasing.

    ``resize`` does not keep the aspect ratio, as in the MSLS baselines. ``centre`` keeps it: the photo is resized to
    cover `widened` of the size, and the middle of that is taken. Errors and short cuts as `read_whole`.
    """
    if crop == "resize":
        return read_whole(path, size, interpolation)
    return cut(read_whole(path, widened(size), interpolation, middle=True), size)


def read_whole(path: Path, size: Size, interpolation: Interpolation, middle: bool = False) -> np.ndarray:
    """Decode one image, all of it or the largest part in its middle that has the proportions of the size.

    Bicubic takes the decoder's and Pillow's short cuts, which change a value by a few 255ths; bilinear is exact, as
    torchvision resizes. Raises ImageError naming the file.
    """
    return resized(open_image(path, _least(size, interpolation)), size, interpolation, middle)


def opened_whole(image: Image.Image, size: Size, interpolation: Interpolation, middle: bool = False) -> np.ndarray:
    """As `read_whole`, of an image that Pillow has opened and not decoded yet; raises one of `UNREADABLE`."""
    return resized(upright(image, _least(size, interpolation)), size, interpolation, middle)


def _least(size: Size, interpolation: Interpolation) -> tuple[int, int] | None:
    """Width and height that suffice to resize to a height and width; None where all pixels are wanted."""
    height, width = size
    return None if interpolation == "bilinear" else (2 * width, 2 * height)


def fitted(image: Image.Image, size: Size, interpolation: Interpolation, crop: Crop) -> np.ndarray:
    """As `read_image`, of an image in RGB and upright."""
    if crop == "resize":
        return resized(image, size, interpolation)
    return cut(resized(image, widened(size), interpolation, middle=True), size)


def resized(upright: Image.Image, size: Size, interpolation: Interpolation, middle: bool = False) -> np.ndarray:
    """As `read_whole`, of an image in RGB and upright."""
    height, width = size
    box = _middle(upright.size, (width, height)) if middle else None
    if interpolation == "bilinear":
        return np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR, box))
    return np.asarray(upright.resize((width, height), Image.Resampling.BICUBIC, box, reducing_gap=3.0))


def _middle(whole: Size, wanted: Size) -> tuple[float, float, float, float]:
    """The largest rectangle in the middle of a picture that has the proportions wanted: left, top, right, bottom; both
    sizes are (width, height)."""
    scale = min(whole[0] / wanted[0], whole[1] / wanted[1])
    left, top = (max(0.0, (have - scale * want) / 2) for have, want in zip(whole, wanted))
    return left, top, whole[0] - left, whole[1] - top


def open_image(path: Path, least: tuple[int, int] | None = None) -> Image.Image:
    """Decode one image: RGB, upright.

    least: width and height in pixels that suffice, of a JPEG whose decoder may then take short cuts; all pixels without
    it. Raises ImageError naming the file.
    """
    with undamaged(path), Image.open(path, formats=formats_for(path)) as image:
        return upright(image, least)


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Inside, what is wrong with an image file is raised as ImageError, which names it."""
    try:
        yield
    except ImageError:  # a format that needs another package
        raise
    except FileNotFoundError:
        raise ImageError(f"{path} is missing; unpack the image archives again") from None
    except UNREADABLE as error:
        reason = "no image" if isinstance(error, UnidentifiedImageError) else error
        raise ImageError(
            f"{path} cannot be decoded ({reason}); restore it (MSLS: unpack msls_patch_v1.1.zip on top)"
        ) from None


def upright(image: Image.Image, least: tuple[int, int] | None = None) -> Image.Image:
    """An image that Pillow has opened, decoded, in RGB and upright; least as `open_image`."""
    if least is not None:
        image.draft("RGB", least)
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return coloured(image) if turn is None else coloured(image).transpose(turn)


def formats_for(path: Path) -> tuple[str, ...]:
    """The formats that a file may have: `FORMATS`, and HEIC where its ending says so and pillow-heif is there.

    Raises ImageError for a HEIC photo without it.
    """
    if path.suffix.lower() not in HEIC:
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError(f"{path} is HEIC, which needs another package: {install_extra('heic')}") from None
    register_heif_opener()
    return (*FORMATS, "HEIF")


def coloured(image: Image.Image) -> Image.Image:
    """The image in RGB; 16 bits are scaled down, where Pillow would cut them off; what is transparent lies on white,
    where Pillow would show whatever colour is hidden there.

    Raises ValueError for pixels without a known range.
    """
    if image.mode in SIXTEEN_BITS:
        pixels = np.asarray(image)  # uint16, or int32 of mode I
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


class Takes(Protocol):
    """What a model says of the images that it takes."""

    @property
    def input_size(self) -> Size: ...
    @property
    def interpolation(self) -> Interpolation: ...
    @property
    def crop(self) -> Crop: ...


class SizedImages(Protocol):
    """Images by number, and how many there are."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> torch.Tensor: ...


class ImageFiles(Dataset[torch.Tensor]):
    """The images at ``root / paths[i]`` as uint8 tensors (3, height, width), read as `read_image` does.

    keep: hold every decoded image in memory (N * 3 * height * width bytes), for small sets read many times.
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
    def of(cls, root: Path, paths: Sequence[str] | np.ndarray, model: Takes, keep: bool = False) -> "ImageFiles":
        """The images as a model takes them."""
        return cls(root, paths, model.input_size, model.interpolation, model.crop, keep)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.crop == "resize":
            return self.uncut(index)
        pixels = self.uncut(index).permute(1, 2, 0).numpy()
        return torch.from_numpy(cut(pixels, self.size).transpose(2, 0, 1).copy())

    def uncut(self, index: int) -> torch.Tensor:
        """An image with what the crop leaves out around it, (3, height, width) of `widened`; all there is without a
        crop."""
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        path, middle = self.root / self.paths[index], self.crop == "centre"
        pixels = read_whole(path, widened(self.size) if middle else self.size, self.interpolation, middle)
        tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        if self._kept is not None:
            self._kept[index] = tensor
        return tensor


class Tolerant(Dataset[torch.Tensor]):
    """The images of another dataset, black where one cannot be read: ``unreadable`` has what is wrong, by number."""

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


class Uncut(Dataset[torch.Tensor]):
    """The same images with what the crop leaves out: what training takes its random crops from."""

    def __init__(self, images: ImageFiles) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images.uncut(index)


Images = (
    ImageFiles | Tolerant | Uncut | Subset[torch.Tensor]
)  # what is described and trained on: uint8 tensors (3, height, width) by number
