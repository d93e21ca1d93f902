"""Frames of a video along a GPX track, as photos with positions.

A frame's time is that of the video's start plus its own, counted from the first frame; its position lies on the track,
between the two points of a segment around that time. Frames whose time the track does not cover are left out.
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

from vpr.base.files import replacing
from vpr.base.packages import install_extra
from vpr.maps.errors import MapError
from vpr.maps.geodesy import are_degrees, is_unknown, metres_between, number_in, places_of
from vpr.maps.sources.positions import Photo

log = logging.getLogger("vpr")

VIDEOS = (
    ".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".ts", ".mts", ".m2ts", ".m2t", ".3gp", ".mpg", ".mpeg", ".wmv",
    ".360", ".insv",
)  # fmt: skip
QUALITY = 92  # of the frames, as JPEG
LONGEST_GAP_S = 30.0  # between two points of a track that a frame may lie between
APART_M = 100.0  # between two positions of a track at one time that are one
Point = tuple[float, float, float]  # seconds since 1970, latitude, longitude
FASTEST_MS = 150.0  # between two points of a segment, metres a second; a train at full speed has 90


@dataclass(frozen=True)
class Track:
    """Where somebody was, and when."""

    seconds: np.ndarray  # (T,) since 1970, rising in each segment
    latitude: np.ndarray  # (T,) degrees
    longitude: np.ndarray  # (T,)
    segment: np.ndarray | None = None  # (T,) number of each point's segment; None: all are one

    @cached_property
    def _segments(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Seconds, latitude and longitude of each segment."""
        columns = self.seconds, self.latitude, self.longitude
        if self.segment is None:
            return [columns]
        chosen = [self.segment == number for number in np.unique(self.segment)]
        return [(columns[0][rows], columns[1][rows], columns[2][rows]) for rows in chosen]

    def at(self, seconds: float) -> tuple[float, float] | None:
        """Latitude and longitude at a time; None before the track, behind it, in its gaps, between its segments, and
        where two segments say two things."""
        positions = (_between(*segment, seconds) for segment in self._segments)
        found = [position for position in positions if position is not None]
        if not found or any(metres_between(found[0], other) > APART_M for other in found[1:]):
            return None
        return found[0]


def _between(
    times: np.ndarray, latitude: np.ndarray, longitude: np.ndarray, seconds: float
) -> tuple[float, float] | None:
    """The position at a time among points (T,) of one segment, whose times rise."""
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
    east = (longitude[after] - longitude[before] + 180) % 360 - 180  # the short way round
    return float(north), float((longitude[before] + share * east + 180) % 360 - 180)


def read_track(path: Path) -> Track:
    """A GPX file's points that have a time and a position on Earth; others are counted in the log.

    A time with two positions has none, and cuts its segment in two. Raises MapError where there are fewer than two
    points, or it cannot be read.
    """
    try:
        import gpxpy  # for times alone, in all the forms that they are written in; its reader wants UTF-8
    except ImportError:
        raise MapError(f"{path} needs more packages: {install_extra('video')}") from None
    if not path.is_file():
        raise MapError(f"no track {path}; check the path")
    try:
        read = _read(path.read_bytes(), gpxpy.gpxfield.parse_time)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise MapError(f"{path} is no GPX track ({error}); export it again") from error
    ordered = [_in_order(points) for points in read.segments]
    parts = [part for of_segment, _ in ordered for run in of_segment for part in _steady(run)]
    double = [when for _, unclear in ordered for when in unclear]
    kept = sum(map(len, parts))
    twice = f"{len(double)} times have two positions more than {APART_M:.0f} m apart" if double else ""
    if kept < 2:
        if read.bad or twice:
            problem = read.bad or f"{twice}, the first is {_shown(double[0])} UTC"
            raise MapError(f"{path}: {problem}, and {kept} others are left; mend it, or export the track again")
        raise MapError(
            f"{path} has {read.points} points, {kept} of them with a time; a track of two or more with times is "
            "needed: export it with them"
        )
    if twice:
        log.warning("%s: %s, and are left out; the first is %s UTC", path, twice, _shown(double[0]))
    if lost := read.points - read.double - len(double) - kept:
        log.warning("%s: %d of %d points have no time or cannot be, and are left out", path, lost, read.points)
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    seconds, latitude, longitude = np.concatenate(parts).T
    return Track(seconds, latitude, longitude, numbers)


@dataclass
class _Gpx:
    """What a GPX file holds."""

    segments: list[list[Point]] = field(default_factory=list)  # points with a time and a position
    points: int = 0  # in all
    bad: str = ""  # the first without a position on Earth

    @property
    def double(self) -> int:
        """Points of a time that another one of their segment has."""
        return sum(len(points) - len({point[0] for point in points}) for points in self.segments)


def _read(data: bytes, parse_time: Callable[[str], Any]) -> _Gpx:
    """A GPX file in the encoding that its XML says. Points without a time, without a position on Earth, and at 0, 0,
    which is the unknown one, are left out."""
    try:
        root = ElementTree.fromstring(data.lstrip())
    except ElementTree.ParseError:
        if b"\0" in data:
            raise
        root = ElementTree.fromstring(data.decode("cp1252", errors="replace"))  # some say UTF-8 and are not
    if _local(root) != "gpx":
        raise ValueError(f"it is {_local(root)!r}")
    gpx = _Gpx()
    for segment in (element for element in root.iter() if _local(element) == "trkseg"):
        points = []
        for point in (element for element in segment if _local(element) == "trkpt"):
            gpx.points += 1
            where = number_in(point.get("lat", "")), number_in(point.get("lon", ""))
            if not are_degrees(*where) or is_unknown(*where):
                gpx.bad = gpx.bad or f"point {gpx.points} ({where[0]}, {where[1]}) is no position on Earth"
            elif (when := _when(point, parse_time)) is not None:
                points.append((when, *where))
        gpx.segments.append(points)
    return gpx


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _when(point: ElementTree.Element, parse_time: Callable[[str], Any]) -> float | None:
    text = next((child.text for child in point if _local(child) == "time"), None)
    try:
        return _seconds(parse_time(text.strip())) if text else None
    except Exception:  # noqa: BLE001 - whatever the parser makes of a time that is none
        return None


def _in_order(points: list[Point]) -> tuple[list[np.ndarray], list[float]]:
    """Points of a segment in the order of their times, each time once, and the times whose positions lie apart.

    Such a time has no point. The segment is cut there into arrays (T, 3), because nobody knows the way past it.
    """
    once: dict[float, Point] = {}
    unclear = set[float]()
    for point in points:
        if metres_between(once.setdefault(point[0], point)[1:], point[1:]) > APART_M:
            unclear.add(point[0])
    parts: list[list[Point]] = [[]]
    for when in sorted(once):
        if when in unclear:
            parts.append([])
        else:
            parts[-1].append(once[when])
    return [np.array(part).reshape(-1, 3) for part in parts], sorted(unclear)


def _steady(points: np.ndarray) -> list[np.ndarray]:
    """The points (T, 3) without those that nobody can have reached from the one before and left for the next, cut where
    nobody can have come from one to the other."""
    jumps = _jumps(points)
    if len(points) > 2:
        before, after = np.append(jumps[0] and not jumps[1], jumps), np.append(jumps, jumps[-1] and not jumps[-2])
        points = points[~(before & after)]
        jumps = _jumps(points)
    return [part for part in np.split(points, np.flatnonzero(jumps) + 1) if len(part)]


def _jumps(points: np.ndarray) -> np.ndarray:
    """(T - 1,) whether the way from a point to the next is too far for the time."""
    metres = np.linalg.norm(np.diff(places_of(points[:, 1], points[:, 2]), axis=0), axis=1)
    return metres > np.maximum(APART_M, FASTEST_MS * np.diff(points[:, 0]))


def frames_of(video: Path, track: Track, folder: Path, every_s: float, start: str = "") -> list[Photo]:
    """Keep a frame every so many seconds in ``folder``, as JPEG, and return them with their positions.

    start: when the video began, in ISO 8601 (UTC without an offset); without it the file has to say so. Frames that are
    there already and are the same are not written again. Raises MapError for a video that cannot be read or has no
    start, and where the track covers no frame.
    """
    photos, seen = [], list[float]()
    for second, frame, began in _frames(video, every_s, start):
        seen.append(began + second)
        if (position := track.at(began + second)) is None:
            continue
        path = folder / f"{second:09.3f}.jpg"
        _write(path, frame)
        photos.append(Photo(path, *position))
    if not photos:
        raise MapError(_not_covered(video, track, seen, start))
    log.info("%s: %d of %d frames lie on the track", video, len(photos), len(seen))
    return photos


def _write(path: Path, frame: Any) -> None:
    """Write a frame, unless the file is the same: another video may have had its name."""
    buffer = io.BytesIO()
    _upright(frame).save(buffer, "JPEG", quality=QUALITY)
    data = buffer.getvalue()
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _not_covered(video: Path, track: Track, seen: list[float], start: str) -> str:
    if not seen:
        return f"{video} has no frame; convert it to MP4"
    remedy = "mend --start" if start else "check its clock, or pass --start"
    first, last, begin, end = map(_shown, (seen[0], seen[-1], track.seconds.min(), track.seconds.max()))
    times = f"{first} to {last} UTC, the track {begin} to {end}"
    return f"the track covers none of the {len(seen)} frames of {video} ({times}); {remedy}"


def _shown(seconds: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"second {seconds:g}"


def _frames(video: Path, every_s: float, start: str) -> Iterator[tuple[float, Any, float]]:
    """A frame every so many seconds: its second after the first frame, itself, and when the video began.

    Times are fractions: with floating-point numbers, second 0.3 would come before 3 times 0.1.
    """
    try:
        import av
    except ImportError:
        raise MapError(f"{video} is a video, which needs more packages: {install_extra('video')}") from None
    try:
        with av.open(str(video)) as container:
            began, first, every, wanted = _start(video, start, container), None, Fraction(str(every_s)), 0
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


def _upright(frame: Any) -> Any:
    """A frame as an image, turned as the file says (phones film lying down); Pillow turns counter-clockwise as well."""
    return frame.to_image().rotate(getattr(frame, "rotation", 0), expand=True)


def _start(video: Path, given: str, container: Any) -> float:
    """Seconds since 1970 at which a video began."""
    written = container.metadata.get("creation_time", "")
    for stream in container.streams.video:
        written = written or stream.metadata.get("creation_time", "")
    text = given or written
    try:
        return _seconds(datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00")))
    except ValueError:
        if given:
            raise MapError(f"--start {given!r} is no time; write it as 2026-05-01T12:00:00") from None
        said = f"its time {text!r} is none" if text else "the file does not say when it was taken"
        raise MapError(f"{video}: {said}; pass --start 2026-05-01T12:00:00") from None


def _seconds(time: datetime.datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)).timestamp()
