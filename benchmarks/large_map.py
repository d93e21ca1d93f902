"""``python -m benchmarks.large_map PHOTOS QUERIES``: locating one photo on a map of many photos, on one core.

PHOTOS and QUERIES are folders of photos. The map has ``--count`` links to PHOTOS, each with its own position and with
the patches of its photo, of which some are replaced by those of other photos. Prints the time of building the map
without describing, and the median time of `Map.locate`, with decoding.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from vpr.cache import DescriptorCache, create
from vpr.description.photos import find_photo_files
from vpr.maps.photo_map import Map
from vpr.maps.photo_versions import FileStamp, version_name
from vpr.run import Run, load

BLOCK = 2000  # photos that are written at a time
EXCHANGED_SHARE = 0.5  # share of the patches that are replaced by those of another photo
SPACING = 1e-4  # degrees between photos, about 11 m


def link_photos(folder: Path, photos: list[Path], count: int) -> list[str]:
    """Make links to photos, with positions in their names; returns their names in the cache of a map."""
    folder.mkdir()
    side = int(np.ceil(count**0.5))
    names = []
    for number in range(count):
        latitude, longitude = 50 + SPACING * (number // side), 5 + SPACING * (number % side)
        path = folder / f"@{latitude:.6f}@{longitude:.6f}@{number}@.jpg"
        os.link(photos[number % len(photos)], path)
        status = path.stat()
        names.append(version_name(path.as_posix(), FileStamp(status.st_size, status.st_mtime_ns)))
    return names


def fill(path: Path, model: Run, photos: list[Path], keys: list[str]) -> None:
    """Write a cache with the mixed patches of photos."""
    rng, described = np.random.default_rng(0), model.describe(photos)
    sizes = np.array([photo.stat().st_size for photo in photos])
    create(path, keys, model.spec)
    cache = DescriptorCache(path, model.spec, writable=True)
    for start in range(0, len(keys), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(keys)))
        own, other = rows % len(photos), rng.integers(0, len(photos), len(rows))
        exchanged = rng.random((len(rows), described.patches.shape[1], 1)) < EXCHANGED_SHARE
        patches = np.where(exchanged, described.patches[other], described.patches[own])
        cache.restart(rows, sizes[own])
        cache.write(rows, described.globals_[own], patches)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--scratch", type=Path, default=None, help="folder of the map, on the disk of PHOTOS")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model, photos, queries = load(), find_photo_files(arguments.photos), find_photo_files(arguments.queries)[:101]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        map_folder = Path(folder) / "map"
        map_folder.mkdir()
        keys = link_photos(Path(folder) / "photos", photos, arguments.count)
        fill(map_folder / "descriptors.h5", model, photos, keys)
        start = time.perf_counter()
        photo_map = Map.build(map_folder, Path(folder) / "photos", model=model)
        print(f"{len(photo_map)} photos, index {photo_map.content.state.index}: the map in "
              f"{time.perf_counter() - start:.0f} s, without describing")  # fmt: skip
        start = time.perf_counter()
        photo_map = Map.open(map_folder, model)
        print(f"opened in {time.perf_counter() - start:.2f} s")
        clocks = (time.perf_counter, time.process_time)
        times = []
        for query in queries:
            start = [clock() for clock in clocks]
            photo_map.locate(query)
            times.append([1000 * (clock() - begin) for clock, begin in zip(clocks, start)])
        (first, _), *rest = times
        median, high = np.median(rest, 0), np.percentile(rest, 95, 0)
        print(f"first photo {first:.0f} ms; then median {median[0]:.1f} ms, 95 % below {high[0]:.1f} ms "
              f"(of the processor {median[1]:.1f} and {high[1]:.1f} ms)")  # fmt: skip


if __name__ == "__main__":
    main()
