"""``python -m benchmarks.large_map PHOTOS QUERIES``: one photo against a map of many, on one core.

PHOTOS and QUERIES are folders of photos. The map has as many photos as are asked for: links to those of PHOTOS, each
with the patches of its photo, a part of which is exchanged for those of others, and a position of its own. It prints
the time for the map without describing, and the median time of `Map.locate`, decoding the photo included.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from vpr.cache import DescriptorCache, create
from vpr.description.shown import photos_in
from vpr.maps.described import name_of
from vpr.maps.photo_map import Map
from vpr.run import Run, load

BLOCK = 2000  # photos that are made up at a time
EXCHANGED = 0.5  # share of a photo's patches that are another one's
SPACING = 1e-4  # degrees between photos, about 11 m


def linked(folder: Path, photos: list[Path], count: int) -> list[str]:
    """Links to photos, whose names tell positions; what the cache of a map calls them."""
    folder.mkdir()
    side = int(np.ceil(count**0.5))
    names = []
    for number in range(count):
        latitude, longitude = 50 + SPACING * (number // side), 5 + SPACING * (number % side)
        path = folder / f"@{latitude:.6f}@{longitude:.6f}@{number}@.jpg"
        os.link(photos[number % len(photos)], path)
        status = path.stat()
        names.append(name_of(path.as_posix(), (status.st_size, status.st_mtime_ns)))
    return names


def fill(path: Path, model: Run, photos: list[Path], keys: list[str]) -> None:
    """Write a cache with made-up patches of photos."""
    rng, described = np.random.default_rng(0), model.describe(photos)
    sizes = np.array([photo.stat().st_size for photo in photos])
    create(path, keys, model.spec)
    cache = DescriptorCache(path, model.spec, writable=True)
    for start in range(0, len(keys), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(keys)))
        own, other = rows % len(photos), rng.integers(0, len(photos), len(rows))
        exchanged = rng.random((len(rows), described.patches.shape[1], 1)) < EXCHANGED
        patches = np.where(exchanged, described.patches[other], described.patches[own])
        cache.restart(rows, sizes[own])
        cache.write(rows, described.globals_[own], patches)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--scratch", type=Path, default=None, help="where the map is written, on the disk of PHOTOS")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model, photos, queries = load(), photos_in(given.photos), photos_in(given.queries)[:101]
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        place = Path(folder) / "map"
        place.mkdir()
        keys = linked(Path(folder) / "photos", photos, given.count)
        fill(place / "descriptors.h5", model, photos, keys)
        start = time.perf_counter()
        photo_map = Map.build(place, Path(folder) / "photos", model=model)
        print(f"{len(photo_map)} photos, index {photo_map.content.state.index}: the map in "
              f"{time.perf_counter() - start:.0f} s, without describing")  # fmt: skip
        start = time.perf_counter()
        photo_map = Map.open(place, model)
        print(f"opened in {time.perf_counter() - start:.2f} s")
        clocks = (time.perf_counter, time.process_time)
        taken = []
        for query in queries:
            start = [clock() for clock in clocks]
            photo_map.locate(query)
            taken.append([1000 * (clock() - began) for clock, began in zip(clocks, start)])
        (first, _), *rest = taken
        median, high = np.median(rest, 0), np.percentile(rest, 95, 0)
        print(f"first photo {first:.0f} ms; then median {median[0]:.1f} ms, 95 % below {high[0]:.1f} ms "
              f"(of the processor {median[1]:.1f} and {high[1]:.1f} ms)")  # fmt: skip


if __name__ == "__main__":
    main()
