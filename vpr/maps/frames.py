"""The frames of a video in a map: those of the last command, and the valid ones of earlier commands.

The frames lie in ``MAP/frames/NAME-DIGEST``, where the digest is that of the video's path and size. ``video.json`` has
the digest of the video itself, the start that was given, and the track of each frame. A frame of an earlier command
stays if video and start are the same and the track is another file: a drive may have two tracks. A copy of a video, and
a video that was moved, have the folder of the first one.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr.base.files import write_json
from vpr.maps.errors import MapError
from vpr.maps.sources.positions import Photo
from vpr.maps.sources.video import extract_frames, read_track
from vpr.maps.store import file_digest

log = logging.getLogger("vpr")

FRAMES = "frames"  # the folder for frames in a map
RECORD = "video.json"


@dataclass(frozen=True)
class VideoFrames:
    """The frames of one video."""

    folder: Path
    photos: list[Photo]  # of this command
    source: dict[str, str]  # the video's digest, and the start that was given
    tracks: dict[str, str]  # the track of each valid frame, by file name: of this command and of earlier ones

    def is_outdated(self, key: str) -> bool:
        """Whether a photo of the map is a frame of an earlier command that is no longer valid."""
        folder, _, name = key.rpartition("/")
        return folder == self.folder.as_posix() and name not in self.tracks

    def finish(self) -> None:
        """Remove the files of outdated frames and write the record. Call it after the map is written."""
        for path in self.folder.glob("*.jpg"):
            if path.name not in self.tracks:
                path.unlink()
        write_json(self.folder / RECORD, {**self.source, "tracks": self.tracks})


def take_frames(folder: Path, videos: Sequence[Path], gpx: Path, every_s: float, start: str) -> list[VideoFrames]:
    """Save the frames of videos in a map's folder; arguments and errors as `extract_frames` and `read_track`."""
    track, result = read_track(gpx), list[VideoFrames]()
    frames, this = Path(os.path.realpath(folder)) / FRAMES, os.path.realpath(gpx)
    for video in videos:
        if not video.is_file():
            raise MapError(f"there is no video {video}", thing=video, remedy="check the path")
        source = {"video": file_digest(video), "start": start}
        if any(other.source == source for other in result):
            log.warning("%s is a copy of a video before it, and is skipped", video)
            continue
        place = _frames_folder(frames, video, source["video"])
        photos = extract_frames(video, track, place, every_s, start)
        tracks = {name: other for name, other in _earlier_tracks(place / RECORD, source).items() if other != this}
        tracks |= {photo.path.name: this for photo in photos}
        result.append(VideoFrames(place, photos, source, tracks))
    return result


def _frames_folder(frames: Path, video: Path, content: str) -> Path:
    """The folder for the frames of a video: that of an earlier command for the same content, if there is one."""
    path = hashlib.sha256(f"{os.path.realpath(video)} {video.stat().st_size}".encode()).hexdigest()[:8]
    own = frames / f"{video.stem}-{path}"
    if not own.is_dir():
        for record in sorted(frames.glob(f"*/{RECORD}")):
            if _read_record(record).get("video") == content:
                return record.parent
    return own


def _earlier_tracks(record: Path, source: dict[str, str]) -> dict[str, str]:
    """The track of each frame of earlier commands; empty if the video or its start has changed."""
    if not record.is_file():
        return {}
    content = _read_record(record)
    return content["tracks"] if all(content[name] == value for name, value in source.items()) else {}


def _read_record(record: Path) -> dict[str, Any]:
    """The content of a ``video.json``; raises MapError if it is damaged."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return {"video": str(content["video"]), "start": str(content["start"]), "tracks": dict(content["tracks"])}
    except (ValueError, LookupError, TypeError) as error:
        raise MapError(f"{record} is damaged ({error})", thing=record, remedy="remove it") from error
