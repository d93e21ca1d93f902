"""Thumbnails as JPEG files in memory, small enough together."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vpr.base.machine import usable_cores
from vpr.base.progress import progress
from vpr.description.images import open_image

SAMPLE = 32  # images whose size tells that of the others


@dataclass(frozen=True)
class Size:
    """How thumbnails are made."""

    pixels: int  # of the longer side
    quality: int  # of JPEG


SIZES = (Size(288, 80), Size(224, 75), Size(176, 70), Size(144, 62), Size(112, 55), Size(88, 45))


def thumbnail(path: Path, size: Size) -> bytes:
    """A photo as a small JPEG, upright, its aspect ratio kept, never enlarged. Raises ImageError naming the file."""
    image = open_image(path, (size.pixels, size.pixels))
    image.thumbnail((size.pixels, size.pixels), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=size.quality, optimize=True)
    return buffer.getvalue()


def next_size(root: Path, files: Sequence[str], budget: int, first: int = 0) -> int:
    """The number of the first of `SIZES`, from ``first`` on, at which all files fit into the budget, in bytes, going by
    some of them; how many sizes there are where none does."""
    if not files:
        return first
    some = [files[number] for number in np.unique(np.linspace(0, len(files) - 1, SAMPLE).astype(int))]
    for number in range(first, len(SIZES)):
        if np.mean([len(thumbnail(root / name, SIZES[number])) for name in some]) * len(files) <= budget:
            return number
    return len(SIZES)


def thumbnails(root: Path, files: Sequence[str], size: Size) -> list[bytes]:
    """Of each file in order; errors as `thumbnail`."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        made = pool.map(lambda name: thumbnail(root / name, size), files)
        return list(progress(made, title="thumbnails", unit="image", total=len(files)))
