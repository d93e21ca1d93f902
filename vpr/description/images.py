"""Image files as arrays: decoded, turned upright, resized. A file that cannot be read is an error that names it.

The processes that decode for the service import this module, so it imports no torch.
"""

import io
import math
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError, features

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
}  # the operation that turns an image upright, by its EXIF orientation
Size = tuple[int, int]  # height and width, pixels
CROP_MARGIN = 256 / 224  # size before the crop ``centre``, relative to the size after it; the usual value
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "TIFF",
    "BMP",
    "GIF",
    "PPM",
    "JPEG2000",
    "DIB",
)  # decoders of other formats may start programs
HEIC = (".heic", ".heif", ".hif", ".heics", ".heifs")  # extensions of photos that Pillow reads with pillow-heif
# The errors of decoders for damaged files.
UNREADABLE = (
    OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, EOFError,
    AssertionError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
MOST_PROGRESSIVE = 2 * MOST_PIXELS  # of a progressive JPEG, because its decoder holds the whole image in memory
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow's modes for 16 bits
BIT_DEPTHS = (8, 12, 16)  # true bits of grey values stored in 16 or 32: of most pictures, of cameras, of scanners
DARK_LIMIT = 15  # largest upper byte of a value that uses 12 of 16 bits
IMAGEMAGICK_EXIF = "Raw profile type APP1"  # the text of a PNG in which ImageMagick keeps the EXIF of a JPEG
DNG = 50706  # the tag of raw photos
MOST_PAGES = 16  # pages of a TIFF to search for one that is not a thumbnail
FROM_PROCESS = re.compile(r"Caught ImageError in .*^[\w.]*ImageError: (.*)", re.DOTALL | re.MULTILINE)


class ImageError(VprError):
    """An image file that is missing or cannot be decoded."""

    def __init__(self, what: object = "", *, thing: object = "", remedy: str = "") -> None:
        """As `VprError`, without the traceback that a DataLoader puts in front of the message of a worker process."""
        from_worker = FROM_PROCESS.fullmatch(str(what))
        super().__init__(from_worker[1].strip() if from_worker else what, thing=thing, remedy=remedy)


class TooManyPixels(ValueError):
    """An image that is not decoded because of its size."""


def size_before_crop(size: Size) -> Size:
    """The height and width to which a photo is resized before the crop ``centre`` takes its middle (height, width)."""
    return round(size[0] * CROP_MARGIN), round(size[1] * CROP_MARGIN)


def crop_middle(pixels: np.ndarray, size: Size) -> np.ndarray:
    """The middle (height, width) of an array (h, w, ...)."""
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape, size))
    return pixels[top : top + size[0], left : left + size[1]]


def read_image(path: Path, size: Size, interpolation: Interpolation = "bicubic", crop: Crop = "resize") -> np.ndarray:
    """Decode one image into an array of shape (height, width, 3), uint8 RGB, upright, resized with anti-aliasing.

    ``resize`` does not keep the aspect ratio, as in the MSLS baselines. ``centre`` keeps it: the photo is resized so
    that it covers `size_before_crop`, and the middle is cut out. Shortcuts as in `resize_uncropped`. Raises ImageError,
    which names the file.
    """
    whole = read_uncropped(path, size, interpolation, crop)
    return whole if crop == "resize" else crop_middle(whole, size)


def read_uncropped(path: Path, size: Size, interpolation: Interpolation, crop: Crop = "resize") -> np.ndarray:
    """As `read_image`, but before the crop; see `resize_uncropped`."""
    with convert_image_errors(path), path.open("rb") as file, open_image(file, path) as image:
        return resize_uncropped(image, size, interpolation, crop)


def read_stream(
    file: IO[bytes] | bytes,
    name: object,
    size: Size,
    interpolation: Interpolation = "bicubic",
    crop: Crop = "resize",
) -> np.ndarray:
    """As `read_image`, for an open file, which is read from its beginning and stays open, or for the bytes of a file.

    name: the name for error messages. Raises ImageError with this name.
    """
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    with convert_image_errors(name):
        stream.seek(0)
        with open_image(stream, name) as image:
            whole = resize_uncropped(image, size, interpolation, crop)
    return whole if crop == "resize" else crop_middle(whole, size)


def resize_uncropped(image: Image.Image, size: Size, interpolation: Interpolation, crop: Crop) -> np.ndarray:
    """The pixels before the crop, uint8 RGB, of an image that Pillow has opened but not decoded yet.

    ``resize``: the whole image, (height, width, 3). ``centre``: the largest part in its middle that has the aspect
    ratio of the size, resized to `size_before_crop`.

    Bicubic resizing uses shortcuts of the decoder and of Pillow, which change a value by a few 255ths. Bilinear
    resizing is exact, as torchvision's. Raises one of `UNREADABLE`.
    """
    middle = crop != "resize"
    size = size_before_crop(size) if middle else size
    return resize_image(decode_upright(image, _sufficient_size(size, interpolation)), size, interpolation, middle)


def _sufficient_size(size: Size, interpolation: Interpolation) -> tuple[int, int] | None:
    """The width and height that suffice to resize an image to ``size``; None if all pixels are needed."""
    height, width = size
    return None if interpolation == "bilinear" else (2 * width, 2 * height)


def fit_image(image: Image.Image, size: Size, interpolation: Interpolation, crop: Crop) -> np.ndarray:
    """As `read_image`, for an image that is already in RGB and upright."""
    if crop == "resize":
        return resize_image(image, size, interpolation)
    return crop_middle(resize_image(image, size_before_crop(size), interpolation, middle=True), size)


def resize_image(upright: Image.Image, size: Size, interpolation: Interpolation, middle: bool = False) -> np.ndarray:
    """An upright RGB image resized to (height, width, 3).

    middle: take the largest part in the middle that has the aspect ratio of the size, instead of the whole image.
    """
    height, width = size
    box = _middle_box(upright.size, (width, height)) if middle else None
    if interpolation == "bilinear":
        return np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR, box))
    return np.asarray(upright.resize((width, height), Image.Resampling.BICUBIC, box, reducing_gap=3.0))


def _middle_box(whole: Size, wanted: Size) -> tuple[float, float, float, float]:
    """The largest rectangle in the middle of an image with the wanted aspect ratio: left, top, right, bottom.

    Both sizes are (width, height).
    """
    scale = min(whole[0] / wanted[0], whole[1] / wanted[1])
    left, top = (max(0.0, (have - scale * want) / 2) for have, want in zip(whole, wanted))
    return left, top, whole[0] - left, whole[1] - top


def decode_image(path: Path, least: tuple[int, int] | None = None) -> Image.Image:
    """Decode one image file: RGB, upright.

    least: width and height in pixels that suffice; the decoder of JPEG may then use shortcuts. None: all pixels. Raises
    ImageError, which names the file.
    """
    with convert_image_errors(path), path.open("rb") as file, open_image(file, path) as image:
        return decode_upright(image, least)


@contextmanager
def convert_image_errors(name: object) -> Iterator[None]:
    """Convert the errors of opening and decoding an image file into ImageError.

    name: the path, or another name for error messages.
    """
    try:
        yield
    except ImageError:  # a format that needs another package
        raise
    except FileNotFoundError:
        raise ImageError(f"{name} is missing", remedy="restore it (MSLS: unpack the image archives again)") from None
    except PermissionError:
        raise ImageError(f"{name} may not be read", remedy="check its permissions") from None
    except UNREADABLE as error:
        remedy = "restore it (MSLS: unpack msls_patch_v1.1.zip on top)"
        raise ImageError(f"{name} cannot be decoded ({describe_fault(error)})", remedy=remedy) from None


def describe_fault(error: BaseException) -> str:
    """The message of an error of `UNREADABLE` in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "no image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def open_image(file: IO[bytes], name: object, ending: str | None = None) -> Image.Image:
    """Open an image file without decoding it. The format is recognised by the content.

    name: the path, or another name for error messages. ending: the extension, by default that of the name; it is used
    only if the first bytes do not show the format. Raises ImageError for a format that needs another package, and one
    of `UNREADABLE`.
    """
    head = file.read(HEAD)
    file.seek(0)
    if format_of(head) == "JPEG":  # without Pillow's limit of pixels; `decode_upright` has its own
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
    """Restore the EXIF orientation of a HEIC photo that has no other information about its orientation.

    The decoder turns the photo by its properties ``irot`` and ``imir`` and then resets the EXIF orientation. Some
    programs write the EXIF orientation only.
    """
    orientation = image.info.get("original_orientation")
    if orientation in TURNS and not _has_turns(file):
        image.getexif()[ExifTags.Base.Orientation] = orientation


def _has_turns(file: IO[bytes]) -> bool:
    """Whether a HEIC file has the properties that turn it."""
    place = file.tell()
    try:
        file.seek(0)
        while len(head := file.read(8)) == 8:
            size, kind, read = int.from_bytes(head[:4], "big"), head[4:], 8
            if size == 1:  # the size follows, in 8 more bytes
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


def decode_upright(image: Image.Image, least: tuple[int, int] | None = None) -> Image.Image:
    """Decode an image that Pillow has opened: RGB, upright. least: as for `decode_image`.

    Raises one of `UNREADABLE`. The orientation is read after decoding, because the decoder of TIFF turns images itself
    and then resets it.
    """
    choose_page(image)
    shrunk = _draft_size(image, least)
    if shrunk is not None:
        image.draft("RGB", shrunk)
    in_file = bool(getattr(image, "tile", None))  # an image in memory may be of any size
    if image.width * image.height > MOST_PIXELS and in_file:
        raise TooManyPixels(f"it has {image.width * image.height // 10**6} million pixels; save it smaller")
    pixels = convert_to_rgb(image)
    turn = TURNS.get(_orientation(image))
    return pixels if turn is None else pixels.transpose(turn)


def choose_page(image: Image.Image) -> None:
    """Go to the first page of a TIFF that is not a thumbnail; other formats are left as they are.

    Raises one of `UNREADABLE`, and ValueError if there are only thumbnails, as in raw photos.
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
    raise ValueError("it is a raw photo, or contains only a thumbnail; export it as JPEG")


def _is_thumbnail(image: Image.Image) -> bool:
    tags = image.tag_v2  # type: ignore[attr-defined]
    kind = tags.get(ExifTags.Base.NewSubfileType, 0)
    return DNG in tags or (isinstance(kind, int) and bool(kind & 1))


def _draft_size(image: Image.Image, least: tuple[int, int] | None) -> tuple[int, int] | None:
    """The width and height to which the decoder may shrink a JPEG; None if all pixels are needed."""
    pixels = image.width * image.height
    if image.format not in ("JPEG", "MPO") or pixels <= MOST_PIXELS:
        return least
    if image.info.get("progressive") and pixels > MOST_PROGRESSIVE:
        raise TooManyPixels(f"it has {pixels // 10**6} million pixels and is progressive; save it smaller")
    scale = 2 ** math.ceil(math.log2(math.sqrt(pixels / MOST_PIXELS)))
    fitting = image.width // scale, image.height // scale
    return fitting if least is None else (min(least[0], fitting[0]), min(least[1], fitting[1]))


def exif_of(image: Image.Image) -> Image.Exif:
    """The EXIF of an image; raises one of `UNREADABLE` if it is damaged."""
    profile = image.info.get(IMAGEMAGICK_EXIF)
    if image.format == "PNG" and isinstance(profile, str) and not {"exif", "Raw profile type exif"} & image.info.keys():
        exif = Image.Exif()
        exif.load(bytes.fromhex("".join(profile.split("\n")[3:])))
        return exif
    return image.getexif()


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 if there is none, or the EXIF is damaged."""
    try:
        orientation = exif_of(image).get(ExifTags.Base.Orientation, 1)
    except UNREADABLE:
        return 1
    return orientation if isinstance(orientation, int) else 1


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB with 8 bits. Transparent parts become white. Colour profiles are not applied.

    Values of more than 8 bits are scaled; Pillow would clip grey ones. Raises ValueError for pixels whose range is not
    known.
    """
    if image.mode in SIXTEEN_BITS:
        return Image.fromarray(_to_eight_bits(image)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is not known; save it with 8 bits")
    deep, file = _is_deep(image), getattr(image, "fp", None)  # Pillow closes the file after decoding if it opened it
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        white = Image.new("RGBA", overlay.size, "white")
        white.alpha_composite(overlay)
        rgb = white.convert("RGB")
    else:
        rgb = image.convert("RGB")
    return _brighten(image, file) if deep and _largest_value(image) <= DARK_LIMIT else rgb


def _brighten(image: Image.Image, file: IO[bytes] | None) -> Image.Image:
    """A decoded image of 16 bits whose values fill 12 or 8 of them, in RGB with 8 bits.

    Pillow has kept the upper 8 bits; the others are read from the file. Raises ValueError if that is not possible.
    """
    name = getattr(image, "filename", "")
    if image.mode != "RGB" or file is None or (file.closed and not name):
        if _largest_value(image):
            raise ValueError("its values fill 12 bits of 16 or fewer, so it would be black; save it with 8 bits")
        return image.convert("RGB")
    lower = Image.open(name if file.closed else file, formats=[str(image.format)])
    lower.seek(image.tell())
    tiles = [(*tile[:3], _other_bytes(tile[3])) for tile in lower.tile]
    # plain tuples before Pillow 11
    lower.tile = [tile if type(old) is tuple else type(old)(*tile) for tile, old in zip(tiles, lower.tile)]  # type: ignore[misc]
    values = np.asarray(image).astype(np.uint16) * 256 + np.asarray(lower)
    bits = next(depth for depth in BIT_DEPTHS if int(values.max(initial=0)) < 2**depth)
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def _other_bytes(arguments: Any) -> Any:
    """The arguments of a decoder that keeps the upper byte of each value, for the lower byte: the order is swapped."""
    if not isinstance(arguments, str):
        return (_other_bytes(arguments[0]), *arguments[1:])
    order = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    return arguments[:-1] + order[arguments[-1]]


def _to_eight_bits(image: Image.Image) -> np.ndarray:
    """Grey pixels (height, width) uint8 of an image of 16 or 32 bits.

    The number of bits is that in the tags of a TIFF, from 9 to 15. Otherwise it is the smallest of `BIT_DEPTHS` that
    holds all values: with more choices, the brightness of a photo would depend on its largest value. Raises ValueError
    for values of more than 16 bits.
    """
    tags = getattr(image, "tag_v2", {})
    pixels = np.asarray(image)  # uint16, or int32 of mode I
    low, high = int(pixels.min(initial=0)), int(pixels.max(initial=0))
    if low < 0 or high > 65535:
        raise ValueError("its pixels have more than 16 bits")
    tag = tags.get(ExifTags.Base.BitsPerSample)
    tagged = tag[0] if isinstance(tag, tuple) and tag and 8 < tag[0] < 16 else None
    bits = tagged if tagged and high < 2**tagged else next(depth for depth in BIT_DEPTHS if high < 2**depth)
    grey = (pixels // 257 if bits == 16 else pixels >> (bits - 8)).astype(np.uint8)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # white is zero; Pillow handles this for 8 bits only
        grey = 255 - grey
    transparent = image.info.get("transparency")
    return np.where(pixels == transparent, np.uint8(255), grey) if isinstance(transparent, int) else grey


def _is_deep(image: Image.Image) -> bool:
    """Whether an image that is not decoded yet has colours of 16 bits; Pillow keeps the upper 8."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()) if len(tile) > 3)


def _largest_value(image: Image.Image) -> int:
    """The largest value of all colour channels, from 0 to 255."""
    colours = [band for band in image.getbands() if band not in "Aa"]
    return max(int(image.getchannel(band).getextrema()[1]) for band in colours)  # type: ignore[arg-type]


class ModelInput(Protocol):
    """The input images of a model."""

    @property
    def input_size(self) -> Size: ...
    @property
    def interpolation(self) -> Interpolation: ...
    @property
    def crop(self) -> Crop: ...
