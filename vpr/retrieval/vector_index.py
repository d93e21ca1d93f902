"""The search of global descriptors by FAISS. The kind of index depends on their number.

Up to `FLAT_UP_TO` descriptors the search is exhaustive. Larger sets are clustered, and only the clusters nearest to a
query are searched. Their descriptors are product-quantised to at most 64 bytes: in memory, in the layout of FAISS's
fast scan (IVF), and beyond `IVF_UP_TO` on disk (IVF-PQ). The similarities are always exact, because the candidates of
an index are compared again by the descriptors themselves. docs/notes/maps.md has the measurements behind the choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from vpr.base.files import replace_file
from vpr.retrieval.search import search

if TYPE_CHECKING:
    import faiss

IndexKind = Literal["flat", "ivf", "ivf-pq"]
KINDS = get_args(IndexKind)
FLAT_UP_TO, IVF_UP_TO = 50_000, 20_000_000  # descriptors
CODE_BYTES = 64  # maximum bytes of a descriptor's code
CANDIDATES_PER_RESULT = 4  # candidates of an index per result, from which the exact cosines choose
SAMPLES_PER_CLUSTER = 64  # maximum training descriptors per cluster, and per code
SEED = 1234
VERSION = 1  # of the parameters of an index; raise it if `build` makes another index of the same vectors


@dataclass(frozen=True)
class IndexParameters:
    """Parameters of an index with clusters."""

    clusters_per_root: int  # number of clusters as a multiple of the square root of the number of descriptors
    probe_divisor: int  # a search reads one of this many clusters
    fast_scan: bool  # codes of 4 bits for fast scan, in memory; otherwise codes of 8 bits, which may be on disk


PARAMETERS: dict[IndexKind, IndexParameters] = {
    "ivf": IndexParameters(1, 4, True),
    "ivf-pq": IndexParameters(4, 8, False),
}


def kind_for(count: int, limits: tuple[int, int] = (FLAT_UP_TO, IVF_UP_TO)) -> IndexKind:
    """The kind of index for a number of descriptors.

    >>> [kind_for(count) for count in (50_000, 50_001, 20_000_001)]
    ['flat', 'ivf', 'ivf-pq']
    """
    return "flat" if count <= limits[0] else "ivf" if count <= limits[1] else "ivf-pq"


def build(vectors: np.ndarray, kind: IndexKind, path: Path) -> None:
    """Write the index of unit vectors (N, G) float32, atomically; a flat index has no file."""
    import faiss

    if kind == "flat":
        return
    index = _train(vectors, PARAMETERS[kind])
    for start in range(0, len(vectors), 65_536):
        index.add(np.ascontiguousarray(vectors[start : start + 65_536], np.float32))
    with replace_file(path) as temporary:
        faiss.write_index(index, str(temporary))


def _train(vectors: np.ndarray, parameters: IndexParameters) -> faiss.Index:
    """An empty index; its clusters and codes are fitted to a sample of the descriptors."""
    import faiss

    total, dim = vectors.shape
    count = max(1, min(int(parameters.clusters_per_root * total**0.5), total // 40))
    parts = max(1, min(2 * CODE_BYTES, dim) if parameters.fast_scan else min(CODE_BYTES, dim // 2))
    text = f"IVF{count},PQ{parts}x4fsr" if parameters.fast_scan else f"RR{2 * parts},IVF{count},PQ{parts}"
    index = faiss.index_factory(dim, text, faiss.METRIC_INNER_PRODUCT)
    clusters: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    clusters.pq.cp.max_points_per_centroid = SAMPLES_PER_CLUSTER
    if getattr(faiss, "get_num_gpus", lambda: 0)():
        clusters.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(clusters.d))
    sample = np.random.default_rng(SEED).permutation(total)[: max(SAMPLES_PER_CLUSTER * count, 20_000)]
    index.train(np.ascontiguousarray(vectors[np.sort(sample)], np.float32))
    return index


class VectorIndex:
    """Global descriptors (N, G), and the FAISS index over them."""

    def __init__(self, vectors: np.ndarray, kind: IndexKind = "flat", path: Path | None = None) -> None:
        """vectors: unit vectors. path: the file of the index; None for a flat index.

        Raises RuntimeError if the file is not an index of these vectors.
        """
        self.vectors, self.kind, self._index = vectors, kind, None
        if path is not None:
            self._index = _open(path, kind)
            if self._index.ntotal != len(vectors) or self._index.d != vectors.shape[1]:
                raise RuntimeError(f"it holds {self._index.ntotal} descriptors, not {len(vectors)}")

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: np.ndarray, depth: int, entries: slice | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest vectors of unit vectors (Q, G): cosines (Q, K) float32, descending, and numbers (Q, K) int64.

        entries: a range of the vectors to search, exhaustively if it is not all of them. K is depth, or the size of the
        range if that is smaller. If an index finds fewer, rows are padded with -inf and -1.
        """
        start, stop, _ = (slice(None) if entries is None else entries).indices(len(self))
        if self._index is None or stop - start < len(self):
            similarity, rows = search(queries, self.vectors[start:stop], depth)
            return similarity, rows + start
        more = min(len(self), depth * CANDIDATES_PER_RESULT)
        _, rows = self._index.search(np.ascontiguousarray(queries, np.float32), more)
        exact = self.cosines(queries, rows)
        order = np.argsort(-exact, axis=1, kind="stable")[:, :depth]
        return np.take_along_axis(exact, order, 1), np.take_along_axis(rows, order, 1)

    def cosines(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Cosines (Q, K) float32 of unit vectors (Q, G) and the vectors of rows (Q, K); -inf if a row is -1."""
        exact = np.einsum("qc,qkc->qk", queries, self.vectors[np.maximum(rows, 0)])
        return np.where(rows >= 0, exact, -np.inf).astype(np.float32)


def _open(path: Path, kind: IndexKind) -> faiss.Index:
    import faiss

    parameters = PARAMETERS[kind]
    index: faiss.Index = faiss.read_index(str(path), 0 if parameters.fast_scan else faiss.IO_FLAG_MMAP)
    clusters: Any = faiss.extract_index_ivf(index)
    clusters.nprobe = max(1, clusters.nlist // parameters.probe_divisor)
    return index
