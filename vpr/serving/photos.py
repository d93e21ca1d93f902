"""Pictures in and out: an upload is decoded as `Map.locate` decodes a file, photos of the map become thumbnails.

`vpr.serving.decoder` imports this module, so it imports nothing heavy.
"""

import functools
import io
import re
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from vpr.base.photo_files import HEAD, format_of
from vpr.description.images import (
    MOST_PAGES,
    UNREADABLE,
    ImageError,
    ModelInput,
    TooManyPixels,
    choose_page,
    describe_fault,
    open_image,
    resize_uncropped,
)
from vpr.description.thumbnails import ThumbnailSize, thumbnail
from vpr.serving.limits import MOST_JPEG_2000, MOST_PARTS, MOST_SCANS, MOST_SEGMENTS, Refused

MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # of JPEG, without those inside the coded pixels
END, SCAN = 0xD9, 0xDA
STRIPS, TILES = 273, 324  # tags of TIFF: where the parts of the picture are
SIZE = ThumbnailSize(320, 80)  # of a thumbnail
KEPT = 512  # thumbnails in memory
HEIC_KINDS = ("image/heic", "image/heif")


def decoded(data: bytes, name: str, kind: str, model: ModelInput, most_pixels: int) -> np.ndarray:
    """An upload as `Map.locate` takes it, (height, width, 3) uint8: it then answers as it does for the same file.

    What the upload holds decides how it is decoded, not its name. Raises Refused for a photo of more pixels, which its
    header says before anything is decoded, and for what is no photo, is cut short, or takes decoders too long. Raises
    MemoryError for what needs more memory than the process may take.
    """
    if not data:
        raise Refused(400, "the upload is empty; choose a photo")
    if not _is_quick(data):
        raise Refused(422, "the photo has more parts than any camera writes; save it anew")
    try:
        ending = ".heic" if kind in HEIC_KINDS else Path(name).suffix
        with open_image(io.BytesIO(data), "the photo", ending) as image:
            choose_page(image)
            most = min(most_pixels, MOST_JPEG_2000) if image.format == "JPEG2000" else most_pixels
            if image.width * image.height > most:
                raise _too_many(most)
            return resize_uncropped(image, model.input_size, model.interpolation, model.crop)
    except (Image.DecompressionBombError, TooManyPixels):
        raise _too_many(most_pixels) from None
    except ImageError as error:  # a format that needs another package
        raise Refused(415, str(error)) from None
    except Image.UnidentifiedImageError:
        raise Refused(
            415, "that is no photo that can be read; send JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF or JPEG 2000"
        ) from None
    except MemoryError:
        raise
    except UNREADABLE as error:
        fault = describe_fault(error)
        raise Refused(422, f"the photo cannot be decoded ({fault}); it is damaged or cut short") from None


def _too_many(most: int) -> Refused:
    return Refused(413, f"the photo has more than {most / 1e6:g} million pixels; send a smaller copy")


def _is_quick(data: bytes) -> bool:
    """Whether a photo has a usual number of parts, each of which takes its decoder some time."""
    checks = {"JPEG": _is_quick_jpeg, "PNG": _is_quick_png, "TIFF": _is_quick_tiff}
    check = checks.get(format_of(data[:HEAD]) or "")
    return check is None or check(data)


def _is_quick_jpeg(data: bytes) -> bool:
    """By its segments and scans: a scan goes over all pixels, and a few bytes are enough for one."""
    scans, place = 0, 0
    for _ in range(MOST_SEGMENTS):
        found = MARKER.search(data, place)
        if found is None or data[found.end() - 1] == END:
            return scans <= MOST_SCANS
        scans += data[found.end() - 1] == SCAN
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return False


def _is_quick_png(data: bytes) -> bool:
    """By its chunks."""
    place = 8
    for _ in range(MOST_PARTS):
        if place + 8 > len(data):
            return True
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return False


def _is_quick_tiff(data: bytes) -> bool:
    """By the tags, strips and tiles of the pages that `choose_page` looks at.

    A BigTIFF has 43 in its header, as two bytes. Pillow looks at the first of them only, and libtiff at both.
    """
    order, magic = ("<" if data[:2] == b"II" else ">"), data[2:4]
    return all(_has_few_parts(data, order, big) for big in {magic[:1] == b"+", b"+" in magic})


def _has_few_parts(data: bytes, order: str, big: bool) -> bool:
    """Whether a TIFF has a usual number of parts; true if it is damaged, which its decoder finds.

    order: ``<`` or ``>``, as for `struct`. big: whether numbers have 64 bits.
    """
    where, count_of, entry = (order + kind for kind in (("Q", "Q", "HHQ") if big else ("L", "H", "HHL")))
    start, size, left = (8, 20, MOST_PARTS) if big else (4, 12, MOST_PARTS)
    try:
        for _ in range(MOST_PAGES):
            (place,) = struct.unpack_from(where, data, start)
            if not place:
                return True
            (entries,) = struct.unpack_from(count_of, data, place)
            left -= entries  # tags of all pages together
            if left < 0:
                return False
            first = place + struct.calcsize(count_of)
            start = first + entries * size  # the place of the next page
            for at in range(first, start, size):
                tag, _, count = struct.unpack_from(entry, data, at)
                if tag in (STRIPS, TILES) and count > MOST_PARTS:
                    return False
        return True
    except (struct.error, OverflowError):
        return True


def picture_of(path: Path) -> bytes:
    """A small JPEG of a photo of the map; raises ImageError where it is gone or cannot be decoded."""
    try:
        return _picture(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror})") from None


@functools.lru_cache(maxsize=KEPT)
def _picture(path: Path, changed: int) -> bytes:
    """``changed``: when the file was, so that another one in its place is another thumbnail."""
    return thumbnail(path, SIZE)
