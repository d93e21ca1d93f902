"""The frames of a video in a map: those of the last command, and the valid ones of earlier commands.

The frames lie in ``MAP/frames/NAME-DIGEST``, where the digest is that of the video's path and size. ``video.json`` has
the digest of the video itself, the start that was given, and the track of each frame. A frame of an earlier command
stays if video and start are the same and the track is another file: a drive may have two tracks. A copy of a video, and
a video that was moved, have the folder of the first one.

The map and ``video.json`` are two files, and a command may be killed between them. So ``video.json`` has two records
while the map is written: the one before, and the ``next`` one with the positions of the new frames. The positions in
the map say which of the two is valid.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vpr.base.files import file_digest, write_json
from vpr.maps.sources.positions import Photo
from vpr.maps.sources.video import APART_M, extract_frames, read_track
from vpr.positions.errors import MapError
from vpr.positions.geodesy import metres_between
from vpr.positions.map_frame import Position

log = logging.getLogger("vpr")

FRAMES = "frames"  # the folder for frames in a map
RECORD = "video.json"
UNKNOWN_TRACK = ""  # of frames without a record


@dataclass(frozen=True)
class VideoRecord:
    """The content of a ``video.json``."""

    video: str  # digest of the video
    start: str  # as it was given
    tracks: dict[str, str]  # the track of each valid frame, by file name

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> "VideoRecord":
        """The record in a JSON object; raises LookupError, TypeError or ValueError if it is damaged."""
        return cls(str(content["video"]), str(content["start"]), dict(content["tracks"]))

    def has_source(self, video: str, start: str) -> bool:
        """Whether it is a record of this video with this start."""
        return (self.video, self.start) == (video, start)


@dataclass(frozen=True)
class VideoFrames:
    """The frames of one video."""

    folder: Path
    photos: list[Photo]  # of this command
    record: VideoRecord  # of the frames of this command and the valid ones of earlier commands

    def is_outdated(self, key: str) -> bool:
        """Whether a photo of the map is a frame of an earlier command that is no longer valid."""
        folder, _, name = key.rpartition("/")
        return folder == self.folder.as_posix() and name not in self.record.tracks

    def write_next(self, before: VideoRecord | None) -> None:
        """Write the record before and the next one. Call it before the map is written."""
        positions = {photo.path.name: photo.position for photo in self.photos}
        following = {**asdict(self.record), "positions": positions}
        write_json(self.folder / RECORD, {**({} if before is None else asdict(before)), "next": following})

    def finish(self) -> None:
        """Remove the files of outdated frames and write the record. Call it after the map is written."""
        for path in self.folder.glob("*.jpg"):
            if path.name not in self.record.tracks:
                path.unlink()
        write_json(self.folder / RECORD, asdict(self.record))


def require_videos(videos: Sequence[Path]) -> None:
    """Raise MapError if a video is missing."""
    for video in videos:
        if not video.is_file():
            raise MapError(f"there is no video {video}", thing=video, remedy="check the path")


def take_frames(
    folder: Path, videos: Sequence[Path], gpx: Path, every_s: float, start: str, known: Mapping[str, Position]
) -> list[VideoFrames]:
    """Save the frames of videos in a map's folder. The caller holds `write_access` until it has called `finish`.

    known: the positions of the map's photos, by key. Other arguments and errors as `extract_frames` and `read_track`.
    """
    track, result = read_track(gpx), list[VideoFrames]()
    frames, this = Path(os.path.realpath(folder)) / FRAMES, os.path.realpath(gpx)
    require_videos(videos)
    for video in videos:
        digest = file_digest(video)
        if any(other.record.has_source(digest, start) for other in result):
            log.warning("%s is a copy of a video before it, and is skipped", video)
            continue
        place = _frames_folder(frames, video, digest)
        photos = extract_frames(video, track, place, every_s, start)
        of_map = {Path(key).name: position for key, position in known.items() if Path(key).parent == place}
        before = _valid_record(place / RECORD, of_map)
        if before is None:
            earlier = _unrecorded_tracks(of_map, photos)
        else:
            earlier = before.tracks if before.has_source(digest, start) else {}
        tracks = {name: other for name, other in earlier.items() if other != this}
        tracks |= {photo.path.name: this for photo in photos}
        result.append(VideoFrames(place, photos, VideoRecord(digest, start, tracks)))
        result[-1].write_next(before)
    return result


def _frames_folder(frames: Path, video: Path, content: str) -> Path:
    """The folder for the frames of a video: that of an earlier command for the same content, if there is one."""
    path = hashlib.sha256(os.fsencode(f"{os.path.realpath(video)} {video.stat().st_size}")).hexdigest()[:8]
    name = os.fsencode(video.stem).decode(errors="replace")  # the keys of photos are UTF-8
    own = frames / f"{name}-{path}"
    if not own.is_dir():
        for record in sorted(frames.glob(f"*/{RECORD}")):
            before, following, _ = _read_records(record)
            if any(one is not None and one.video == content for one in (before, following)):
                return record.parent
    return own


def _valid_record(path: Path, of_map: Mapping[str, Position]) -> VideoRecord | None:
    """The record of the frames in the map; None if there is none.

    of_map: the positions of the video's frames in the map, by file name. If a command was killed, the next record is
    valid if the map has all positions of its frames.
    """
    if not path.is_file():
        return None
    before, following, positions = _read_records(path)
    is_written = following is not None and all(of_map.get(name) == position for name, position in positions.items())
    return following if is_written else before


def _unrecorded_tracks(of_map: Mapping[str, Position], photos: Sequence[Photo]) -> dict[str, str]:
    """The tracks of frames that are in the map without a record, as in maps of earlier versions.

    They are valid, unless a frame of this command lies elsewhere in the map: then the start was another.
    """
    for photo in photos:
        if metres_between(of_map.get(photo.path.name, photo.position), photo.position) > APART_M:
            return {}
    return dict.fromkeys(of_map, UNKNOWN_TRACK)


def _read_records(path: Path) -> tuple[VideoRecord | None, VideoRecord | None, dict[str, Position]]:
    """The two records of a ``video.json``, and the positions of the frames of the next one, by file name.

    Raises MapError if it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        following = content.get("next")
        before = None if following is not None and "video" not in content else VideoRecord.parse(content)
        if following is None:
            return before, None, {}
        positions = {name: (float(north), float(east)) for name, (north, east) in following["positions"].items()}
        return before, VideoRecord.parse(following), positions
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        remedy = "remove this file and run the command again; the frames stay in the map"
        raise MapError(f"{path} is damaged ({error})", thing=path, remedy=remedy) from error
