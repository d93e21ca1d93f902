"""``python -m benchmarks.rerank``: reading and re-ranking from caches of growing size, with synthetic descriptors.

For each size a cache file of 49 x 128 float16 (12.5 kB an image) is written into a temporary folder. It is read warm.
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from vpr.cache import CacheSpec, DescriptorCache, create
from vpr.retrieval.rerank import CachedImages, compare_images
from vpr.retrieval.settings import RerankConfig

PATCHES, DIM, CANDIDATES, QUERIES, ROUNDS = 49, 128, 100, 1000, 7
BLOCK = 20_000  # different images; larger caches repeat them


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--memory-mb", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="folder of the files; default: the temporary folder of the system")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        caches = {size: make_cache(Path(folder) / f"{size}.h5", size) for size in arguments.sizes}
        os.sync()  # otherwise writing back 12 GB would be measured too
        config = RerankConfig(memory_mb=arguments.memory_mb)
        compare(caches[arguments.sizes[0]], np.arange(4), np.arange(400).reshape(4, 100), config)  # compile
        rounds = [measure_caches(caches, config, seed) for seed in range(ROUNDS)]
        one_thread = RerankConfig(memory_mb=arguments.memory_mb, threads=1)
        pairs = [
            [measure(caches[arguments.sizes[0]], rerank_config, seed)[1] for rerank_config in (one_thread, config)]
            for seed in range(ROUNDS)
        ]
    one_core_ms, all_cores_ms = np.median(pairs, axis=0)
    ratio = one_core_ms / all_cores_ms
    print(f"one core: {one_core_ms:.2f} ms a query; {os.cpu_count()} cores: {all_cores_ms:.2f} ms; ratio {ratio:.2f}")
    for size in arguments.sizes:
        read, query, memory = np.median([figures[size] for figures in rounds], axis=0)
        print(f"{size:>9} images: 100 random candidates read in {read:.2f} ms, {query:.2f} ms a query re-ranked, "
              f"peak memory {memory:.0f} MiB above the start (--memory-mb {arguments.memory_mb})")  # fmt: skip


def measure_caches(
    caches: dict[int, DescriptorCache], config: RerankConfig, turn: int
) -> dict[int, tuple[float, float, float]]:
    """The figures of `measure` for each cache. Each turn starts with another cache."""
    sizes = list(caches)
    return {
        size: measure(caches[size], config, turn) for size in sizes[turn % len(sizes) :] + sizes[: turn % len(sizes)]
    }


def make_cache(path: Path, size: int) -> DescriptorCache:
    """A complete cache of that size, in the page cache as far as it fits."""
    rng = np.random.default_rng(0)
    spec = CacheSpec("synthetic", PATCHES, DIM)
    create(path, [f"{row}.jpg" for row in range(size)], spec)
    cache = DescriptorCache(path, spec, writable=True)
    block = to_unit(rng.standard_normal((min(size, BLOCK), PATCHES, DIM), np.float32) + 0.4).astype(np.float16)
    descriptors = to_unit(rng.standard_normal((len(block), DIM), np.float32) + 0.4)
    for start in range(0, size, len(block)):
        stop = min(start + len(block), size)
        cache.patches[start:stop], cache.globals_[start:stop] = block[: stop - start], descriptors[: stop - start]
        cache.done[start:stop] = 1
    return DescriptorCache(path, spec)


def to_unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1 along the last axis."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def compare(cache: DescriptorCache, queries: np.ndarray, candidates: np.ndarray, config: RerankConfig) -> None:
    """Compare queries (Q,) with their candidates (Q, K), rows of the cache."""
    compare_images(CachedImages(cache, queries), CachedImages(cache, np.arange(len(cache))), candidates, config)


def measure(cache: DescriptorCache, config: RerankConfig, seed: int) -> tuple[float, float, float]:
    """Milliseconds to read 100 random candidates, milliseconds a query, and MiB of private memory above the start.

    Each row is read once before it is timed, so the file is warm.
    """
    rng = np.random.default_rng(seed)
    candidates = rng.integers(0, len(cache), (QUERIES, CANDIDATES))
    queries = rng.integers(0, len(cache), QUERIES)
    for row in candidates:
        cache.patches[np.sort(row)].sum(dtype=np.float32)
    reads = []
    for row in candidates:
        start = time.perf_counter()
        cache.patches[np.sort(row)]
        reads.append(time.perf_counter() - start)
    peak, start_kib, done = [0], private_kib(), threading.Event()
    watcher = threading.Thread(target=watch_memory, args=(peak, done))
    watcher.start()
    start = time.perf_counter()
    compare(cache, queries, candidates, config)
    elapsed = time.perf_counter() - start
    done.set()
    watcher.join()
    return 1000 * float(np.median(reads)), 1000 * elapsed / QUERIES, (peak[0] - start_kib) / 1024


def watch_memory(peak: list[int], done: threading.Event) -> None:
    """Keep the peak of the private memory in ``peak`` until ``done`` is set."""
    while not done.wait(0.005):
        peak[0] = max(peak[0], private_kib())


def private_kib() -> int:
    """Resident memory that is not pages of mapped files, which the system may drop at any time, KiB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
