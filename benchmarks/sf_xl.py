"""``python -m benchmarks.sf_xl``: an evaluation of the size of SF-XL: 2.8 million database images, 1,000 queries.

Descriptors are made up, with the lengths of those of the built-in weights: global descriptors of 256 float32, and 100
patches of pq28 codes. Prints memory and time of each step of `eval.places --rerank --patches pq28` behind the
description of the photos: opening the caches, the shortlist by exact search, and re-ranking, first with the file on
disk only (cold) and then again (warm). Memory is without mapped files, and each step's peak. The steps run in one new
process, on all cores that the process may use.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.map_index import run_alone, watch_memory
from benchmarks.patch_types import drop_pages
from vpr.base.machine import usable_cores
from vpr.cache import CacheSpec, Coding, DescriptorCache, create
from vpr.datasets.retrieval_set import Entries, RetrievalSet
from vpr.description.joined_cache import JoinedCache
from vpr.eval.descriptors import DescribedSet
from vpr.eval.ranking import find_shortlist
from vpr.eval.ranking import rerank as rerank_shortlist
from vpr.patch_codes import CODE_BYTES, PatchCodes
from vpr.retrieval.settings import RerankConfig

GLOBAL, PATCHES, DIM = 256, 100, 112  # numbers of a global descriptor, patches, numbers of a patch
DEPTH, BLOCK = 100, 20_000  # candidates of a query; images that are written at a time
FINGERPRINT = "made-up"


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., C) of length 1."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def names_of(side: str, count: int) -> list[str]:
    """Names of the length of those of SF-XL."""
    return [f"{side}/@0543256.{number % 100:02d}@4178906.{number % 97:02d}@10@S@@@{number:022d}@@.jpg"
            for number in range(count)]  # fmt: skip


def write_database(path: Path, count: int) -> None:
    """Write a cache of made-up codes and global descriptors, block by block."""
    rng = np.random.default_rng(0)
    codes = PatchCodes.fit(unit(rng.standard_normal((400, PATCHES, DIM), np.float32)), CODE_BYTES["pq28"])
    spec = CacheSpec(FINGERPRINT, PATCHES, DIM, "pq28", GLOBAL)
    create(path, names_of("database", count), spec, coding=Coding(codes, "none", {}), sparse=True)
    cache = DescriptorCache(path, spec, writable=True)
    for start in range(0, count, BLOCK):
        rows = slice(start, min(start + BLOCK, count))
        size = rows.stop - rows.start
        cache.globals_[rows] = unit(rng.standard_normal((size, GLOBAL), np.float32))
        cache.patches[rows] = rng.integers(0, 256, (size, PATCHES, CODE_BYTES["pq28"]), np.uint8)
        cache.done[rows] = 1


def write_queries(path: Path, count: int) -> None:
    """Write a cache of made-up exact descriptors."""
    rng, spec = np.random.default_rng(1), CacheSpec(FINGERPRINT, PATCHES, DIM, "float16", GLOBAL)
    create(path, names_of("queries", count), spec)
    cache = DescriptorCache(path, spec, writable=True)
    patches = unit(rng.standard_normal((count, PATCHES, DIM), np.float32)).astype(np.float16)
    cache.write(np.arange(count), unit(rng.standard_normal((count, GLOBAL), np.float32)), patches)


def entries(names: list[str]) -> Entries:
    """The images as one group."""
    array = np.empty(len(names), object)
    array[:] = names
    return Entries(array[:, None], array, np.array([0, len(names)]))


def measure(folder: Path, database: int, queries: int) -> list[str]:
    """A line for each step."""
    data = RetrievalSet(
        folder, entries(names_of("queries", queries)), entries(names_of("database", database)), None, FINGERPRINT
    )
    lines = []
    with watch_memory() as peak:
        start = time.perf_counter()
        cache = JoinedCache(DescriptorCache(folder / "database.h5"), DescriptorCache(folder / "queries.h5"))
        described = DescribedSet.from_cache(data, cache)
        seconds = time.perf_counter() - start
    lines.append(f"opening the caches: {seconds:.1f} s, {peak[0] / 1e3:.1f} GB")
    with watch_memory() as peak:
        start = time.perf_counter()
        shortlist = find_shortlist(described, DEPTH)
        seconds = time.perf_counter() - start
    each = 1000 * seconds / queries
    lines.append(f"shortlist of {DEPTH}, exact: {seconds:.1f} s, {each:.1f} ms a query, {peak[0] / 1e3:.1f} GB")
    few = DescribedSet.from_cache(data, cache)
    few.compare(shortlist.ranked[:1], RerankConfig(), queries=slice(1))  # compiles
    for name in ("cold", "warm"):
        if name == "cold":
            drop_pages(folder / "database.h5")
        with watch_memory() as peak:
            seconds = -time.perf_counter()
            rerank_shortlist(described, shortlist, RerankConfig(geometry=20), weight=5.0, fusion="similarity")
            seconds += time.perf_counter()
        each = 1000 * seconds / queries
        lines.append(f"re-ranking, {name}: {seconds:.1f} s, {each:.1f} ms a query, {peak[0] / 1e3:.1f} GB")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return [*lines, f"with mapped files at most {most:.1f} GB were in memory"]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", type=int, default=2_800_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--scratch", type=Path, default=None, help="folder for 11 GB of files, which are removed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder = Path(name)
        start = time.perf_counter()
        write_database(folder / "database.h5", arguments.database)
        write_queries(folder / "queries.h5", arguments.queries)
        size = (folder / "database.h5").stat().st_size
        print(f"{arguments.database:,} database images, {arguments.queries:,} queries, {usable_cores()} cores; "
              f"{size / 1e9:.1f} GB written in {time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
        for line in run_alone(measure, folder, arguments.database, arguments.queries):
            print(line)


if __name__ == "__main__":
    main()
