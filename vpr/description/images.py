"""Street photos as tensors: decoded, turned upright, resized; an unreadable one is an error that names it."""

import io
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import torch
from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError, features
from torch.utils.data import Dataset, Subset

from vpr.base.errors import VprError
from vpr.base.packages import install_extra
from vpr.base.photo_files import HEAD, MOST_PIXELS, format_of
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
HEIC = (".heic", ".heif", ".hif", ".heics", ".heifs")  # endings of photos that Pillow reads with pillow-heif
UNREADABLE = (
    OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, EOFError,
    AssertionError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
# what decoders raise of files that are damaged
MOST_PROGRESSIVE = 2 * MOST_PIXELS  # of a progressive JPEG, whose decoder holds all of it
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # modes of Pillow for them
DEPTHS = (8, 12, 16)  # bits of grey values that are kept in 16 or 32: of most pictures, of cameras, and of scanners
DARK = 15  # largest value that is left of 12 bits in 16 if the upper 8 are kept
DNG = 50706  # the tag of raw photos
MOST_PAGES = 16  # of a TIFF that are looked at for one that is no thumbnail
FROM_PROCESS = re.compile(r"Caught ImageError in .*^[\w.]*ImageError: (.*)", re.DOTALL | re.MULTILINE)


class ImageError(VprError):
    """An image file that is missing or cannot be decoded."""

    def __init__(self, what: object = "", *, thing: object = "", remedy: str = "") -> None:
        """As `VprError`. A DataLoader raises the error of its process anew, with the traceback in front of the message,
        which is left out."""
        found = FROM_PROCESS.fullmatch(str(what))
        super().__init__(found[1].strip() if found else what, thing=thing, remedy=remedy)


class TooManyPixels(ValueError):
    """An image that is not decoded because of its size."""


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
    cover `widened` of the size, and the middle of that is taken. Short cuts as `uncut`. Raises ImageError naming the
    file.
    """
    whole = read_whole(path, size, interpolation, crop)
    return whole if crop == "resize" else cut(whole, size)


def read_whole(path: Path, size: Size, interpolation: Interpolation, crop: Crop = "resize") -> np.ndarray:
    """As `read_image`, with what the crop leaves out around it, as `uncut`."""
    with undamaged(path), path.open("rb") as file, opened(file, path) as image:
        return uncut(image, size, interpolation, crop)


def read_opened(
    file: IO[bytes] | bytes,
    name: object,
    size: Size,
    interpolation: Interpolation = "bicubic",
    crop: Crop = "resize",
) -> np.ndarray:
    """As `read_image`, of an open file, from its beginning, or of the bytes of one. The file stays open.

    name: what messages call it. Raises ImageError naming it.
    """
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    with undamaged(name):
        stream.seek(0)
        with opened(stream, name) as image:
            whole = uncut(image, size, interpolation, crop)
    return whole if crop == "resize" else cut(whole, size)


def uncut(image: Image.Image, size: Size, interpolation: Interpolation, crop: Crop) -> np.ndarray:
    """The pixels that a crop is cut from, uint8 RGB, of an image that Pillow has opened and not decoded yet.

    ``resize``: all of the image, (height, width, 3). ``centre``: the largest part in its middle with the proportions of
    the size; its height and width are those of `widened`.

    Bicubic takes the decoder's and Pillow's short cuts, which change a value by a few 255ths; bilinear is exact, as
    torchvision resizes. Raises one of `UNREADABLE`.
    """
    middle = crop != "resize"
    size = widened(size) if middle else size
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
    """An image in RGB and upright, all of it or the largest part in its middle that has the proportions of the size."""
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
    with undamaged(path), path.open("rb") as file, opened(file, path) as image:
        return upright(image, least)


@contextmanager
def undamaged(name: object) -> Iterator[None]:
    """Inside, what is wrong with an image file is raised as ImageError, which names it.

    name: what messages call it, a path or another.
    """
    try:
        yield
    except ImageError:  # a format that needs another package
        raise
    except FileNotFoundError:
        raise ImageError(f"{name} is missing", remedy="unpack the image archives again") from None
    except PermissionError:
        raise ImageError(f"{name} may not be read", remedy="check its permissions") from None
    except UNREADABLE as error:
        remedy = "restore it (MSLS: unpack msls_patch_v1.1.zip on top)"
        raise ImageError(f"{name} cannot be decoded ({fault_of(error)})", remedy=remedy) from None


def fault_of(error: BaseException) -> str:
    """What an error of `UNREADABLE` says of an image, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "no image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def opened(file: IO[bytes], name: object, ending: str | None = None) -> Image.Image:
    """An image that is not decoded yet, out of an open file, by what it holds and not by its ending.

    name: what messages call it, a path or another. ending: of the file, by default that of the name. It counts only if
    the first bytes say nothing. Raises ImageError for a format that needs another package, and one of `UNREADABLE`.
    """
    head = file.read(HEAD)
    file.seek(0)
    if format_of(head) == "JPEG":  # past Pillow's limit of pixels, which `upright` keeps
        return JpegImagePlugin.jpeg_factory(file)
    try:
        image = Image.open(file, formats=_formats(head, name, Path(str(name)).suffix if ending is None else ending))
    except Image.DecompressionBombError:
        raise TooManyPixels(f"it has more than {MOST_PIXELS // 10**6} million pixels, save a smaller copy") from None
    if image.format == "HEIF":
        _keep_orientation(image, file)
    return image


def _formats(head: bytes, name: object, ending: str) -> tuple[str, ...]:
    """The formats that a file may have, by its first bytes."""
    kind = format_of(head)
    if kind == "AVIF":
        if not features.check("avif"):
            raise ImageError(f"{name} is AVIF, which this Pillow does not read: pip install -U pillow")
        return ("AVIF",)
    if kind != "HEIF" and (kind is not None or ending.lower() not in HEIC):
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError(f"{name} is HEIC, which needs another package: {install_extra('heic')}") from None
    register_heif_opener()
    return ("HEIF",)


def _keep_orientation(image: Image.Image, file: IO[bytes]) -> None:
    """Have a HEIC photo keep its EXIF orientation if nothing else in it says how it is turned.

    Its decoder turns it as its properties ``irot`` and ``imir`` say, and takes the orientation for done. Some programs
    write the orientation alone.
    """
    orientation = image.info.get("original_orientation")
    if orientation in TURNS and not _has_turns(file):
        image.getexif()[ExifTags.Base.Orientation] = orientation


def _has_turns(file: IO[bytes]) -> bool:
    """Whether the properties of a HEIC file turn it."""
    place = file.tell()
    try:
        file.seek(0)
        while len(head := file.read(8)) == 8:
            size, kind, read = int.from_bytes(head[:4], "big"), head[4:], 8
            if size == 1:  # the size has 8 bytes more
                size, read = int.from_bytes(file.read(8), "big"), 16
            if kind == b"meta":
                content = file.read(size - read if size > read else -1)
                return b"irot" in content or b"imir" in content
            if size < read:
                break
            file.seek(size - read, 1)
        return False
    finally:
        file.seek(place)


def upright(image: Image.Image, least: tuple[int, int] | None = None) -> Image.Image:
    """An image that Pillow has opened, decoded, in RGB and upright; least as `open_image`.

    Raises one of `UNREADABLE`. The orientation is asked for after decoding: the decoder of TIFF turns pictures itself,
    and then says that they are upright.
    """
    choose_page(image)
    shrunk = _shrunk(image, least)
    if shrunk is not None:
        image.draft("RGB", shrunk)
    in_file = bool(getattr(image, "tile", None))  # an image in memory may be of any size
    if image.width * image.height > MOST_PIXELS and in_file:
        raise TooManyPixels(f"it has {image.width * image.height // 10**6} million pixels; save it smaller")
    pixels = coloured(image)
    turn = TURNS.get(_orientation(image))
    return pixels if turn is None else pixels.transpose(turn)


def choose_page(image: Image.Image) -> None:
    """Go to the first page of a TIFF that is a picture, so that the image has its size; other formats stay as they are.

    Raises one of `UNREADABLE`, and ValueError if all it has is a thumbnail, as raw photos have.
    """
    if image.format != "TIFF" or not hasattr(image, "tag_v2"):
        return
    for page in range(1, MOST_PAGES):
        if not _is_thumbnail(image):
            return
        try:
            image.seek(page)
        except EOFError:
            break
    raise ValueError("it is a raw photo, or holds a thumbnail alone; export it as JPEG")


def _is_thumbnail(image: Image.Image) -> bool:
    tags = image.tag_v2  # type: ignore[attr-defined]
    kind = tags.get(ExifTags.Base.NewSubfileType, 0)
    return DNG in tags or (isinstance(kind, int) and bool(kind & 1))


def _shrunk(image: Image.Image, least: tuple[int, int] | None) -> tuple[int, int] | None:
    """Width and height to which a JPEG's decoder may shrink it; None if all pixels are wanted."""
    pixels = image.width * image.height
    if image.format not in ("JPEG", "MPO") or pixels <= MOST_PIXELS:
        return least
    if image.info.get("progressive") and pixels > MOST_PROGRESSIVE:
        raise TooManyPixels(f"it has {pixels // 10**6} million pixels and is progressive; save it smaller")
    scale = 2 ** math.ceil(math.log2(math.sqrt(pixels / MOST_PIXELS)))
    fitting = image.width // scale, image.height // scale
    return fitting if least is None else (min(least[0], fitting[0]), min(least[1], fitting[1]))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 if there is none, or the EXIF is damaged."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except UNREADABLE:
        return 1
    return found if isinstance(found, int) else 1


def coloured(image: Image.Image) -> Image.Image:
    """The image in RGB; more than 8 bits are scaled down, where Pillow would cut them off; what is transparent lies on
    white, where Pillow would show whatever colour is hidden there. Colour profiles are not applied.

    Raises ValueError for pixels without a known range.
    """
    if image.mode in SIXTEEN_BITS:
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is not known; save it with 8 bits")
    deep = _is_deep(image)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        white.alpha_composite(coloured)
        rgb = white.convert("RGB")
    else:
        rgb = image.convert("RGB")
    if deep and 0 < _largest(image) <= DARK:
        raise ValueError("its values fill 12 bits of 16 or fewer, so it would be black; save it with 8 bits")
    return rgb


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Grey pixels (height, width) uint8 of an image of 16 or 32 bits.

    Their range is that of the bits which a TIFF says, from 9 to 15. Otherwise it is the smallest of `DEPTHS` that holds
    all values. With finer guesses the brightness of a photo would depend on its largest value. Raises ValueError for
    values of more than 16 bits.
    """
    tags = getattr(image, "tag_v2", {})
    pixels = np.asarray(image)  # uint16, or int32 of mode I
    low, high = int(pixels.min(initial=0)), int(pixels.max(initial=0))
    if low < 0 or high > 65535:
        raise ValueError("its pixels have more than 16 bits")
    said = tags.get(ExifTags.Base.BitsPerSample)
    known = said[0] if isinstance(said, tuple) and said and 8 < said[0] < 16 else None
    bits = known if known and high < 2**known else next(depth for depth in DEPTHS if high < 2**depth)
    grey = (pixels // 257 if bits == 16 else pixels >> (bits - 8)).astype(np.uint8)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # white is zero, which Pillow minds for 8 bits alone
        grey = 255 - grey
    hidden = image.info.get("transparency")
    return np.where(pixels == hidden, np.uint8(255), grey) if isinstance(hidden, int) else grey


def _is_deep(image: Image.Image) -> bool:
    """Whether an image that is not decoded yet has colours of 16 bits, of which Pillow keeps the upper 8."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()) if len(tile) > 3)


def _largest(image: Image.Image) -> int:
    """The largest value of a colour, of 8 bits."""
    colours = [band for band in image.getbands() if band not in "Aa"]
    return max(int(image.getchannel(band).getextrema()[1]) for band in colours)  # type: ignore[arg-type]


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
        pixels = read_whole(self.root / self.paths[index], self.size, self.interpolation, self.crop)
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
