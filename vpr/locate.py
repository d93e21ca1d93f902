"""``python -m vpr.locate MAP PHOTO``: where photos were taken, by a map of your own photos."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpr.base.command import INCOMPLETE, one_line, run_command
from vpr.base.errors import VprError
from vpr.base.files import write_bytes, write_json
from vpr.base.machine import Device
from vpr.base.settings import NonNegativeFloat, NonNegativeInt, option, output, positional
from vpr.cluster.options import ShardOptions
from vpr.maps.options import LocateConfig
from vpr.models.settings import RUN, TRUST

log = logging.getLogger("vpr")

if TYPE_CHECKING:
    from vpr.maps.photo_map import Map
    from vpr.maps.results import Located


@dataclass(frozen=True)
class LocateOptions:
    """Map and photos."""

    map: Path = positional("folder of a map made by vpr.map", "MAP")
    photos: tuple[Path, ...] = positional("photos or folders of photos", "PHOTO|FOLDER")
    json: Path | None = output(None, "write positions, probabilities and matches to this JSON file", "json")
    geojson: Path | None = output(None, "write the positions to this GeoJSON file, as points", "json")
    csv: Path | None = output(None, "write one row per photo to this CSV file", "csv")
    report: Path | None = output(None, "write photos and matches to this HTML file", "html")
    shortlist: Path | None = option(
        None,
        "find candidates by another model's descriptors of the map's photos and of the photos to locate (.h5, .npy, or "
        "a folder)",
    )
    reach: NonNegativeFloat | None = option(None, "has no effect since 0.2.0: a drive's own spacing is estimated")
    window: NonNegativeInt | None = option(None, "has no effect since 0.2.0: all frames of a drive are used")
    run: str = option("", f"{RUN}; default: the map's model")
    trust: bool = option(False, TRUST)
    device: Device = option("auto", "device to compute on")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Where photos were taken: positions, probabilities, and the matching photos of the map."
    return run_command("vpr.locate", about, [LocateOptions, LocateConfig, ShardOptions], _work, argv)


def _work(options: LocateOptions, config: LocateConfig, cluster: ShardOptions) -> int:
    from vpr.description.foreign import read_foreign
    from vpr.maps.frame_order import split_drives
    from vpr.maps.photo_map import Map
    from vpr.maps.results import Located, require_earth
    from vpr.maps.skipped_photos import first_names
    from vpr.run import load

    for name in ("reach", "window"):
        if getattr(options, name) is not None:
            log.warning("--%s has no effect any more; leave it out", name)
    photos = _find_photos(options.photos)
    model = load(options.run, options.device, trust=options.trust) if options.run else None
    photo_map = Map.open(options.map, model, options.device, options.trust)
    if options.geojson:
        require_earth(photo_map.kind, "--geojson")
    if problem := photo_map.probability_problem(config):
        print(one_line(f"probabilities unavailable: {problem}"), file=sys.stderr)
    shortlist = None if options.shortlist is None else read_foreign(options.shortlist)
    located, unreadable = list[Located](), dict[str, str]()
    with _open_in_shards(photo_map, cluster) as open_map:
        for drive in split_drives(photos) if config.sequence else [photos]:
            drive_located, drive_unreadable = open_map.locate_readable(drive, config, "locating", shortlist)
            located += drive_located
            unreadable |= drive_unreadable
    if not located:
        problem = f"no photo can be read: {first_names([*unreadable.values()])}"
        raise VprError(problem, remedy="restore them, or give others")
    for location in located:
        _print_located(location)
    print(one_line(f"{options.map}: {_summary(located, unreadable)}"))
    _write(options, photo_map, located, unreadable)
    if unreadable:
        print(one_line(f"cannot be read: {first_names([*unreadable.values()])}"), file=sys.stderr)
        raise VprError(f"{len(unreadable)} of {len(photos)} photos cannot be read; the others were located")
    return INCOMPLETE if any(location.not_searched for location in located) else 0


def _find_photos(places: Sequence[Path]) -> list[Path]:
    """The photos of folders and files in the order given, those of a folder by name, numbers by value.

    Photos that are given again are left out, with a warning.
    """
    from vpr.description.photos import find_photo_files
    from vpr.maps.frame_order import natural_key
    from vpr.maps.skipped_photos import first_names
    from vpr.positions.paths import RealPaths

    photos, repeated, real = dict[str, Path](), list[str](), RealPaths()
    for photo in (photo for place in places for photo in sorted(find_photo_files(place), key=natural_key)):
        if photos.setdefault(real(photo), photo) is not photo:
            repeated.append(photo.name)
    if repeated:
        names = [*dict.fromkeys(repeated)]
        log.warning("%d photos are given twice and are located once: %s", len(names), first_names(names))
    return [*photos.values()]


@contextmanager
def _open_in_shards(photo_map: Map, options: ShardOptions) -> Iterator[Map]:
    """The map in shards if ``--cluster`` is given, otherwise the map itself."""
    with options.connect() as cluster:
        if cluster is None:
            yield photo_map
            return
        from vpr.cluster.shards import sharded

        with sharded(photo_map, cluster, options.shards) as sharded_map:
            yield sharded_map


def _output_paths(options: LocateOptions) -> list[Path]:
    return [path for path in (options.json, options.geojson, options.csv, options.report) if path]


def _summary(located: list[Located], unreadable: dict[str, str]) -> str:
    text = f"{sum(location.on_map for location in located)} of {len(located)} photos are on the map"
    return text + (f", {len(unreadable)} cannot be read" if unreadable else "")


def _print_located(location: Located) -> None:
    print(one_line(location.summary()))
    for match in location.matches:
        similar = f"S_global {match.s_global:.3f}  S_struct {match.s_struct:.3f}"
        print(one_line(f"    {match.where_text():>10}  {similar}  {match.photo}"))


def _write(options: LocateOptions, photo_map: Map, located: list[Located], unreadable: dict[str, str]) -> None:
    import csv
    import io

    from vpr.maps.pages import page
    from vpr.maps.results import as_geojson, as_rows, csv_columns

    if options.json:
        errors = [{"photo": photo, "error": message} for photo, message in unreadable.items()]
        content = {
            "map": str(options.map),
            "model": photo_map.model.name,
            "kind": photo_map.kind,
            "photos": [location.as_json() for location in located],
        }
        write_json(options.json, {**content, "unreadable": errors})
    if options.geojson:
        write_json(options.geojson, as_geojson(located, str(options.map)))
    if options.csv:
        rows, table = io.StringIO(newline=""), as_rows(located, str(options.map))
        csv.writer(rows, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(
            [csv_columns(photo_map.kind), *table]
        )
        write_bytes(options.csv, rows.getvalue().encode(errors="backslashreplace"))
    if options.report:
        title, frame = f"Located on {options.map}", photo_map.content.table.frame
        text = page(located, photo_map.positions, title, _summary(located, unreadable), frame)
        write_bytes(options.report, text.encode(errors="xmlcharrefreplace"))
    if outputs := _output_paths(options):
        print(one_line(f"written: {', '.join(str(path) for path in outputs)}"))


if __name__ == "__main__":
    sys.exit(main())
