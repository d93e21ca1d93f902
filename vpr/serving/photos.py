"""Pictures in and out: an upload is decoded as `Map.locate` decodes a file, photos of the map become thumbnails."""

import functools
import io
import re
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from vpr.description.images import (
    UNREADABLE,
    ImageError,
    Takes,
    formats_for,
    opened_whole,
    widened,
)
from vpr.description.thumbnails import Size, thumbnail
from vpr.serving.limits import Refused

MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # of JPEG, without those inside the coded pixels
START, END, SCAN = b"\xff\xd8", 0xD9, 0xDA
MOST_SCANS = 100  # of a JPEG; cameras and programs write 1 to 12
MOST_SEGMENTS = 10_000
SIZE = Size(320, 80)  # of a thumbnail
KEPT = 512  # thumbnails in memory
HEIC_KINDS = ("image/heic", "image/heif")


def decoded(file: IO[bytes], name: str, kind: str, model: Takes, most_pixels: int) -> np.ndarray:
    """An upload as `Map.locate` takes it, (height, width, 3) uint8: it then answers as it does for the same file.

    Raises Refused for a photo of more pixels, which its header says before anything is decoded, and for what is no
    photo, is cut short, or takes decoders too long.
    """
    data = file.read()
    if not data:
        raise Refused(400, "the upload is empty; choose a photo")
    if data.startswith(START) and not _is_quick(data):
        raise Refused(422, "the JPEG has more parts than any camera writes; save it anew")
    try:
        formats = formats_for(Path("photo.heic" if kind in HEIC_KINDS else name))
        with Image.open(io.BytesIO(data), formats=formats) as image:
            if image.width * image.height > most_pixels:
                raise _too_many(most_pixels)
            middle = model.crop != "resize"
            size = widened(model.input_size) if middle else model.input_size
            return opened_whole(image, size, model.interpolation, middle)
    except Image.DecompressionBombError:
        raise _too_many(most_pixels) from None
    except ImageError as error:  # HEIC without the package for it
        raise Refused(415, str(error).replace("photo.heic", "the photo")) from None
    except Image.UnidentifiedImageError:
        raise Refused(
            415, "that is no photo that can be read; send JPEG, PNG, WebP, TIFF, BMP, GIF or JPEG 2000"
        ) from None
    except UNREADABLE as error:
        raise Refused(422, f"the photo cannot be decoded ({error}); it is damaged or cut short") from None


def _too_many(most: int) -> Refused:
    return Refused(413, f"the photo has more than {most / 1e6:g} million pixels; send a smaller copy")


def _is_quick(data: bytes) -> bool:
    """Whether a JPEG has a usual number of segments and scans.

    A scan goes over all pixels, and a few bytes are enough for one.
    """
    scans, place = 0, 0
    for _ in range(MOST_SEGMENTS):
        found = MARKER.search(data, place)
        if found is None or data[found.end() - 1] == END:
            return scans <= MOST_SCANS
        scans += data[found.end() - 1] == SCAN
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return False


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
