"""The search of a map's global descriptors, by an index that fits their number.

Up to `FLAT_UP_TO` photos every descriptor is looked at. Beyond, only the clusters nearest to a query are looked at,
whose descriptors are codes of at most 64 bytes: in memory, in an order that a processor reads fast (IVF), and beyond
`IVF_UP_TO` on disk, read as they are needed (IVF-PQ). The similarities are exact in any case: what an index finds is
compared again by the descriptors themselves. docs/notes/maps.md has the measurements behind the choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from vpr.base.files import replacing

if TYPE_CHECKING:
    import faiss

IndexKind = Literal["flat", "ivf", "ivf-pq"]
KINDS = get_args(IndexKind)
FLAT_UP_TO, IVF_UP_TO = 200_000, 20_000_000  # photos
CODES = 64  # bytes of a descriptor's code, at most
REFINED = 4  # as many candidates as are wanted, of which the exact descriptors choose
TRAINED_ON = 64  # descriptors for each cluster and each code, at most
SEED = 1234


@dataclass(frozen=True)
class Clusters:
    """How an index with clusters is built and searched."""

    finer: int  # clusters, as a multiple of the square root of the number of photos
    probed: int  # a search looks into every so manieth cluster
    fast: bool  # codes of 4 bits in blocks for fast scanning, which lie in memory; or of 8 bits, which may lie on disk


CLUSTERS: dict[IndexKind, Clusters] = {"ivf": Clusters(1, 4, True), "ivf-pq": Clusters(4, 8, False)}


def kind_for(photos: int, limits: tuple[int, int] = (FLAT_UP_TO, IVF_UP_TO)) -> IndexKind:
    """The kind of index for a number of photos.

    >>> [kind_for(photos) for photos in (200_000, 200_001, 20_000_001)]
    ['flat', 'ivf', 'ivf-pq']
    """
    return "flat" if photos <= limits[0] else "ivf" if photos <= limits[1] else "ivf-pq"


def build(globals_: np.ndarray, kind: IndexKind, path: Path) -> None:
    """Write the index of unit vectors (N, G) float32, atomically; a flat one has no file, the vectors are it."""
    import faiss

    if kind == "flat":
        return
    index = _trained(globals_, CLUSTERS[kind])
    for start in range(0, len(globals_), 65_536):
        index.add(np.ascontiguousarray(globals_[start : start + 65_536], np.float32))
    with replacing(path) as temporary:
        faiss.write_index(index, str(temporary))


def _trained(globals_: np.ndarray, how: Clusters) -> faiss.Index:
    """An empty index whose clusters and codes are fitted to some of the descriptors."""
    import faiss

    photos, dim = globals_.shape
    count = max(1, min(int(how.finer * photos**0.5), photos // 40))
    parts = max(1, min(2 * CODES, dim) if how.fast else min(CODES, dim // 2))
    text = f"IVF{count},PQ{parts}x4fsr" if how.fast else f"RR{2 * parts},IVF{count},PQ{parts}"
    index = faiss.index_factory(dim, text, faiss.METRIC_INNER_PRODUCT)
    clusters: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    clusters.pq.cp.max_points_per_centroid = TRAINED_ON
    if getattr(faiss, "get_num_gpus", lambda: 0)():
        clusters.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(clusters.d))
    sample = np.random.default_rng(SEED).permutation(photos)[: max(TRAINED_ON * count, 20_000)]
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
        more = min(len(self.globals_), depth * REFINED)
        _, rows = self._index.search(np.ascontiguousarray(queries, np.float32), more)
        exact = self.cosines(queries, rows)
        order = np.argsort(-exact, axis=1, kind="stable")[:, :depth]
        return np.take_along_axis(exact, order, 1), np.take_along_axis(rows, order, 1)

    def cosines(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Of unit vectors (Q, G) and rows (Q, K), (Q, K) float32; -inf where a row is -1."""
        exact = np.einsum("qc,qkc->qk", queries, self.globals_[np.maximum(rows, 0)])
        return np.where(rows >= 0, exact, -np.inf).astype(np.float32)


def _opened(path: Path, kind: IndexKind) -> faiss.Index:
    import faiss

    how = CLUSTERS[kind]
    index: Any = faiss.read_index(str(path), 0 if how.fast else faiss.IO_FLAG_MMAP)
    clusters = faiss.extract_index_ivf(index)
    clusters.nprobe = max(1, clusters.nlist // how.probed)
    return index
