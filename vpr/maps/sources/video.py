"""Frames of a video along a GPX track, as photos with positions.

The time of a frame is the start of the video plus the time since the first frame. Its position is interpolated between
the two points of a track segment around that time. Frames whose time is not on the track are left out.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import logging
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vpr.base.files import replace_file
from vpr.base.packages import install_extra
from vpr.maps.sources.positions import Photo
from vpr.positions.errors import MapError
from vpr.positions.geodesy import are_degrees, is_unknown, metres_between, parse_number, to_places

log = logging.getLogger("vpr")

VIDEOS = (
    ".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".ts", ".mts", ".m2ts", ".m2t", ".3gp", ".mpg", ".mpeg", ".wmv",
    ".360", ".insv",
)  # fmt: skip
QUALITY = 92  # JPEG quality of the frames
LONGEST_GAP_S = 30.0  # maximum time between two points of a track for interpolation
APART_M = 100.0  # maximum distance between two positions at the same time
Point = tuple[float, float, float]  # seconds since 1970, latitude, longitude
FASTEST_MS = 150.0  # maximum speed between two points of a segment, metres per second; fast trains have 90


@dataclass(frozen=True)
class Track:
    """A GPS track: positions by time."""

    seconds: np.ndarray  # (T,) since 1970, ascending in each segment
    latitude: np.ndarray  # (T,) degrees
    longitude: np.ndarray  # (T,)
    segment: np.ndarray | None = None  # (T,) number of the segment; None: one segment

    @cached_property
    def _segments(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Seconds, latitude and longitude of each segment."""
        columns = self.seconds, self.latitude, self.longitude
        if self.segment is None:
            return [columns]
        chosen = [self.segment == number for number in np.unique(self.segment)]
        return [(columns[0][rows], columns[1][rows], columns[2][rows]) for rows in chosen]

    def position_at(self, seconds: float) -> tuple[float, float] | None:
        """Latitude and longitude at a time.

        None before, after and between segments, in gaps of a segment, and if two segments contradict each other.
        """
        interpolated = (_interpolate(*segment, seconds) for segment in self._segments)
        positions = [position for position in interpolated if position is not None]
        if not positions or any(metres_between(positions[0], other) > APART_M for other in positions[1:]):
            return None
        return positions[0]


def _interpolate(
    times: np.ndarray, latitude: np.ndarray, longitude: np.ndarray, seconds: float
) -> tuple[float, float] | None:
    """The position at a time, from the points (T,) of one segment with ascending times."""
    after = int(np.searchsorted(times, seconds))
    if after < len(times) and times[after] == seconds:
        return float(latitude[after]), float(longitude[after])
    if not 0 < after < len(times):
        return None
    before, gap = after - 1, times[after] - times[after - 1]
    if gap > LONGEST_GAP_S:
        return None
    share = (seconds - times[before]) / gap
    north = latitude[before] + share * (latitude[after] - latitude[before])
    east = (longitude[after] - longitude[before] + 180) % 360 - 180  # the shorter way round the Earth
    return float(north), float((longitude[before] + share * east + 180) % 360 - 180)


def read_track(path: Path) -> Track:
    """The points of a GPX file that have a time and a valid position; the others are counted in the log.

    A time with two different positions is left out, and splits its segment. Raises MapError for a file that cannot be
    read, and if fewer than two points remain.
    """
    try:
        import gpxpy  # only to parse times; its reader accepts only UTF-8
    except ImportError:
        raise MapError(f"{path} needs more packages: {install_extra('video')}") from None
    if not path.is_file():
        raise MapError(f"there is no track {path}; check the path")
    try:
        gpx = _parse_gpx(path.read_bytes(), gpxpy.gpxfield.parse_time)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise MapError(f"{path} is not a GPX track ({error}); export it again") from error
    ordered = [_sort_points(points) for points in gpx.segments]
    parts = [part for of_segment, _ in ordered for run in of_segment for part in _remove_jumps(run)]
    ambiguous = [when for _, times in ordered for when in times]
    kept = sum(map(len, parts))
    ambiguity = f"{len(ambiguous)} times have two positions more than {APART_M:.0f} m apart" if ambiguous else ""
    if kept < 2:
        if gpx.first_problem or ambiguity:
            problem = gpx.first_problem or f"{ambiguity}, the first is {_format_time(ambiguous[0])} UTC"
            raise MapError(f"{path}: {problem}, and {kept} others remain; correct it, or export the track again")
        raise MapError(
            f"{path} has {gpx.points} points, {kept} of them with a time, and two are needed; "
            "export the track with times"
        )
    if ambiguity:
        log.warning("%s: %s, and are left out; the first is %s UTC", path, ambiguity, _format_time(ambiguous[0]))
    if lost := gpx.points - gpx.repeated_times - len(ambiguous) - kept:
        log.warning("%s: %d of %d points have no time or are invalid, and are left out", path, lost, gpx.points)
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    seconds, latitude, longitude = np.concatenate(parts).T
    return Track(seconds, latitude, longitude, numbers)


@dataclass
class _Gpx:
    """The content of a GPX file."""

    segments: list[list[Point]] = field(default_factory=list)  # points with a time and a position
    points: int = 0  # number of all points
    first_problem: str = ""  # the first point with an invalid position

    @property
    def repeated_times(self) -> int:
        """The number of points with the time of another point in their segment."""
        return sum(len(points) - len({point[0] for point in points}) for points in self.segments)


def _parse_gpx(data: bytes, parse_time: Callable[[str], Any]) -> _Gpx:
    """Parse a GPX file, in the encoding that its XML declares.

    Points without a time, with an invalid position, and at 0, 0, which means "unknown", are left out.
    """
    try:
        root = ElementTree.fromstring(data.lstrip())
    except ElementTree.ParseError:
        if b"\0" in data:
            raise
        root = ElementTree.fromstring(data.decode("cp1252", errors="replace"))  # some files declare UTF-8 wrongly
    if _tag_name(root) != "gpx":
        raise ValueError(f"it is {_tag_name(root)!r}")
    gpx = _Gpx()
    for segment in (element for element in root.iter() if _tag_name(element) == "trkseg"):
        points = []
        for point in (element for element in segment if _tag_name(element) == "trkpt"):
            gpx.points += 1
            where = parse_number(point.get("lat", "")), parse_number(point.get("lon", ""))
            if not are_degrees(*where) or is_unknown(*where):
                gpx.first_problem = (
                    gpx.first_problem or f"point {gpx.points} ({where[0]}, {where[1]}) is not a position on Earth"
                )
            elif (when := _point_time(point, parse_time)) is not None:
                points.append((when, *where))
        gpx.segments.append(points)
    return gpx


def _tag_name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _point_time(point: ElementTree.Element, parse_time: Callable[[str], Any]) -> float | None:
    text = next((child.text for child in point if _tag_name(child) == "time"), None)
    try:
        return _to_seconds(parse_time(text.strip().upper().replace(",", "."))) if text else None
    except Exception:  # noqa: BLE001 - the parser raises any kind of error for an invalid time
        return None


def _sort_points(points: list[Point]) -> tuple[list[np.ndarray], list[float]]:
    """The points of a segment sorted by time, each time once, and the times with different positions.

    Points at such a time are left out, and the segment is split there into arrays (T, 3), because the way is unknown.
    """
    by_time: dict[float, Point] = {}
    ambiguous = set[float]()
    for point in points:
        if metres_between(by_time.setdefault(point[0], point)[1:], point[1:]) > APART_M:
            ambiguous.add(point[0])
    parts: list[list[Point]] = [[]]
    for when in sorted(by_time):
        if when in ambiguous:
            parts.append([])
        else:
            parts[-1].append(by_time[when])
    return [np.array(part).reshape(-1, 3) for part in parts], sorted(ambiguous)


def _remove_jumps(points: np.ndarray) -> list[np.ndarray]:
    """The points (T, 3) without outliers, split where the speed between two points is impossible.

    An outlier is a point with impossible speeds to both of its neighbours.
    """
    jumps = _find_jumps(points)
    if len(points) > 2:
        before, after = np.append(jumps[0] and not jumps[1], jumps), np.append(jumps, jumps[-1] and not jumps[-2])
        points = points[~(before & after)]
        jumps = _find_jumps(points)
    return [part for part in np.split(points, np.flatnonzero(jumps) + 1) if len(part)]


def _find_jumps(points: np.ndarray) -> np.ndarray:
    """(T - 1,) bool: whether the speed from a point to the next is impossible."""
    metres = np.linalg.norm(np.diff(to_places(points[:, 1], points[:, 2]), axis=0), axis=1)
    return np.asarray(metres > np.maximum(APART_M, FASTEST_MS * np.diff(points[:, 0])))


def extract_frames(video: Path, track: Track, folder: Path, every_s: float, start: str = "") -> list[Photo]:
    """Save a frame every ``every_s`` seconds as JPEG in ``folder``; returns those on the track, with their positions.

    start: start time of the video in ISO 8601, UTC if it has no offset; empty for that in the file. A frame that exists
    with the same bytes is not written again. Raises MapError for a video that cannot be read or has no start time, and
    if no frame is on the track.
    """
    photos, times = [], list[float]()
    for second, frame, began in _decode_frames(video, every_s, start):
        times.append(began + second)
        if (position := track.position_at(began + second)) is None:
            continue
        path = folder / f"{second:09.3f}.jpg"
        _write_frame(path, frame)
        photos.append(Photo(path, position))
    if not photos:
        raise MapError(_no_frame_problem(video, track, times, start))
    log.info("%s: %d of %d frames lie on the track", video, len(photos), len(times))
    return photos


def _write_frame(path: Path, frame: Any) -> None:
    """Write a frame, unless the file has the same bytes; another video may have had the same name."""
    buffer = io.BytesIO()
    _to_image(frame).save(buffer, "JPEG", quality=QUALITY)
    data = buffer.getvalue()
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return
    with replace_file(path) as temporary:
        temporary.write_bytes(data)


def _no_frame_problem(video: Path, track: Track, seconds: list[float], start: str) -> str:
    if not seconds:
        return f"{video} has no frame; convert it to MP4"
    remedy = "correct --start" if start else "check its clock, or pass --start"
    first, last, begin, end = map(_format_time, (seconds[0], seconds[-1], track.seconds.min(), track.seconds.max()))
    times = f"{first} to {last} UTC, the track {begin} to {end}"
    return f"the track covers none of the {len(seconds)} frames of {video} ({times}); {remedy}"


def _format_time(seconds: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"second {seconds:g}"


def _decode_frames(video: Path, every_s: float, start: str) -> Iterator[tuple[float, Any, float]]:
    """Yield a frame every ``every_s`` seconds: its time after the first frame, the frame, and the start of the video.

    Times are computed as fractions, because 3 * 0.1 > 0.3 in floating-point numbers.
    """
    try:
        import av
    except ImportError:
        raise MapError(f"{video} is a video, which needs more packages: {install_extra('video')}") from None
    try:
        with av.open(str(video)) as container:
            began, first, every, wanted = _start_time(video, start, container), None, Fraction(str(every_s)), 0
            for frame in container.decode(video=0):
                if frame.pts is None:
                    continue
                time = frame.pts * frame.time_base
                first = time if first is None else first
                if time - first >= wanted * every:
                    yield float(time - first), frame, began
                    wanted = (time - first) // every + 1
    except MapError:
        raise
    except (av.FFmpegError, IndexError, ValueError, RuntimeError, EOFError, MemoryError) as error:
        raise MapError(f"{video} cannot be read as a video ({error}); convert it to MP4") from error


def _to_image(frame: Any) -> Any:
    """A frame as an upright image. Phones store a rotation; as in Pillow, it is counter-clockwise."""
    return frame.to_image().rotate(getattr(frame, "rotation", 0), expand=True)


def _start_time(video: Path, given: str, container: Any) -> float:
    """The start time of a video, seconds since 1970."""
    written = container.metadata.get("creation_time", "")
    for stream in container.streams.video:
        written = written or stream.metadata.get("creation_time", "")
    text = given or written
    try:
        return _to_seconds(datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00")))
    except ValueError:
        if given:
            raise MapError(f"--start {given!r} is not a time; write it as 2026-05-01T12:00:00") from None
        problem = f"its start time {text!r} is invalid" if text else "the file has no start time"
        raise MapError(f"{video}: {problem}; pass --start 2026-05-01T12:00:00") from None


def _to_seconds(time: datetime.datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)).timestamp()
