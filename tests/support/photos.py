"""Photos with positions, as cameras write them."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from benchmarks.photo_folder import gps_exif


def write_photo(path: Path, position, *, status="", size=(48, 40), seed=0) -> Path:
    """A JPEG of noise with a position in its EXIF, or without one."""
    exif = Image.Exif() if position is None else gps_exif(*position)
    if status:
        exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSStatus] = status
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).resize(size).save(path, exif=exif)
    return path
