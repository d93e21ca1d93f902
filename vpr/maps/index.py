"""The search of a map's global descriptors, by an index that fits their number.

Up to `FLAT_UP_TO` photos every descriptor is looked at. Beyond, a graph of neighbours is followed (HNSW), and beyond
`HNSW_UP_TO` only the nearest clusters are looked at, whose descriptors are codes of at most 64 bytes that are read from
disk as they are needed (IVF-PQ). The similarities are exact in any case: what an index finds is compared again by the
descriptors themselves. docs/notes/maps.md has the measurements behind the choice.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from vpr.base.files import replacing

if TYPE_CHECKING:
    import faiss

IndexKind = Literal["flat", "hnsw", "ivf-pq"]
KINDS = get_args(IndexKind)
FLAT_UP_TO, HNSW_UP_TO = 1_000_000, 5_000_000  # photos
LINKS, BUILT_WITH, SEARCHED_WITH = 32, 80, 256  # neighbours in the graph; candidates while it is built and searched
PROBED = 8  # a search looks into every so manieth cluster
CODES = 64  # bytes of a descriptor in IVF-PQ
REFINED = 4  # as many candidates as are wanted, of which the exact descriptors choose, in IVF-PQ
TRAINED_ON = 64  # descriptors for each cluster and each code, at most
SEED = 1234


def kind_for(photos: int, limits: tuple[int, int] = (FLAT_UP_TO, HNSW_UP_TO)) -> IndexKind:
    """The kind of index for a number of photos.

    >>> [kind_for(photos) for photos in (1_000_000, 1_000_001, 5_000_001)]
    ['flat', 'hnsw', 'ivf-pq']
    """
    return "flat" if photos <= limits[0] else "hnsw" if photos <= limits[1] else "ivf-pq"


def build(globals_: np.ndarray, kind: IndexKind, path: Path) -> None:
    """Write the index of unit vectors (N, G) float32, atomically; a flat one has no file, the vectors are it."""
    import faiss

    if kind == "flat":
        return
    index = _graph(globals_.shape[1]) if kind == "hnsw" else _trained_codes(globals_)
    for start in range(0, len(globals_), 65_536):
        index.add(np.ascontiguousarray(globals_[start : start + 65_536], np.float32))
    with replacing(path) as temporary:
        faiss.write_index(index, str(temporary))


def _graph(dim: int) -> faiss.Index:
    import faiss

    index = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILT_WITH
    return index


def _trained_codes(globals_: np.ndarray) -> faiss.Index:
    """Clusters and codes that are fitted to some of the descriptors."""
    import faiss

    clusters = max(1, min(int(4 * len(globals_) ** 0.5), len(globals_) // 40))
    codes = max(1, min(CODES, globals_.shape[1] // 2))
    text = f"RR{2 * codes},IVF{clusters},PQ{codes}"
    index = faiss.index_factory(globals_.shape[1], text, faiss.METRIC_INNER_PRODUCT)
    parts: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    parts.pq.cp.max_points_per_centroid = TRAINED_ON
    sample = np.random.default_rng(SEED).permutation(len(globals_))[: max(TRAINED_ON * clusters, 20_000)]
    index.train(np.ascontiguousarray(globals_[np.sort(sample)], np.float32))
    return index


class Search:
    """A map's global descriptors (N, G), and the index over them."""

    def __init__(self, globals_: np.ndarray, kind: IndexKind, path: Path | None) -> None:
        """path: of the index, where the kind has one. Raises RuntimeError for a file that is no index of these."""
        self.globals_, self.kind, self._index = globals_, kind, None
        if path is not None:
            self._index = _opened(path, kind)
            if self._index.ntotal != len(globals_) or self._index.d != globals_.shape[1]:
                raise RuntimeError(f"it holds {self._index.ntotal} descriptors, not {len(globals_)}")

    def __call__(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Of unit vectors (Q, G): exact cosines (Q, K) float32, falling, and rows (Q, K) int64; K is depth, or N.

        Where an index finds fewer, -inf and -1 fill the rows up.
        """
        from vpr.retrieval.search import search

        depth = min(depth, len(self.globals_))
        if self._index is None:
            return search(queries, self.globals_, depth)
        more = min(len(self.globals_), depth * (REFINED if self.kind == "ivf-pq" else 1))
        _, rows = self._index.search(np.ascontiguousarray(queries, np.float32), more)
        exact = np.einsum("qc,qkc->qk", queries, self.globals_[np.maximum(rows, 0)])
        exact = np.where(rows >= 0, exact, -np.inf).astype(np.float32)
        order = np.argsort(-exact, axis=1, kind="stable")[:, :depth]
        return np.take_along_axis(exact, order, 1), np.take_along_axis(rows, order, 1)


def _opened(path: Path, kind: IndexKind) -> faiss.Index:
    import faiss

    index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP if kind == "ivf-pq" else 0)
    if kind == "hnsw":
        index.hnsw.efSearch = SEARCHED_WITH
    else:
        clusters = faiss.extract_index_ivf(index)
        clusters.nprobe = max(1, clusters.nlist // PROBED)
    return index
