"""``python -m vpr.locate MAP PHOTO``: where photos were taken, by a map of own photos."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpr.base.command import INCOMPLETE, printable, run_command
from vpr.base.errors import VprError
from vpr.base.files import write_bytes, write_json
from vpr.base.machine import Device
from vpr.base.settings import option, positional
from vpr.cluster.options import ShardOptions
from vpr.maps.options import LocateConfig

if TYPE_CHECKING:
    from vpr.maps.photo_map import Map
    from vpr.maps.results import Located


@dataclass(frozen=True)
class LocateOptions:
    """Map and photos."""

    map: Path = positional("the folder of a map that vpr.map made", "MAP")
    photos: tuple[Path, ...] = positional("photos, or folders of photos", "PHOTO|FOLDER")
    json: Path | None = option(None, "write positions, probabilities and matches here")
    geojson: Path | None = option(None, "write the positions as GeoJSON points here")
    csv: Path | None = option(None, "write a row for each photo here")
    report: Path | None = option(None, "write one HTML page with photos and matches here")
    shortlist: Path | None = option(
        None, "another model's descriptors of the map's photos and of these (.h5, .npy, or a folder), which find the "
        "candidates",
    )  # fmt: skip
    run: str = option("", "run folder of the model, or 'builtin'; the map's own if left out")
    device: Device = option("auto", "where to compute")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Where photos were taken: positions, how sure they are, and the photos of the map that match."
    return run_command("vpr.locate", about, [LocateOptions, LocateConfig, ShardOptions], _work, argv)


def _work(options: LocateOptions, config: LocateConfig, cluster: ShardOptions) -> int:
    from vpr.description.foreign import read_foreign
    from vpr.description.shown import photos_in
    from vpr.maps.familiarity import FEWEST
    from vpr.maps.left_out import listed, reason
    from vpr.maps.model import load
    from vpr.maps.photo_map import Map
    from vpr.maps.results import Located

    photos = [photo for place in options.photos for photo in photos_in(place)]
    _refuse_overwriting(options, photos)
    photo_map = Map.open(options.map, load(options.run, options.device) if options.run else None, options.device)
    if photo_map.model.curves.rerank is None:
        print(printable(f"{photo_map.model.run} has no calibration: no probabilities are told"), file=sys.stderr)
    elif len(photo_map) < FEWEST:
        print(printable(f"{options.map} has fewer than {FEWEST} photos: no probabilities are told"), file=sys.stderr)
    by = None if options.shortlist is None else read_foreign(options.shortlist)
    located, unreadable = list[Located](), dict[str, str]()
    with _held(photo_map, cluster) as held:
        for drive in _drives(photos, config):
            found, lost = held.locate_readable(drive, config, "locating", by)
            located += found
            unreadable |= {photo: reason(why) for photo, why in lost.items()}
    if not located:
        raise VprError(f"no photo can be read: {listed([*unreadable.values()])}; restore them, or give others")
    for one in located:
        _tell(one)
    print(_summary(located, unreadable))
    _write(options, photo_map, located, unreadable)
    if unreadable:
        print(printable(f"cannot be read: {listed([*unreadable.values()])}"), file=sys.stderr)
        raise VprError(f"{len(unreadable)} of {len(photos)} photos cannot be read; the others were located")
    return INCOMPLETE if any(one.not_searched for one in located) else 0


@contextmanager
def _held(photo_map: Map, options: ShardOptions) -> Iterator[Map]:
    """Inside, the map in shards on a cluster, where one is asked for."""
    with options.joined() as cluster:
        if cluster is None:
            yield photo_map
            return
        from vpr.cluster.of_maps import sharded

        with sharded(photo_map, cluster, options.shards) as held:
            yield held


def _drives(photos: list[Path], config: LocateConfig) -> list[list[Path]]:
    """With --sequence the photos of each folder, in the order of their names; all together without."""
    if not config.sequence:
        return [photos]
    drives: dict[Path, list[Path]] = {}
    for photo in sorted(photos):
        drives.setdefault(photo.parent, []).append(photo)
    return [*drives.values()]


def _outputs(options: LocateOptions) -> list[Path]:
    return [path for path in (options.json, options.geojson, options.csv, options.report) if path]


def _refuse_overwriting(options: LocateOptions, photos: list[Path]) -> None:
    """Raise VprError where an output would replace a photo, or another output."""
    outputs = [path.resolve() for path in _outputs(options)]
    if len({*outputs}) < len(outputs):
        raise VprError("two of --json, --geojson, --csv and --report are the same file; name another for one of them")
    if {*outputs} & {photo.resolve() for photo in photos}:
        raise VprError("an output names one of the photos, which would be replaced; name another file")


def _summary(located: list[Located], unreadable: dict[str, str]) -> str:
    said = f"{sum(one.on_map for one in located)} of {len(located)} photos are on the map"
    return said + (f", {len(unreadable)} cannot be read" if unreadable else "")


def _tell(one: Located) -> None:
    print(printable(one.said()).replace("\n", r"\n"))
    for match in one.matches:
        print(printable(f"    {match.metres:8.1f} m  S_global {match.s_global:.3f}  S_struct {match.s_struct:.3f}  "
                        f"{match.photo}"))  # fmt: skip


def _write(options: LocateOptions, photo_map: Map, located: list[Located], unreadable: dict[str, str]) -> None:
    import csv
    import io

    from vpr.maps.pages import page
    from vpr.maps.results import COLUMNS, as_geojson, as_rows

    if options.json:
        lost = [{"photo": photo, "error": why} for photo, why in unreadable.items()]
        content = {"map": str(options.map), "model": photo_map.model.run, "photos": [one.as_json() for one in located]}
        write_json(options.json, {**content, "unreadable": lost})
    if options.geojson:
        write_json(options.geojson, as_geojson(located))
    if options.csv:
        rows = io.StringIO(newline="")
        csv.writer(rows, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows([COLUMNS, *as_rows(located)])
        write_bytes(options.csv, rows.getvalue().encode(errors="backslashreplace"))
    if options.report:
        text = page(located, photo_map.positions, f"Located on {options.map}", _summary(located, unreadable))
        write_bytes(options.report, text.encode(errors="xmlcharrefreplace"))
    if outputs := _outputs(options):
        print(printable(f"written: {', '.join(str(path) for path in outputs)}"))


if __name__ == "__main__":
    sys.exit(main())
