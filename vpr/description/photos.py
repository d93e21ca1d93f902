"""Photos for display, and the photo files of a folder."""

import logging
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.base.photo_files import ENDINGS, skipped_text, sort_files
from vpr.description.images import CROP_MARGIN, crop_middle, decode_image, resize_image
from vpr.models.settings import Crop

log = logging.getLogger("vpr")

ENDINGS_NAMED = 10  # extensions to list in the error for a folder without photos


def read_for_display(path: Path, longest: int = 640, crop: Crop = "resize") -> np.ndarray:
    """An upright photo (height, width, 3) uint8 whose longer side is ``longest`` pixels; its aspect ratio is kept.

    crop: that of the model. With ``centre``, only the square that the model sees is returned. Raises ImageError as
    `read_image`.
    """
    image = decode_image(path)
    width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
    whole = resize_image(image, (height, width), "bicubic")
    side = max(1, round(min(whole.shape[:2]) / CROP_MARGIN))
    return whole if crop == "resize" else crop_middle(whole, (side, side))


def find_photo_files(place: Path) -> list[Path]:
    """The photo files of a folder and its subfolders, sorted; or a file itself. Links are followed.

    Hidden files of operating systems are left out. Other files that are not photos are counted in the log. Raises
    VprError if there is no photo, or no such folder or file.
    """
    if not place.exists():
        raise VprError(f"there is no folder or file {place}; check the path")
    if place.is_file():
        return [place]
    photos, others = sort_files(place)
    skipped = skipped_text(others) if others else ""
    if not photos:
        endings = ", ".join(ENDINGS[:ENDINGS_NAMED])
        raise VprError(f"{place} has no photos ({endings}, ...){skipped and f'; {skipped}'}; check the path")
    if skipped:
        log.info("%s: %s", place, skipped)
    return photos
