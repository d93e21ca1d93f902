"""Photos to look at: decoded as for a model, with their proportions kept."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.description.images import HEIC, WIDER, cut, open_image, resized
from vpr.models.settings import Crop

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".jp2", *HEIC)


def read_shown(path: Path, longest: int = 640, crop: Crop = "resize") -> np.ndarray:
    """An upright photo (height, width, 3) uint8 whose longer side is ``longest`` pixels, small ones enlarged.

    crop: of the model that looks at it; of ``centre`` only the square that the model sees is shown.
    Raises ImageError as `read_image`.
    """
    image = open_image(path)
    width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
    whole = resized(image, (height, width), "bicubic")
    side = round(min(whole.shape[:2]) / WIDER)
    return whole if crop == "resize" else cut(whole, (side, side))


def _is_photo(path: Path) -> bool:
    """Whether a file of a folder is a photo by its name; hidden ones, which systems leave beside photos, are not."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


def _files_in(place: Path) -> Iterator[Path]:
    """The files of a folder and of those in it, and of folders that links lead to, each of which is visited once."""
    visited = set[tuple[int, int]]()
    for folder, below, names in os.walk(place, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            below.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        below.sort()
        yield from (Path(folder, name) for name in names)


def photos_in(place: Path) -> list[Path]:
    """The image files of a folder and of those in it, by their endings, sorted; or one file. Links are followed.

    Raises VprError where there are none, or no such folder or file.
    """
    if not place.exists():
        raise VprError(f"no folder or file {place}; check the path")
    if place.is_file():
        return [place]
    found = sorted(path for path in _files_in(place) if _is_photo(path))
    if not found:
        raise VprError(f"{place} holds no photos ({', '.join(ENDINGS)}); check the path")
    return found
