"""``python -m vpr.map MAP add FOLDER``: a map of your own photos with positions.

``add`` adds photos to the map, ``remove`` removes them, ``info`` prints the content of the map. ``check`` locates
photos with known positions, and prints how good the answers are. ``pairs`` writes photos of the map that look alike,
for COLMAP and hloc. An interrupted ``add`` continues when it is given
again. Photos that are already described are not described again.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vpr.base.command import one_line, run_command
from vpr.base.errors import VprError
from vpr.base.machine import Device
from vpr.base.settings import NonNegativeFloat, PositiveFloat, PositiveInt, option, output, positional
from vpr.cache import PatchType
from vpr.cluster.options import ClusterOptions
from vpr.maps.options import DecisionConfig, FolderRole
from vpr.models.settings import RUN, TRUST

if TYPE_CHECKING:
    from vpr.cluster.connecting import Cluster
    from vpr.description.cache_filling import CacheFillOptions
    from vpr.maps.building import AddResult
    from vpr.maps.checking import CheckResult
    from vpr.maps.photo_map import Map
    from vpr.maps.skipped_photos import SkippedPhotos
    from vpr.run import Run


@dataclass(frozen=True)
class MapOptions:
    """Map and photos."""

    map: Path = positional("folder of the map; add creates it", "MAP")
    action: Literal["add", "remove", "info", "check", "pairs"] = positional(
        "add photos, remove photos, print information, check the map by photos with known positions, or write pairs of "
        "its photos that look alike",
        "{add,remove,info,check,pairs}",
    )
    sources: tuple[str, ...] = positional(
        "add: folders, photos, videos, and lists of photos with positions (.csv, .geojson); check: the same without "
        "videos; remove: folders, paths or names of photos", "FOLDER|FILE", minimum=0,
    )  # fmt: skip
    crs: str = option(
        "", "reference system (CRS) of eastings and northings if a list has no column crs, for example EPSG:32631"
    )
    folders: FolderRole | None = option(
        None,
        "add, check: where photos of folders have their positions, if not in files. walk: a folder is the frames of a "
        "walk, in the order of their EXIF times, or else of their names. places: a folder is a place with its name",
    )
    gpx: Path | None = option(None, "GPX track of the videos to add")
    every: PositiveFloat = option(1.0, "seconds between the frames taken from a video")
    start: str = option(
        "", "start time of a video in ISO 8601, UTC if it has no offset; default: from the metadata of the video"
    )
    patches: PatchType | None = option(
        None,
        "add: type of patch descriptors. pq28 and pq14 take 28 and 14 bytes a patch; a map of float16 or int8 can be "
        "converted to them. default: that of the map, float16 for a new one, pq28 from 100,000 photos on",
    )
    place: NonNegativeFloat | None = option(
        None,
        "size of a place, metres, or frames of a walk, which add stores in the map, and check takes instead; 0 "
        "estimates it again; default: as set before, or else estimated",
    )
    run: str = option("", f"{RUN}; default: the map's model; for a new map: builtin")
    trust: bool = option(False, TRUST)
    device: Device = option("auto", "device to compute on")


@dataclass(frozen=True)
class CheckOutputs:
    """Outputs of check."""

    json: Path | None = output(None, "write figures, answers and true positions to this JSON file", "json")
    report: Path | None = output(None, "write the wrong answers to this HTML file", "html")


@dataclass(frozen=True)
class PairOptions:
    """Pairs."""

    out: Path | None = output(
        None, "the list of pairs, two names in a line, as COLMAP (match_list_path) and hloc read it", "pairs"
    )
    neighbours: PositiveInt = option(20, "number of the most similar photos that each photo is paired with")
    rerank: bool = option(False, "order the first 100 candidates by patches, too")
    images: Path | None = option(
        None, "folder that names are relative to, as image_path of COLMAP; default: the folder above all photos"
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [MapOptions, DecisionConfig, CheckOutputs, PairOptions, ClusterOptions]
    return run_command("vpr.map", "A map of your own photos with positions.", stages, _work, argv)


def _work(
    options: MapOptions, decision: DecisionConfig, outputs: CheckOutputs, pairs: PairOptions, cluster: ClusterOptions
) -> None:
    if cluster.cluster and options.action != "add":
        problem = f"{options.action} works on this machine alone"
        raise VprError(problem, thing="--cluster", remedy="leave --cluster out")
    if options.action != "check":
        _refuse_options_of("check", options.action, decision, outputs)
    if options.action != "pairs":
        _refuse_options_of("pairs", options.action, pairs)
    if options.folders and options.action not in ("add", "check"):
        raise VprError("--folders is for add and check", thing="--folders", remedy="leave --folders out")
    if options.place is not None and options.action not in ("add", "check"):
        problem = f"the size of a place is stored by add, not by {options.action}"
        raise VprError(problem, thing="--place", remedy="leave --place out, or give it to add or to vpr.locate")
    if options.action in ("info", "pairs"):
        if options.sources:
            given = options.sources[0]
            raise VprError(f"{options.action} takes only a map", thing=given, remedy=f"leave {given} out")
        if options.action == "info":
            _print_info(options)
        else:
            _write_pairs(options, pairs)
    elif not options.sources:
        raise VprError(f"{options.action}: give a folder or a file", thing=options.action)
    elif options.action == "add":
        _add(options, cluster)
    elif options.action == "check":
        _check(options, decision, outputs)
    else:
        _remove(options)


def _refuse_options_of(owner: str, action: str, *stages: DecisionConfig | CheckOutputs | PairOptions) -> None:
    """Raise VprError for an option of an action that is given to another action."""
    given, default = ({name: value for stage in side for name, value in vars(stage).items()}
                      for side in (stages, [type(stage)() for stage in stages]))  # fmt: skip
    for name, value in given.items():
        if value != default[name]:
            problem = f"--{name} is for {owner}, not for {action}"
            raise VprError(problem, thing=f"--{name}", remedy=f"leave --{name} out")


def _model(options: MapOptions) -> Run:
    """The model of ``--run``, or else of the map, or builtin."""
    from vpr.maps.store import MAP, State
    from vpr.run import load

    default = State.of(options.map).run if (options.map / MAP).is_file() else "builtin"
    return load(options.run or default, options.device, trust=options.trust)


def _add(options: MapOptions, cluster_options: ClusterOptions) -> None:
    from vpr.maps.building import add_photos_unlocked, known_positions, read_positions, require_place, write_access
    from vpr.maps.frames import require_videos, take_frames
    from vpr.maps.skipped_photos import nothing_to_add
    from vpr.maps.sources.folders import require_own_walk
    from vpr.maps.sources.positions import find_photos
    from vpr.positions.tables import other_kind

    start = time.perf_counter()
    videos = _videos(options)
    others = tuple(Path(source) for source in options.sources if Path(source) not in videos)
    require_place(options.map)
    require_videos(videos)
    model = _model(options)
    found = find_photos(others, options.crs, known_positions(options.map), options.folders)
    if options.folders == "walk":
        require_own_walk(others, [*read_positions(options.map)])
    if videos and found.kind != "earth":
        raise other_kind(f"a video with {options.gpx}", "earth", found.kind)
    _print_skipped(found.skipped)
    if not found.photos and not videos:
        raise nothing_to_add(found.skipped, found.kind)
    with cluster_options.connect() as cluster, write_access(options.map):
        frames = []
        if options.gpx is not None:
            known = read_positions(options.map)
            frames = take_frames(options.map, videos, options.gpx, options.every, options.start, known)
        photos = [*found.photos, *(photo for video in frames for photo in video.photos)]
        result = add_photos_unlocked(
            options.map, model, photos, _fill_options(cluster),
            lambda key: any(video.is_outdated(key) for video in frames), options.patches, options.place,
        )  # fmt: skip
        for video in frames:
            video.finish()
    _print_result(options.map, result, time.perf_counter() - start)
    _print_skipped(result.left_out)
    if failed := len(found.unreadable) + len(result.left_out):
        count = len(photos) + len(found.unreadable)
        raise VprError(f"{failed} of {count} photos cannot be read", remedy="restore them and add them again")


def _fill_options(cluster: Cluster | None) -> CacheFillOptions:
    """The options to describe photos, on a cluster if there is one."""
    from vpr.description.cache_filling import DEFAULT_FILL

    if cluster is None:
        return DEFAULT_FILL
    from vpr.cluster.describing import cluster_fill_options  # imports torch

    return cluster_fill_options(cluster)


def _videos(options: MapOptions) -> list[Path]:
    """The videos among the sources; raises VprError if they and the options for videos contradict each other."""
    from vpr.maps.sources.video import VIDEOS

    videos = [Path(source) for source in options.sources if source.lower().endswith(VIDEOS)]
    if (options.gpx is None) == bool(videos):
        problem = "a video needs a GPX track, and a GPX track needs a video"
        raise VprError(problem, thing="--gpx", remedy="give both: add VIDEO.mp4 --gpx TRACK.gpx")
    if options.start and len(videos) > 1:
        problem = f"--start is the time of one video, and {len(videos)} are given"
        raise VprError(problem, thing="--start", remedy="add each video by a command of its own")
    return videos


def _print_result(folder: Path, result: AddResult, seconds: float) -> None:
    """Print what has changed in a map."""
    changes = f"{result.new} new, {result.changed} changed, {result.unchanged} unchanged; {result.described} described"
    changes += f"; {result.removed} outdated frames removed" if result.removed else ""
    print(one_line(f"{folder}: {result.photos} photos ({changes}), {seconds:.1f} s"))
    print(f"the model is adapted to {result.adapted_to} of them" if result.adapted_to else "too few photos to adapt to")


def _print_skipped(skipped: SkippedPhotos) -> None:
    """Print how many photos are skipped and why, with the first names."""
    for line in skipped.lines():
        print(one_line(line), file=sys.stderr)


def _remove(options: MapOptions) -> None:
    from vpr.maps.building import remove_photos
    from vpr.maps.store import State

    State.of(options.map)  # raises if there is no map
    removed = remove_photos(options.map, _model(options), options.sources)
    print(one_line(f"{options.map}: {removed} photos removed, {State.of(options.map).photos} are left"))


def _print_info(options: MapOptions) -> None:
    from vpr.maps.building import read_map
    from vpr.maps.on_map import NO_PROBABILITIES, threshold_text
    from vpr.maps.photo_map import has_probabilities
    from vpr.maps.photo_versions import open_descriptors, read_stamp
    from vpr.maps.store import read_consistently

    model = _model(options)
    content = read_consistently(options.map, lambda: read_map(options.map, model))
    state, table = content.state, content.table
    stamps = [read_stamp(str(path)) for path in options.map.rglob("*") if path.is_file()]
    size = sum(stamp[0] for stamp in stamps if stamp) / 1e6
    print(one_line(f"{options.map}: {state.photos} photos, {size:.1f} MB"))
    print(table.frame.extent_text())
    if table.frame.has_size:
        print(f"a place is {table.frame.size_text(state.place_m)} ({'set' if state.place_is_set else 'estimated'})")
    adapted = f"adapted to {state.adapted_to} photos" if state.adapted_to else "not adapted"
    patches = open_descriptors(options.map, model).spec.dtype
    own = len(content.unknown_scores)
    fitted = f"{own} photos of the map stand for unknown places" if own else "no photos of the map stand for them"
    threshold = DecisionConfig().threshold
    if has_probabilities(content, model):
        print(f"on the map from {100 * threshold:.0f} % on: {threshold_text(threshold)}; {fitted}")
    else:
        print(f"{NO_PROBABILITIES}, so that no photo is refused; {fitted}")
    print(one_line(f"model {state.run} ({state.fingerprint}), {adapted}; patches: {patches}; index: {state.index}"))


def _write_pairs(options: MapOptions, pairs: PairOptions) -> None:
    from vpr.maps.neighbours import write_neighbour_pairs
    from vpr.maps.photo_map import Map
    from vpr.maps.store import State

    if pairs.out is None:
        raise VprError("pairs: give the file to write", thing="--out", remedy="pass --out pairs.txt")
    if State.of(options.map).photos < 2:
        raise VprError(f"{options.map} has one photo, so there are no pairs", thing=options.map, remedy="add others")
    photo_map = Map.open(options.map, _model(options))
    count, folder = write_neighbour_pairs(
        photo_map, pairs.out, pairs.neighbours, pairs.rerank, pairs.images, "looking for photos that look alike"
    )
    print(one_line(f"{pairs.out}: {count} pairs of {len(photo_map)} photos; names are below {folder}"))


def _check(options: MapOptions, decision: DecisionConfig, outputs: CheckOutputs) -> None:
    from vpr.maps.options import LocateConfig
    from vpr.maps.photo_map import Map
    from vpr.maps.sources.video import VIDEOS
    from vpr.maps.store import State

    State.of(options.map)  # raises if there is no map
    for source in options.sources:
        if source.lower().endswith(VIDEOS):
            remedy = "give photos, or a list of its frames with their positions"
            raise VprError("check takes no videos", thing=source, remedy=remedy)
    photo_map = Map.open(options.map, _model(options))
    config = LocateConfig(**vars(decision), place=options.place or 0.0)
    result = photo_map.check(
        *options.sources, config=config, crs=options.crs, title="checking", folders=options.folders
    )
    _print_skipped(result.left_out)
    if result.in_map:
        print(
            one_line(f"{len(result.in_map)} photos are in the map itself, or copies, and are left out"), file=sys.stderr
        )
    if not result.photos:
        raise VprError("no photo can be read", thing=options.sources[0], remedy="restore them, or give others")
    if problem := photo_map.probability_problem(config):
        print(one_line(f"probabilities unavailable: {problem}"), file=sys.stderr)
    first, *rest = result.lines()
    print("\n".join([one_line(f"{options.map}: {first}"), *rest]))
    _write_check(outputs, photo_map, result)
    if count := len(result.left_out.unreadable):
        raise VprError(f"{count} photos cannot be read; the others were checked")


def _write_check(outputs: CheckOutputs, photo_map: Map, result: CheckResult) -> None:
    """Write the outputs of a check."""
    from vpr.base.files import write_bytes, write_json
    from vpr.maps.pages import page

    if outputs.json:
        about = {"map": str(photo_map.folder), "model": photo_map.model.name}
        write_json(outputs.json, {**about, **result.as_json()})
    if outputs.report:
        title = f"Wrong answers of {photo_map.folder}"
        frame = photo_map.content.table.frame
        text = page(result.wrong, photo_map.positions, title, result.counts(), frame)
        write_bytes(outputs.report, text.encode(errors="xmlcharrefreplace"))
    if written := [str(path) for path in (outputs.json, outputs.report) if path]:
        print(one_line(f"written: {', '.join(written)}"))


if __name__ == "__main__":
    sys.exit(main())
