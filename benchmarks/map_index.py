"""``python -m benchmarks.map_index``: recall, speed and memory of the index of a map, compared with exact search.

Descriptors are synthetic. Photos of a street are similar, and the similarity of streets falls in levels of two, four,
eight. The shares of variance are chosen so that at 6,431 photos the cosines of candidates, and the recall of clusters,
are near those of the built-in weights on mini-MSLS. A query is another photo of a street that shares a component with
one photo, the right one. Recall is measured of the exact first 100, of the exact first, and of the right photo. Each
index is built and searched in a new process, on one thread; its memory is without mapped files.
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import faiss
import numpy as np

from vpr.retrieval.vector_index import KINDS, IndexKind, VectorIndex, build

DIM, STREET = 256, 12  # length of a descriptor, photos of a street
STREET_SHARE, RIGHT_SHARE = (
    0.38,
    0.2,
)  # variance of a photo that its street shares; component that a query shares with the right photo
QUERIES, DEPTH = 500, 100


T = TypeVar("T")


class SyntheticMap(NamedTuple):
    """Descriptors of a map and of queries."""

    database: np.ndarray  # (N, G) float32
    queries: np.ndarray  # (Q, G)
    right: np.ndarray  # (Q,) rows of the database


def to_unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make_map(photos: int, seed: int = 0) -> SyntheticMap:
    """Synthetic descriptors of a map. photos: their number."""
    rng = np.random.default_rng(seed)
    spectrum = (1 + np.arange(DIM, dtype=np.float32)) ** -0.25  # falling variances, as after partial whitening
    spectrum /= np.sqrt(np.square(spectrum).mean())

    def noise(rows: int, share: float) -> np.ndarray:
        return rng.standard_normal((rows, DIM), np.float32) * spectrum * np.float32(share**0.5)

    count = -(-photos // STREET)
    levels = max(1, (count - 1).bit_length())
    streets = np.zeros((1, DIM), np.float32)
    for _ in range(levels):
        streets = np.repeat(streets, 2, 0)
        streets += noise(len(streets), STREET_SHARE / levels)
    streets = streets[:count] - streets[:count].mean(0)
    own, right = noise(photos, 1 - STREET_SHARE), rng.integers(0, photos, QUERIES)
    queries = (
        streets[right // STREET]
        + RIGHT_SHARE * own[right]
        + (1 - RIGHT_SHARE**2) ** 0.5 * noise(QUERIES, 1 - STREET_SHARE)
    )
    return SyntheticMap(to_unit(own + np.repeat(streets, STREET, 0)[:photos]), to_unit(queries), right)


def memory_mb() -> float:
    """The memory of this process without mapped files, MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


@contextmanager
def watch_memory() -> Iterator[list[float]]:
    """Yield a list whose element is the peak memory of the block, in MB, after the block."""
    peak, done = [memory_mb()], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], memory_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def measure_build(folder: Path, kind: IndexKind) -> tuple[float, float]:
    """Write the index of ``database.npy`` in a folder; returns seconds and peak memory in MB."""
    faiss.omp_set_num_threads(1)
    database = np.load(folder / "database.npy", mmap_mode="r")
    before, start = memory_mb(), time.perf_counter()
    with watch_memory() as peak:
        build(database, kind, folder / f"{kind}.faiss")
    return time.perf_counter() - start, peak[0] - before


def measure_search(folder: Path, kind: IndexKind) -> tuple[np.ndarray, float, float]:
    """Search for ``queries.npy`` in a folder one by one; returns rows (Q, K), milliseconds a query, memory in MB."""
    faiss.omp_set_num_threads(1)
    database, queries = np.load(folder / "database.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    before = memory_mb()
    index = VectorIndex(database, kind, None if kind == "flat" else folder / f"{kind}.faiss")
    index.search(queries[:1], DEPTH)
    start = time.perf_counter()
    rows = np.concatenate([index.search(query[None], DEPTH)[1] for query in queries])
    return rows, 1000 * (time.perf_counter() - start) / len(queries), memory_mb() - before


def run_alone(work: Callable[..., T], *given: object) -> T:
    """The result of a function that runs in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def print_report(folder: Path, photos: int, kinds: list[IndexKind]) -> None:
    """Print recall and cost of each kind of index."""
    data = make_map(photos)
    np.save(folder / "database.npy", data.database)
    np.save(folder / "queries.npy", data.queries)
    similarity, exact = VectorIndex(data.database).search(data.queries, DEPTH)
    ranks = ", ".join(f"{np.median(similarity[:, rank - 1]):.2f}" for rank in (1, 2, 5, 10, 20, 50, 100))
    print(f"{photos} photos; cosines of the candidates 1, 2, 5, 10, 20, 50, 100: {ranks}")
    for kind in kinds:
        seconds, building_mb = run_alone(measure_build, folder, kind)
        rows, each_ms, searching_mb = run_alone(measure_search, folder, kind)
        path = folder / ("database.npy" if kind == "flat" else f"{kind}.faiss")
        first_share = np.mean([len(np.intersect1d(a, b)) / DEPTH for a, b in zip(rows, exact)])
        best_share, right_share = (rows == exact[:, :1]).any(1).mean(), (rows == data.right[:, None]).any(1).mean()
        recall_text = (
            f"{100 * first_share:5.1f} % of the exact first {DEPTH}, {100 * best_share:5.1f} % of the exact first"
        )
        build_text = f"built in {seconds:5.1f} s and {building_mb:5.0f} MB, {path.stat().st_size / 1e6:6.0f} MB on disk"
        search_text = f"{each_ms:6.2f} ms a query in {searching_mb:5.0f} MB"
        print(
            f"  {kind:6} {recall_text}, right photo {100 * right_share:5.1f} %, {search_text}; {build_text}", flush=True
        )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    arguments = parser.parse_args()
    for photos in arguments.photos:
        with tempfile.TemporaryDirectory() as folder:
            print_report(Path(folder), photos, arguments.kinds)


if __name__ == "__main__":
    main()
