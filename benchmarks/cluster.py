"""``python -m benchmarks.cluster``: a map in shards compared with one machine, and estimated costs of larger maps.

The map has random descriptors of the shape of the built-in weights, in a temporary folder. A query is searched and its
first 100 candidates are re-ranked. Costs of larger maps are computed from the measurements.
"""

import argparse
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vpr.cache import CacheSpec, DescriptorCache, create
from vpr.cluster.connecting import connect
from vpr.cluster.shards import ShardedIndex, sharded
from vpr.description.batches import ImageDescriptors
from vpr.maps.candidates import CandidateFinder
from vpr.maps.photo_map import Map
from vpr.maps.store import DESCRIPTORS, PhotoTable, State, file_digest, write_array, write_table
from vpr.run import Run, load

BLOCK, DEPTH, QUERIES, TURNS = 10_000, 100, 40, 5
CODE_BYTES = 64 + 8  # of IVF-PQ: a code and a number
LARGE = (1_000_000, 100_000_000, 1_000_000_000)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 3, 6])
    parser.add_argument("--folder", type=Path, help="folder of the map; default: the temporary folder of the system")
    arguments = parser.parse_args()
    model = load()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, connect("local") as cluster:
        photo_map = write_random_map(Path(folder) / "map", arguments.photos, model)
        queries = random_queries(model.spec)
        one = measure("one machine", photo_map.finder, queries)
        overheads = {}
        for shards in arguments.shards:
            start = time.perf_counter()
            with sharded(photo_map, cluster, shards) as sharded_map:
                sharded_map.finder.find(queries[0], DEPTH)
                start_s = time.perf_counter() - start
                times = measure(f"{shards} shards", sharded_map.finder, queries)
                overheads[shards], send_ms = measure_question(sharded_map.finder.shards)
                memory = describe_memory(sharded_map.finder.shards, arguments.photos // shards)
                os.kill(first_process(sharded_map.finder.shards), signal.SIGKILL)
                start = time.perf_counter()
                sharded_map.finder.find(queries[0], DEPTH)
                restart_s = time.perf_counter() - start
            print(
                f"    first answer after {start_s:.1f} s; a question to all shards {overheads[shards]:.2f} ms, "
                f"sending it {send_ms:.2f} ms; {memory}"
            )
            print(
                f"    {times[0] - one[0]:+.2f} ms compared with one machine; {restart_s:.1f} s for a query after a kill"
            )
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    estimate(model.spec, arguments.photos, one, overheads)


def write_random_map(folder: Path, photos: int, model: Run) -> Map:
    """Write a map of random unit vectors."""
    rng, spec = np.random.default_rng(0), model.spec
    keys = [f"/photos/{number:09d}.jpg" for number in range(photos)]
    folder.mkdir()
    create(folder / DESCRIPTORS, keys, spec)
    cache = DescriptorCache(folder / DESCRIPTORS, spec, writable=True)
    patches = to_unit(rng.standard_normal((min(BLOCK, photos), spec.patches, spec.dim), np.float32) + 0.4)
    for start in range(0, photos, BLOCK):
        rows = np.arange(start, min(start + BLOCK, photos))
        descriptors = to_unit(rng.standard_normal((len(rows), spec.global_dim), np.float32) + 0.2)
        cache.write(rows, descriptors, patches[: len(rows)])
    table = PhotoTable.from_rows([(key, 47 + 1e-6 * row, 8.0, 1, 1) for row, key in enumerate(keys)])
    write_table(folder / "photos-1.csv", table)
    write_array(folder / "globals-1.npy", cache.globals_)
    write_array(folder / "strangers-1.npy", np.zeros(0))
    names = {"photos": "photos-1.csv", "globals": "globals-1.npy", "strangers": "strangers-1.npy"}
    files = {role: [name, file_digest(folder / name)] for role, name in names.items()}
    State(model.name, spec.fingerprint, 1, photos, files=files).write(folder)
    return Map.open(folder, model)


def to_unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1 along the last axis."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def random_queries(spec: CacheSpec) -> list[ImageDescriptors]:
    """Descriptors of queries of one photo each."""
    rng = np.random.default_rng(1)
    shapes = (1, spec.global_dim), (1, spec.patches, spec.dim)
    pairs = [[to_unit(rng.standard_normal(shape, np.float32) + 0.3) for shape in shapes] for _ in range(QUERIES)]
    return [ImageDescriptors(descriptor, patches.astype(np.float16)) for descriptor, patches in pairs]


def measure(name: str, finder: CandidateFinder, queries: list[ImageDescriptors]) -> tuple[float, float]:
    """Print and return the medians of milliseconds of a query, and of its search alone."""
    whole = median_ms([lambda query=query: finder.find(query, DEPTH) for query in queries])
    search = median_ms([lambda query=query: finder.index.search(query.globals_, DEPTH) for query in queries])
    together = ImageDescriptors(
        np.concatenate([query.globals_ for query in queries]), np.concatenate([query.patches for query in queries])
    )
    batch = median_ms([lambda: finder.find(together, DEPTH)]) / len(queries)
    print(f"{name}: {whole:.2f} ms a query, its search {search:.2f} ms; {batch:.2f} ms in a batch of {len(queries)}")
    return whole, search


def median_ms(calls: list[Callable]) -> float:
    """The median over calls of the fastest of several turns."""
    for call in calls[:3]:
        call()
    times = np.full((TURNS, len(calls)), np.inf)
    for turn in range(TURNS):
        for number, call in enumerate(calls):
            start = time.perf_counter()
            call()
            times[turn, number] = time.perf_counter() - start
    return 1000 * float(np.median(times.min(0)))


def measure_question(shards: ShardedIndex) -> tuple[float, float]:
    """Milliseconds until all shards have answered an empty question, and of sending it alone."""
    actors = shards.actors
    question = (np.zeros((0, 1), np.float32), 1, 0, 0)
    answer_ms = median_ms([lambda: actors.ask("search", [question] * len(actors))] * 20)
    send_ms = median_ms([lambda: [actor.ask.remote("search", *question) for actor in actors.actors]] * 20)
    return answer_ms, send_ms


def first_process(shards: ShardedIndex) -> int:
    """The number of the process of the first shard."""
    return int(shards.actors.names[0].split()[-1])


def describe_memory(shards: ShardedIndex, photos: int) -> str:
    """The memory of a shard as text: its own, and that of mapped files, which the system may drop."""
    lines = Path(f"/proc/{first_process(shards)}/status").read_text().splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Rss")}
    return f"a shard of {photos} photos takes {values['RssAnon']:.0f} MiB and {values['RssFile']:.0f} MiB of files"


def estimate(spec: CacheSpec, photos: int, one: tuple[float, float], overheads: dict[int, float]) -> None:
    """Print the estimated costs of larger maps."""
    sizes = {"patches float16": 2 * spec.patches * spec.dim, "patches int8": spec.patches * spec.dim,
             "globals": 4 * spec.global_dim, "IVF-PQ codes": CODE_BYTES}  # fmt: skip
    print("bytes a photo: " + ", ".join(f"{name} {size}" for name, size in sizes.items()))
    per_million, compare = one[1] * 1e6 / photos, one[0] - one[1]
    few, many = min(overheads), max(overheads)
    each = max(0.0, (overheads[many] - overheads[few]) / max(1, many - few))
    base = max(0.0, overheads[few] - few * each)
    print(f"flat search {per_million:.1f} ms a million photos, re-ranking {compare:.1f} ms for {DEPTH} candidates, "
          f"a question {base:.2f} ms + {each:.3f} ms a shard")  # fmt: skip
    for count in LARGE:
        shards = max(1, count // 1_000_000)
        storage = ", ".join(f"{name} {count * size / 1e9:.1f} GB" for name, size in sizes.items())
        query = per_million + compare / min(shards, DEPTH) + 2 * base + each * (shards + min(shards, DEPTH))
        print(f"{count:>13,} photos: {storage}; {shards} shards of a million: {query:.0f} ms a query")


if __name__ == "__main__":
    main()
