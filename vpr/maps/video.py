"""Frames of a video along a GPX track, as photos with positions.

A frame's time is that of the video's start plus its own; its position lies on the track, between the two points around
that time. Frames whose time the track does not cover are left out.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr.base.files import replacing
from vpr.base.packages import install_extra
from vpr.maps.errors import MapError
from vpr.maps.geodesy import are_degrees
from vpr.maps.positions import Photo

log = logging.getLogger("vpr")

VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
QUALITY = 92  # of the frames, as JPEG
LONGEST_GAP_S = 30.0  # between two points of a track that a frame may lie between


@dataclass(frozen=True)
class Track:
    """Where somebody was, and when."""

    seconds: np.ndarray  # (T,) since 1970, rising
    latitude: np.ndarray  # (T,) degrees
    longitude: np.ndarray  # (T,)

    def at(self, seconds: float) -> tuple[float, float] | None:
        """Latitude and longitude at a time; None before the track, behind it, and in its gaps."""
        after = int(np.searchsorted(self.seconds, seconds))
        if after < len(self.seconds) and self.seconds[after] == seconds:
            return float(self.latitude[after]), float(self.longitude[after])
        if not 0 < after < len(self.seconds) or self.seconds[after] - self.seconds[after - 1] > LONGEST_GAP_S:
            return None
        longitude = np.interp(seconds, self.seconds, np.unwrap(self.longitude, period=360))
        return float(np.interp(seconds, self.seconds, self.latitude)), float((longitude + 180) % 360 - 180)


def read_track(path: Path) -> Track:
    """A GPX file's points that have a time; raises MapError where there are fewer than two or it cannot be read."""
    try:
        import gpxpy
    except ImportError:
        raise MapError(f"{path} needs more packages: {install_extra('video')}") from None
    if not path.is_file():
        raise MapError(f"no track {path}; check the path")
    try:
        track = gpxpy.parse(path.read_text(encoding="utf-8-sig"))
    except (gpxpy.gpx.GPXException, ValueError) as error:
        raise MapError(f"{path} is no GPX track ({error}); export it again") from error
    points = [point for part in track.tracks for segment in part.segments for point in segment.points]
    timed = {}
    for number, point in enumerate(points, 1):
        if not are_degrees(point.latitude, point.longitude):
            where = f"{point.latitude}, {point.longitude}"
            raise MapError(f"{path}: point {number} ({where}) is no position on Earth; mend it, or take it out")
        if point.time is not None:
            timed[_seconds(point.time)] = (point.latitude, point.longitude)
    if len(timed) < 2:
        raise MapError(
            f"{path} has {len(points)} points, {len(timed)} of them with a time; a track of two or more with times is "
            "needed: export it with them"
        )
    order = sorted(timed)
    return Track(np.array(order), *np.array([timed[second] for second in order]).T)


def frames_of(video: Path, track: Track, folder: Path, every_s: float, start: str = "") -> list[Photo]:
    """Keep a frame every so many seconds in ``folder``, as JPEG, and return them with their positions.

    start: when the video began, in ISO 8601 (UTC without an offset); without it the file has to say so. Frames that are
    there already are not written again. Raises MapError for a video that cannot be read or has no start, and where the
    track covers no frame.
    """
    photos, seen = [], 0
    for second, frame, began in _frames(video, every_s, start):
        seen += 1
        if (position := track.at(began + second)) is None:
            continue
        path = folder / f"{second:09.3f}.jpg"
        if not path.is_file():
            with replacing(path) as temporary:
                _upright(frame).save(temporary, "JPEG", quality=QUALITY)
        photos.append(Photo(path, *position))
    if not photos:
        raise MapError(f"the track covers none of the {seen} frames of {video}; check its clock, or pass --start")
    log.info("%s: %d of %d frames lie on the track", video, len(photos), seen)
    return photos


def _frames(video: Path, every_s: float, start: str) -> Iterator[tuple[float, Any, float]]:
    """Every so manieth frame: its second in the video, itself, and when the video began."""
    try:
        import av
    except ImportError:
        raise MapError(f"{video} is a video, which needs more packages: {install_extra('video')}") from None
    try:
        with av.open(str(video)) as container:
            began, wanted = _start(video, start or container.metadata.get("creation_time", "")), 0.0
            for frame in container.decode(video=0):
                if frame.time is not None and frame.time >= wanted - 1e-6:
                    yield frame.time, frame, began
                    wanted = (frame.time // every_s + 1) * every_s
    except (av.FFmpegError, IndexError) as error:
        raise MapError(f"{video} cannot be read as a video ({error}); convert it to MP4") from error


def _upright(frame: Any) -> Any:
    """A frame as an image, turned as the file says (phones film lying down); Pillow turns counter-clockwise as well."""
    return frame.to_image().rotate(getattr(frame, "rotation", 0), expand=True)


def _start(video: Path, text: str) -> float:
    try:
        return _seconds(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")))
    except ValueError:
        said = f"{text!r} is no time" if text else "the file does not say when it was taken"
        raise MapError(f"{video}: {said}; pass --start 2026-05-01T12:00:00") from None


def _seconds(time: datetime.datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)).timestamp()
