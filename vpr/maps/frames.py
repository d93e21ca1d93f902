"""The frames of a video in a map: those of the last command, and the valid ones of earlier commands.

The frames lie in ``MAP/frames/NAME-DIGEST``, where the digest is that of the video's path and size. ``video.json`` has
the digest of the video itself, the start that was given, and the track of each frame. A frame of an earlier command
stays if video and start are the same and the track is another file: a drive may have two tracks.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vpr.base.files import write_json
from vpr.maps.errors import MapError
from vpr.maps.sources.positions import Photo
from vpr.maps.sources.video import extract_frames, read_track
from vpr.maps.store import file_digest

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
    track, result = read_track(gpx), []
    for video in videos:
        if not video.is_file():
            raise MapError(f"there is no video {video}", thing=video, remedy="check the path")
        digest = hashlib.sha256(f"{os.path.realpath(video)} {video.stat().st_size}".encode()).hexdigest()[:8]
        place = Path(os.path.realpath(folder)) / FRAMES / f"{video.stem}-{digest}"
        photos = extract_frames(video, track, place, every_s, start)
        source, this = {"video": file_digest(video), "start": start}, os.path.realpath(gpx)
        tracks = {name: other for name, other in _earlier_tracks(place / RECORD, source).items() if other != this}
        tracks |= {photo.path.name: this for photo in photos}
        result.append(VideoFrames(place, photos, source, tracks))
    return result


def _earlier_tracks(record: Path, source: dict[str, str]) -> dict[str, str]:
    """The track of each frame of earlier commands; empty if the video or its start has changed."""
    if not record.is_file():
        return {}
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        same = all(content[name] == value for name, value in source.items())
        return dict(content["tracks"]) if same else {}
    except (ValueError, LookupError, TypeError) as error:
        raise MapError(f"{record} is damaged ({error})", thing=record, remedy="remove it") from error
