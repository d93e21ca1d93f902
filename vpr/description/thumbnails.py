"""Thumbnails as JPEG files in memory, of a size that fits a budget."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vpr.base.machine import usable_cores
from vpr.base.progress import progress
from vpr.description.images import decode_image

SAMPLE = 32  # images from which the total size is estimated


@dataclass(frozen=True)
class ThumbnailSize:
    """Size and quality of thumbnails."""

    pixels: int  # of the longer side
    quality: int  # of JPEG


SIZES = (
    ThumbnailSize(288, 80),
    ThumbnailSize(224, 75),
    ThumbnailSize(176, 70),
    ThumbnailSize(144, 62),
    ThumbnailSize(112, 55),
    ThumbnailSize(88, 45),
)


def thumbnail(path: Path, size: ThumbnailSize) -> bytes:
    """A photo as a small JPEG: upright, with its aspect ratio, never enlarged.

    Raises ImageError, which names the file.
    """
    image = decode_image(path, (size.pixels, size.pixels))
    image.thumbnail((size.pixels, size.pixels), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=size.quality, optimize=True)
    return buffer.getvalue()


def fitting_size(root: Path, files: Sequence[str], budget: int, first: int = 0) -> int:
    """The number of the first of `SIZES`, from ``first`` on, with which all files fit into the budget, in bytes.

    The total is estimated from some of them. The result is ``len(SIZES)`` if no size fits.
    """
    if not files:
        return first
    some = [files[number] for number in np.unique(np.linspace(0, len(files) - 1, SAMPLE).astype(int))]
    for number in range(first, len(SIZES)):
        if np.mean([len(thumbnail(root / name, SIZES[number])) for name in some]) * len(files) <= budget:
            return number
    return len(SIZES)


def thumbnails(root: Path, files: Sequence[str], size: ThumbnailSize) -> list[bytes]:
    """The thumbnail of each file, in order; errors as `thumbnail`."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        made = pool.map(lambda name: thumbnail(root / name, size), files)
        return list(progress(made, title="thumbnails", unit="image", total=len(files)))
