"""The position that a camera wrote into a photo."""

import math
from pathlib import Path

from PIL import ExifTags, Image

from vpr.description.images import UNREADABLE, formats_for, undamaged
from vpr.maps.geodesy import are_degrees

VOID = "V"  # GPSStatus of a receiver without a fix


def exif_position(path: Path) -> tuple[float, float] | None:
    """Latitude and longitude (degrees, WGS 84) of a photo's EXIF; None where there are none.

    A receiver without a fix, numbers out of range or without their hemisphere, and exactly 0, 0, which cameras write
    for "unknown", count as none, and so does EXIF that is damaged. Raises ImageError for a file that is no image, and
    for HEIC without pillow-heif.
    """
    with undamaged(path), Image.open(path, formats=formats_for(path)) as image:
        try:
            gps = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        except UNREADABLE:
            return None
    if not gps or _text(gps.get(ExifTags.GPS.GPSStatus)) == VOID:
        return None
    latitude = _degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef), "NS")
    longitude = _degrees(gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef), "EW")
    if not are_degrees(latitude, longitude) or (latitude, longitude) == (0.0, 0.0):
        return None
    return latitude, longitude


def _degrees(parts: object, side: object, sides: str) -> float:
    """Degrees, minutes and seconds with their hemisphere, of the positive and the negative one, as degrees; NaN for
    anything else: without its hemisphere a number may be of either."""
    try:
        degrees, minutes, seconds = (float(part) for part in parts)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
    value, hemisphere = degrees + minutes / 60 + seconds / 3600, _text(side)[:1]
    if not hemisphere or hemisphere not in sides:
        return math.nan
    return value if hemisphere == sides[0] else -value


def _text(value: object) -> str:
    """A tag's text; some cameras write bytes."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ").upper()
