"""Photos to look at: decoded as for a model, with their proportions kept."""

import logging
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.base.photo_files import ENDINGS, passed_over, photos_and_others
from vpr.description.images import WIDER, cut, open_image, resized
from vpr.models.settings import Crop

log = logging.getLogger("vpr")

NAMED = 10  # endings that are named where a folder holds no photo


def read_shown(path: Path, longest: int = 640, crop: Crop = "resize") -> np.ndarray:
    """An upright photo (height, width, 3) uint8 whose longer side is ``longest`` pixels, small ones enlarged.

    crop: of the model that looks at it; of ``centre`` only the square that the model sees is shown.
    Raises ImageError as `read_image`.
    """
    image = open_image(path)
    width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
    whole = resized(image, (height, width), "bicubic")
    side = max(1, round(min(whole.shape[:2]) / WIDER))
    return whole if crop == "resize" else cut(whole, (side, side))


def photos_in(place: Path) -> list[Path]:
    """The image files of a folder and of those in it, by their endings, sorted; or one file. Links are followed.

    What systems keep beside photos is left out; other files that are no photos are counted in the log. Raises VprError
    where there are none, or no such folder or file.
    """
    if not place.exists():
        raise VprError(f"no folder or file {place}; check the path")
    if place.is_file():
        return [place]
    found, others = photos_and_others(place)
    said = f"; {passed_over(others)}" if others else ""
    if not found:
        raise VprError(f"{place} holds no photos ({', '.join(ENDINGS[:NAMED])}, ...){said}; check the path")
    if said:
        log.info("%s: %s", place, passed_over(others))
    return found
