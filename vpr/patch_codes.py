"""Product quantisation of patch descriptors: 28 or 14 bytes for a patch instead of 2 for each of its numbers.

A descriptor is cut into as many parts as the code has bytes. Each byte is the number of the nearest of 256 centroids of
that part (Jegou et al., Product Quantization for Nearest Neighbor Search, 2011). The centroids are fitted to patches of
the images that are encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import faiss

CODE_BYTES = {"pq28": 28, "pq14": 14}  # bytes of a patch, by the name of the patch type
CENTROIDS = 256  # per part
SAMPLE = 40_000  # maximum number of patches to fit to


@dataclass(frozen=True, eq=False)
class PatchCodes:
    """Encodes patch descriptors, and decodes them to unit vectors."""

    codebooks: np.ndarray  # (M, 256, S) float32, the centroids of each part
    dim: int  # C, at most M * S; the last numbers of the last parts are padding

    @classmethod
    def fit(cls, patches: np.ndarray, code_bytes: int, seed: int = 0) -> PatchCodes:
        """Fit centroids to patches (n, C), n at least `CENTROIDS`. Raises ValueError for fewer."""
        import faiss

        if len(patches) < CENTROIDS:
            raise ValueError(f"{len(patches)} patches are too few for {CENTROIDS} centroids")
        rng, dim = np.random.default_rng(seed), patches.shape[1]
        sample = patches[np.sort(rng.permutation(len(patches))[:SAMPLE])]
        size = -(-dim // code_bytes)
        quantizer = faiss.ProductQuantizer(code_bytes * size, code_bytes, 8)
        quantizer.cp.seed = seed + 1
        quantizer.cp.min_points_per_centroid = 1  # a warning, which users cannot act on
        quantizer.train(_pad(sample, code_bytes * size))
        codebooks = faiss.vector_to_array(quantizer.centroids).reshape(code_bytes, CENTROIDS, size)
        return cls(codebooks.astype(np.float32), dim)

    @cached_property
    def _quantizer(self) -> faiss.ProductQuantizer:
        import faiss

        parts, _, size = self.codebooks.shape
        quantizer = faiss.ProductQuantizer(parts * size, parts, 8)
        faiss.copy_array_to_vector(np.ascontiguousarray(self.codebooks, np.float32).ravel(), quantizer.centroids)
        return quantizer

    def encode(self, patches: np.ndarray) -> np.ndarray:
        """The codes (..., M) uint8 of patches (..., C)."""
        parts, _, size = self.codebooks.shape
        flat = _pad(patches.reshape(-1, self.dim), parts * size)
        codes: np.ndarray = self._quantizer.compute_codes(flat)
        return codes.reshape(*patches.shape[:-1], parts)

    def decode(self, codes: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The patches (..., C) float16 of codes (..., M), unit vectors; written into ``out``, contiguous, if given."""
        from vpr.transport.cpu.codes import decode_patches

        out = np.empty((*codes.shape[:-1], self.dim), np.float16) if out is None else out
        flat = np.ascontiguousarray(codes).reshape(-1, codes.shape[-1])
        decode_patches(flat, self.codebooks, out.reshape(-1, self.dim).view(np.uint16))
        return out


def _pad(vectors: np.ndarray, length: int) -> np.ndarray:
    """Vectors (n, C) as float32 (n, length), padded with zeros."""
    padded = np.zeros((len(vectors), length), np.float32)
    padded[:, : vectors.shape[1]] = vectors
    return padded
