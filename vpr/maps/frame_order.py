"""The order of photos: by name with numbers by value, or as the frames of drives."""

import re
from collections.abc import Sequence
from pathlib import Path

from vpr.positions.exif import read_time


def split_drives(photos: Sequence[Path]) -> list[list[Path]]:
    """Split photos into drives, one per folder, in the order of the folders' first photos.

    The frames of each are in their order, as `sort_frames`.
    """
    drives: dict[Path, list[Path]] = {}
    for photo in photos:
        drives.setdefault(photo.parent, []).append(photo)
    return [sort_frames(drive) for drive in drives.values()]


def sort_frames(frames: Sequence[Path]) -> list[Path]:
    """The frames of a drive by their EXIF times if all have one, otherwise by name, numbers by value."""
    frames = sorted(frames, key=natural_key)
    times = [read_time(frame) for frame in frames]
    if None in times:
        return frames
    return [frame for _, _, frame in sorted(zip(times, range(len(frames)), frames))]


def natural_key(path: Path) -> list[tuple[str, int]]:
    """A sort key that puts frame8 before frame10.

    >>> sorted(map(Path, ("frame10", "frame8")), key=natural_key) == [Path("frame8"), Path("frame10")]
    True
    """
    parts = re.split(r"(\d+)", str(path))
    return [(text, int(number)) for text, number in zip(parts[::2], [*parts[1::2], "-1"])]
