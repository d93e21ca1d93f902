"""The position that a camera wrote into a photo."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags

from vpr.description.images import UNREADABLE, opened, undamaged
from vpr.maps.errors import NoPosition
from vpr.maps.geodesy import are_degrees, is_unknown, to_degrees

VOID = "V"  # GPSStatus of a receiver without a fix
WHOLE = 1e-4  # how far a number of degrees or minutes may be from a whole one, if what follows is not zero
DATUMS = {"TOKYO": "EPSG:4301", "NAD27": "EPSG:4267", "ED50": "EPSG:4230", "OSGB36": "EPSG:4277"}  # up to 500 m apart
# from WGS 84; other names of a datum are those of systems that are within 2 m of it, or say nothing


@dataclass(frozen=True)
class Exif:
    """What EXIF says of a photo's position."""

    position: tuple[float, float] | None  # latitude and longitude (degrees, WGS 84)
    why: str = ""  # a position is there and is not taken; empty if none is there


def read_exif(path: Path) -> Exif:
    """The position in a photo's EXIF.

    There is none of a receiver without a fix, of EXIF that is damaged, and at exactly 0, 0, which cameras write for
    "unknown". Numbers are taken if each is in its range and all agree with one another and with their hemisphere.
    Raises ImageError for a file that is no image, and for HEIC without pillow-heif.
    """
    with undamaged(path), path.open("rb") as file, opened(file, path) as image:
        try:
            gps = dict(image.getexif().get_ifd(ExifTags.IFD.GPSInfo))
        except UNREADABLE:
            return Exif(None)
    try:
        return Exif(_position(gps))
    except NoPosition as error:
        return Exif(None, str(error))


def _position(gps: Mapping[int, Any]) -> tuple[float, float] | None:
    """Raises NoPosition for numbers that cannot be a position."""
    tags, status = ExifTags.GPS, _text(gps.get(ExifTags.GPS.GPSStatus))
    if status == VOID or tags.GPSLatitude not in gps or tags.GPSLongitude not in gps:
        return None
    latitude = _degrees("latitude", gps[tags.GPSLatitude], gps.get(tags.GPSLatitudeRef), "NS")
    longitude = _degrees("longitude", gps[tags.GPSLongitude], gps.get(tags.GPSLongitudeRef), "EW")
    if is_unknown(latitude, longitude):
        return None
    if not are_degrees(latitude, longitude):
        raise NoPosition(f"its EXIF position {latitude:g}, {longitude:g} is not on Earth")
    datum = "".join(letter for letter in _text(gps.get(tags.GPSMapDatum)) if letter.isalnum())
    crs = next((crs for name, crs in DATUMS.items() if datum.startswith(name)), None)
    found = (latitude, longitude) if crs is None else to_degrees(longitude, latitude, crs)
    if not are_degrees(*found):
        raise NoPosition(f"its EXIF position {latitude:g}, {longitude:g} lies outside of its datum {datum}")
    return found


def _degrees(what: str, parts: object, side: object, sides: str) -> float:
    """Degrees, minutes and seconds with their hemisphere, of the positive and the negative one, as degrees.

    Some programs write negative numbers beside S and W. Raises NoPosition for what is no such number; without its
    hemisphere a number may be of either.
    """
    try:
        numbers = [] if isinstance(parts, str | bytes) else [float(part) for part in parts]  # type: ignore[attr-defined]
        degrees, minutes, seconds = map(abs, numbers)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise NoPosition(f"its EXIF {what} is no degrees, minutes and seconds") from None
    shown = ", ".join(f"{number:g}" for number in numbers)
    most = 60 if minutes else 3600  # some programs write no minutes but all as seconds; a second may be rounded up
    if not (minutes <= 60 and seconds <= most and degrees <= 180):  # false for NaN
        raise NoPosition(f"its EXIF {what} ({shown}) is out of range")
    if (degrees % 1 > WHOLE and (minutes or seconds)) or (minutes % 1 > WHOLE and seconds):
        raise NoPosition(f"the parts of its EXIF {what} ({shown}) say two things")
    hemisphere = _text(side)[:1]
    if not hemisphere or hemisphere not in sides:
        raise NoPosition(f"its EXIF {what} ({shown}) lacks its hemisphere, {' or '.join(sides)}")
    signs = {number < 0 for number in numbers if number}
    if True in signs and (hemisphere == sides[0] or (False in signs and (numbers[0] >= 0 or min(numbers[1:]) < 0))):
        raise NoPosition(f"the signs of its EXIF {what} ({shown}, {hemisphere}) say two things")
    value = degrees + minutes / 60 + seconds / 3600
    return value if hemisphere == sides[0] else -value


def _text(value: object) -> str:
    """A tag's text; some cameras write bytes."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ").upper()
