"""``python -m vpr.map MAP add FOLDER``: a map of own photos with positions.

``add`` puts photos into the map, ``remove`` takes them out, ``info`` says what is in it. Given again, ``add`` continues
where it was stopped, and describes nothing that is described already.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vpr.base.command import one_line, run_command
from vpr.base.errors import VprError
from vpr.base.machine import Device
from vpr.base.settings import PositiveFloat, option, positional
from vpr.cluster.options import ClusterOptions

if TYPE_CHECKING:
    from vpr.maps.left_out import LeftOut
    from vpr.maps.model import Model
    from vpr.maps.positions import Photo


@dataclass(frozen=True)
class MapOptions:
    """Map and photos."""

    map: Path = positional("the folder of the map, which add makes", "MAP")
    action: Literal["add", "remove", "info"] = positional("what is done", "{add,remove,info}")
    sources: tuple[str, ...] = positional(
        "add: folders, photos, videos, and lists of photos with positions (.csv, .geojson); "
        "remove: folders, paths or names of photos", "FOLDER|FILE", least=0,
    )  # fmt: skip
    crs: str = option("", "reference system of eastings and northings that say none, for example EPSG:32631")
    gpx: Path | None = option(None, "track of the videos that are added")
    every: PositiveFloat = option(1.0, "seconds between the frames that are taken of a video")
    start: str = option("", "when a video began, in ISO 8601; the video has to say so when left out")
    run: str = option("", "run folder of the model, or 'builtin'; the map's own, or builtin for a new map, if left out")
    device: Device = option("auto", "where to compute")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command("vpr.map", "A map of own photos with positions.", [MapOptions, ClusterOptions], _work, argv)


def _work(options: MapOptions, cluster: ClusterOptions) -> None:
    if cluster.cluster and options.action != "add":
        raise VprError(f"{options.action} works on this machine alone; leave --cluster out")
    if options.action == "info":
        if options.sources:
            raise VprError(f"info takes a map alone; leave {options.sources[0]} out")
        _tell(options)
    elif not options.sources:
        raise VprError(f"{options.action} what? give a folder or a file behind {options.action}")
    elif options.action == "add":
        _add(options, cluster)
    else:
        _remove(options)


def _model(options: MapOptions) -> Model:
    """The model that was asked for, or else the map's."""
    from vpr.maps.model import load
    from vpr.maps.store import MAP, State

    of_map = State.of(options.map).run if (options.map / MAP).is_file() else "builtin"
    return load(options.run or of_map, options.device)


def _add(options: MapOptions, cluster_options: ClusterOptions) -> None:
    from vpr.cluster.describing import filled_on
    from vpr.maps.building import add_photos, known_positions, require_place
    from vpr.maps.left_out import nothing_to_add
    from vpr.maps.positions import find_photos
    from vpr.maps.video import VIDEOS

    began = time.perf_counter()
    videos = [Path(source) for source in options.sources if source.lower().endswith(VIDEOS)]
    others = tuple(Path(source) for source in options.sources if Path(source) not in videos)
    if (options.gpx is None) == bool(videos):
        raise VprError("a video needs its track, and a track its video; give both: add VIDEO.mp4 --gpx TRACK.gpx")
    require_place(options.map)
    model = _model(options)
    found = find_photos(others, options.crs, known_positions(options.map, model.spec.patches))
    _say(found.left_out)
    photos = [*found.photos, *_frames(options, videos)]
    if not photos:
        raise nothing_to_add(found.left_out)
    with cluster_options.joined() as cluster:
        done = add_photos(options.map, model, photos, filled_on(cluster))
    changes = f"{done.new} new, {done.changed} changed, {done.unchanged} unchanged; {done.described} described"
    print(one_line(f"{options.map}: {done.photos} photos ({changes}), {time.perf_counter() - began:.1f} s"))
    print(f"the model is adapted to {done.adapted_to} of them" if done.adapted_to else "too few photos to adapt to")
    _say(done.left_out)
    if lost := len(found.unreadable) + len(done.left_out):
        count = len(photos) + len(found.unreadable)
        raise VprError(f"{lost} of {count} photos cannot be read; restore them and add them again")


def _say(left_out: LeftOut) -> None:
    """Count the photos that are left out, and name the first."""
    for line in left_out.said():
        print(one_line(line), file=sys.stderr)


def _frames(options: MapOptions, videos: list[Path]) -> list[Photo]:
    """The frames of videos, kept in the map's folder."""
    from vpr.maps.building import FRAMES
    from vpr.maps.video import frames_of, read_track

    if options.gpx is None:
        return []
    track, photos = read_track(options.gpx), []
    for video in videos:
        if not video.is_file():
            raise VprError(f"no video {video}; check the path")
        digest = hashlib.sha256(f"{os.path.realpath(video)} {video.stat().st_size}".encode()).hexdigest()[:8]
        folder = Path(os.path.realpath(options.map)) / FRAMES / f"{video.stem}-{digest}"
        photos += frames_of(video, track, folder, options.every, options.start)
    return photos


def _remove(options: MapOptions) -> None:
    from vpr.maps.building import remove_photos
    from vpr.maps.store import State

    State.of(options.map)  # it is there
    gone = remove_photos(options.map, _model(options), options.sources)
    print(one_line(f"{options.map}: {gone} photos removed, {State.of(options.map).photos} are left"))


def _tell(options: MapOptions) -> None:
    from vpr.maps.building import read_map
    from vpr.maps.described import stamp_of
    from vpr.maps.store import settled

    model = _model(options)
    content = settled(options.map, lambda: read_map(options.map, model))
    state, table = content.state, content.table
    stamps = [stamp_of(str(path)) for path in options.map.rglob("*") if path.is_file()]
    size = sum(stamp[0] for stamp in stamps if stamp) / 1e6
    south, north = table.latitude.min(), table.latitude.max()
    west, east = table.longitude.min(), table.longitude.max()
    print(one_line(f"{options.map}: {state.photos} photos, {size:.1f} MB"))
    print(f"latitude {south:.6f} to {north:.6f}, longitude {west:.6f} to {east:.6f}")
    adapted = f"adapted to {state.adapted_to} photos" if state.adapted_to else "not adapted"
    print(one_line(f"model {state.run} ({state.fingerprint}), {adapted}; index: {state.index}"))


if __name__ == "__main__":
    sys.exit(main())
