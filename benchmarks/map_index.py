"""``python -m benchmarks.map_index``: recall, speed and memory of a map's index against looking at every descriptor.

Descriptors are made up: the photos of a street look alike, two streets more than four, four more than eight. The
shares are such that at 6,431 photos the cosines of the candidates are near those of the weights in the box on
mini-MSLS, and so is what clusters find. A query is another photo of the street that has something of one photo, which
is the right one. Recall is the share of the exact first 100 that the index finds, of the exact first, and of the right
photo. Each index is built and searched in a process of its own, on one thread; its memory is what it holds beside
memory maps of files.
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

DIM, STREET = 128, 12  # numbers of a descriptor, photos of a street
ALIKE, RIGHT = 0.38, 0.2  # share of a photo's variance that its street has; what a query has of the right photo
QUERIES, DEPTH = 500, 100


T = TypeVar("T")


class MadeUp(NamedTuple):
    """Descriptors of a map and of queries."""

    database: np.ndarray  # (N, G) float32
    queries: np.ndarray  # (Q, G)
    right: np.ndarray  # (Q,) rows of the database


def unit(vectors: np.ndarray) -> np.ndarray:
    """Each row of length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made_up(photos: int, seed: int = 0) -> MadeUp:
    """Descriptors of a map with so many photos."""
    rng = np.random.default_rng(seed)
    spectrum = (1 + np.arange(DIM, dtype=np.float32)) ** -0.25  # variances fall, as after whitening by a quarter power
    spectrum /= np.sqrt(np.square(spectrum).mean())

    def noise(rows: int, share: float) -> np.ndarray:
        return rng.standard_normal((rows, DIM), np.float32) * spectrum * np.float32(share**0.5)

    count = -(-photos // STREET)
    levels = max(1, (count - 1).bit_length())
    streets = np.zeros((1, DIM), np.float32)
    for _ in range(levels):
        streets = np.repeat(streets, 2, 0)
        streets += noise(len(streets), ALIKE / levels)
    streets = streets[:count] - streets[:count].mean(0)
    own, right = noise(photos, 1 - ALIKE), rng.integers(0, photos, QUERIES)
    queries = streets[right // STREET] + RIGHT * own[right] + (1 - RIGHT**2) ** 0.5 * noise(QUERIES, 1 - ALIKE)
    return MadeUp(unit(own + np.repeat(streets, STREET, 0)[:photos]), unit(queries), right)


def memory_mb() -> float:
    """What this process holds beside memory maps of files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


@contextmanager
def watched() -> Iterator[list[float]]:
    """The largest memory meanwhile, in MB, is the first element afterwards."""
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


def built(folder: Path, kind: IndexKind) -> tuple[float, float]:
    """Write the index of a folder's ``database.npy``; seconds, and memory at most, in MB."""
    faiss.omp_set_num_threads(1)
    database = np.load(folder / "database.npy", mmap_mode="r")
    before, start = memory_mb(), time.perf_counter()
    with watched() as peak:
        build(database, kind, folder / f"{kind}.faiss")
    return time.perf_counter() - start, peak[0] - before


def searched(folder: Path, kind: IndexKind) -> tuple[np.ndarray, float, float]:
    """Search for a folder's ``queries.npy`` one by one; rows (Q, K), milliseconds a query, and memory in MB."""
    faiss.omp_set_num_threads(1)
    database, queries = np.load(folder / "database.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    before = memory_mb()
    index = VectorIndex(database, kind, None if kind == "flat" else folder / f"{kind}.faiss")
    index.search(queries[:1], DEPTH)
    start = time.perf_counter()
    rows = np.concatenate([index.search(query[None], DEPTH)[1] for query in queries])
    return rows, 1000 * (time.perf_counter() - start) / len(queries), memory_mb() - before


def alone(work: Callable[..., T], *given: object) -> T:
    """What a function gives in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def report(folder: Path, photos: int, kinds: list[IndexKind]) -> None:
    """Print what each kind of index finds and costs."""
    made = made_up(photos)
    np.save(folder / "database.npy", made.database)
    np.save(folder / "queries.npy", made.queries)
    similarity, exact = VectorIndex(made.database).search(made.queries, DEPTH)
    ranks = ", ".join(f"{np.median(similarity[:, rank - 1]):.2f}" for rank in (1, 2, 5, 10, 20, 50, 100))
    print(f"{photos} photos; cosines of the candidates 1, 2, 5, 10, 20, 50, 100: {ranks}")
    for kind in kinds:
        seconds, building_mb = alone(built, folder, kind)
        rows, each_ms, searching_mb = alone(searched, folder, kind)
        path = folder / ("database.npy" if kind == "flat" else f"{kind}.faiss")
        first = np.mean([len(np.intersect1d(a, b)) / DEPTH for a, b in zip(rows, exact)])
        best, right = (rows == exact[:, :1]).any(1).mean(), (rows == made.right[:, None]).any(1).mean()
        found = f"{100 * first:5.1f} % of the exact first {DEPTH}, {100 * best:5.1f} % of the exact first"
        cost = f"built in {seconds:5.1f} s and {building_mb:5.0f} MB, {path.stat().st_size / 1e6:6.0f} MB on disk"
        asked = f"{each_ms:6.2f} ms a query in {searching_mb:5.0f} MB"
        print(f"  {kind:6} {found}, right photo {100 * right:5.1f} %, {asked}; {cost}", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    given = parser.parse_args()
    for photos in given.photos:
        with tempfile.TemporaryDirectory() as folder:
            report(Path(folder), photos, given.kinds)


if __name__ == "__main__":
    main()
