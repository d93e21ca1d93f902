"""Following a drive while it is driven: each frame is located by itself and the frames before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vpr.description.images import ImageError
from vpr.description.photo_kinds import PhotoLike
from vpr.maps.candidates import Candidates
from vpr.maps.drive_filter import LiveDrive, Progress
from vpr.maps.locating import MapContext, locate, locate_frame
from vpr.maps.options import LocateConfig
from vpr.maps.results import Located

Find = Callable[[Sequence[PhotoLike], LocateConfig], tuple[Candidates | None, list[str], dict[str, str]]]


class Tracker:
    """The position of a drive, frame by frame. `vpr.Map.track` makes it.

    tracker = vpr.Map.open("MAP").track()
    tracker.add("frame.jpg")           # Located, as of Map.locate
    """

    def __init__(self, find: Find, context: MapContext, config: LocateConfig) -> None:
        """find: as `Map.find`. The map and its model are those of the context, also if the map changes meanwhile."""
        self.context, self.config = context, config
        self._find = find
        self._drive, self._progress = LiveDrive(context.photos), Progress(context.photos)

    def add(self, photo: PhotoLike) -> Located:
        """Where the next frame was taken; raises as `Map.locate`. A frame that cannot be decoded leaves no trace."""
        found, names, unreadable = self._find([photo], self.config)
        if found is None:
            raise ImageError(*unreadable.values(), remedy="restore it, or pass another photo")
        return self.add_found(found, names[0])

    def add_found(self, found: Candidates, name: str) -> Located:
        """As `add`, for a frame whose candidates are known. Without calibration it is located by itself."""
        if self.context.curve is None:
            return locate(found, [name], self.context, self.config)[0]
        at = self._drive.add(self.context.evidence(found)[0])
        stretch = self._progress.add(at, self.context.familiarities(found)[0])
        return locate_frame(found, name, at, stretch, self.context, self.config)
