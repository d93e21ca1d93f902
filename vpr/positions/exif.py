"""The position and the time in the EXIF of a photo."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags

from vpr.description.images import UNREADABLE, ImageError, convert_image_errors, exif_of, open_image
from vpr.positions.errors import NoPosition
from vpr.positions.geodesy import are_degrees, is_unknown, to_degrees

VOID = "V"  # GPSStatus of a receiver without a fix
ROUNDING = 1e-4  # maximum fraction of degrees or minutes if the next smaller unit is not zero
# Datums that are up to 500 m from WGS 84. Other names are those of datums within 2 m of it, or have no meaning.
DATUMS = {"TOKYO": "EPSG:4301", "NAD27": "EPSG:4267", "ED50": "EPSG:4230", "OSGB36": "EPSG:4277"}
TIME = re.compile(r"\d{4}:\d{2}:\d{2} \d{2}:\d{2}:\d{2}", re.ASCII)


@dataclass(frozen=True)
class ExifPosition:
    """The position in the EXIF of a photo."""

    position: tuple[float, float] | None  # latitude and longitude (degrees, WGS 84)
    problem: str = ""  # the reason why a position is not used; empty if there is no position
    heading: float | None = None  # the direction of view, degrees clockwise from north; None if unknown


def read_exif(path: Path) -> ExifPosition:
    """The position in a photo's EXIF.

    There is no position if the receiver had no fix, if the EXIF is damaged, and at exactly 0, 0, which cameras write
    for "unknown". Numbers are used if they are in range and consistent with each other and with their hemisphere.
    Raises ImageError for a file that is not an image, and for HEIC without pillow-heif.
    """
    gps = _read_tags(path, ExifTags.IFD.GPSInfo)
    try:
        return ExifPosition(_position(gps), heading=_heading(gps))
    except NoPosition as error:
        return ExifPosition(None, str(error))


def find_exif(path: Path) -> ExifPosition:
    """As `read_exif`; without a position for a file that is not an image."""
    try:
        return read_exif(path)
    except ImageError:
        return ExifPosition(None)


def read_time(path: Path) -> str | None:
    """When a photo was taken, as text that sorts by time; None without a valid time, and for a file that is no image.

    It is ``DateTimeOriginal`` with its fractions of a second, in the time of the camera.
    """
    try:
        tags = _read_tags(path, ExifTags.IFD.Exif)
    except ImageError:
        return None
    time = _text(tags.get(ExifTags.Base.DateTimeOriginal))
    fraction = _text(tags.get(ExifTags.Base.SubsecTimeOriginal))
    if not TIME.fullmatch(time) or time.startswith("0000"):
        return None
    return f"{time}.{fraction if fraction.isdecimal() else ''}"


def _read_tags(path: Path, group: ExifTags.IFD) -> dict[int, Any]:
    """A group of EXIF tags of a photo; empty if its EXIF is damaged. Errors as `read_exif`."""
    with convert_image_errors(path), path.open("rb") as file, open_image(file, path) as image:
        try:
            return dict(exif_of(image).get_ifd(group))
        except UNREADABLE:
            return {}


def _position(gps: Mapping[int, Any]) -> tuple[float, float] | None:
    """The position of GPS tags; None if there is none. Raises NoPosition for an invalid position."""
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
    position = (latitude, longitude) if crs is None else to_degrees(longitude, latitude, crs)
    if not are_degrees(*position):
        raise NoPosition(f"its EXIF position {latitude:g}, {longitude:g} lies outside of its datum {datum}")
    return position


def _heading(gps: Mapping[int, Any]) -> float | None:
    """GPSImgDirection, of true or magnetic north; None if it is missing, damaged or out of range."""
    try:
        (heading,) = map(float, _parts(gps[ExifTags.GPS.GPSImgDirection]))
    except (LookupError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return heading % 360 if 0 <= heading <= 360 else None


def _degrees(what: str, parts: object, side: object, sides: str) -> float:
    """Degrees, minutes and seconds as degrees, with the sign of the hemisphere.

    Parts at the end may be missing, or be 0/0, if the part before them has a fraction. what: the name for error
    messages. side: the letter of the hemisphere. sides: the letters of the positive and the
    negative hemisphere. Some programs write negative numbers together with S and W. Raises NoPosition for invalid
    numbers, and if the hemisphere is missing.
    """
    try:
        numbers = [] if isinstance(parts, str | bytes) else [float(part) for part in _parts(parts)]
        degrees, minutes, seconds = map(abs, _fill_missing(numbers))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise NoPosition(f"its EXIF {what} is not degrees, minutes and seconds") from None
    shown = ", ".join(f"{number:g}" for number in numbers)
    most = 60 if minutes else 3600  # some programs write minutes as seconds; seconds may be rounded up
    if not (minutes <= 60 and seconds <= most and degrees <= 180):  # also for NaN
        raise NoPosition(f"its EXIF {what} ({shown}) is out of range")
    if (degrees % 1 > ROUNDING and (minutes or seconds)) or (minutes % 1 > ROUNDING and seconds):
        raise NoPosition(f"the parts of its EXIF {what} ({shown}) contradict each other")
    hemisphere = _text(side)[:1]
    if not hemisphere or hemisphere not in sides:
        raise NoPosition(f"its EXIF {what} ({shown}) has no hemisphere, {' or '.join(sides)}")
    signs = {number < 0 for number in numbers if number}
    if True in signs and (hemisphere == sides[0] or (False in signs and (numbers[0] >= 0 or min(numbers[1:]) < 0))):
        raise NoPosition(f"the signs of its EXIF {what} ({shown}, {hemisphere}) contradict each other")
    value = degrees + minutes / 60 + seconds / 3600
    return value if hemisphere == sides[0] else -value


def _parts(value: Any) -> list[Any]:
    """The parts of a tag; a tag with one part is a number."""
    return list(value) if isinstance(value, Iterable) else [value]


def _fill_missing(numbers: Sequence[float]) -> list[float]:
    """Three numbers: zeros in place of missing parts and of 0/0, which is NaN, behind a number with a fraction."""
    known = list(numbers)
    while known and math.isnan(known[-1]):
        known.pop()
    has_fraction = bool(known) and known[-1] % 1 > 0
    return [*known, *[0.0] * (3 - len(known))] if has_fraction else list(numbers)


def _text(value: object) -> str:
    """The text of a tag in upper case; some cameras write bytes."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ").upper()
