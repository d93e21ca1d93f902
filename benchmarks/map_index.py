"""``python -m benchmarks.map_index``: recall and speed of a map's index against looking at every descriptor.

Descriptors are made up: photos of a street look alike, and a query is a noisy view of one of them. The noise is such
that cosines are about those of the weights in the box on mini-MSLS. Recall is the share of the exact first candidates,
and of the right place, that the index finds.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from vpr.maps.index import Search, build

DIM, STREET = 128, 12  # numbers of a descriptor, photos of a street
QUERIES, DEPTH = 500, 100


def unit(vectors: np.ndarray) -> np.ndarray:
    """Each row of length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made_up(photos: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Descriptors of a map (N, G), of queries (Q, G), and the rows that are right (Q,)."""
    rng = np.random.default_rng(seed)
    spectrum = (1 + np.arange(DIM)) ** -0.25  # variances fall, as after whitening by a quarter power
    streets = rng.normal(size=(photos // STREET + 1, DIM)).astype(np.float32) * spectrum
    database = np.repeat(streets, STREET, 0)[:photos]
    database = unit(database + 0.9 * rng.normal(size=database.shape).astype(np.float32) * spectrum)
    right = rng.integers(0, photos, QUERIES)
    noise = rng.normal(size=(QUERIES, DIM)) * spectrum
    return database, unit(database[right] + 1.3 * noise / np.linalg.norm(noise, axis=1, keepdims=True)), right


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, nargs="+", default=[100_000, 1_000_000])
    given = parser.parse_args()
    for photos in given.photos:
        database, queries, right = made_up(photos)
        exact = Search(database, "flat", None)
        similarity, expected = exact(queries, DEPTH)
        own = np.einsum("qc,qc->q", queries, database[right])
        print(f"{photos} photos; cosine with the right one {np.median(own):.2f}, with the second best "
              f"{np.median(similarity[:, 1]):.2f}")  # fmt: skip
        for kind in ("flat", "hnsw", "ivf-pq"):
            with tempfile.TemporaryDirectory() as folder:
                path = None if kind == "flat" else Path(folder) / "index.faiss"
                start = time.perf_counter()
                if path is not None:
                    build(database, kind, path)
                built, search = time.perf_counter() - start, Search(database, kind, path)
                start = time.perf_counter()
                rows = np.concatenate([search(query[None], DEPTH)[1] for query in queries])
                each = 1000 * (time.perf_counter() - start) / len(queries)
                size = path.stat().st_size / 1e6 if path is not None else database.nbytes / 1e6
            found = np.mean([len(np.intersect1d(a, b)) / DEPTH for a, b in zip(rows, expected)])
            there = np.mean((rows == right[:, None]).any(1)), np.mean((expected == right[:, None]).any(1))
            print(f"  {kind:6} {100 * found:5.1f} % of the exact first {DEPTH}, right place {100 * there[0]:5.1f} % "
                  f"(exact {100 * there[1]:.1f} %), {each:6.2f} ms a query, built in {built:5.1f} s, "
                  f"{size:6.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
