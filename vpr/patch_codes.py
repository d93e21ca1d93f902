"""Product quantisation of patch descriptors: 28 or 14 bytes for a patch instead of 2 for each of its numbers.

Neighbouring patches are alike. So each patch is predicted from its decoded neighbours to the left and above, and the
residual is quantised (predictive coding: Gersho and Gray, Vector Quantization and Signal Compression, 1992,
chapter 13). The residual is cut into as many parts as the code has bytes. Each byte is the number of the nearest of 256
centroids of that part (Jegou et al., Product Quantization for Nearest Neighbor Search, 2011). Prediction and centroids
are fitted to images that are encoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import faiss

CODE_BYTES = {"pq28": 28, "pq14": 14}  # bytes of a patch, by the name of the patch type
CENTROIDS = 256  # per part
SAMPLE = 40_000  # maximum number of patches that centroids are fitted to
NEIGHBOURS = 160_000  # maximum number of patches that the prediction is fitted to


@dataclass(frozen=True, eq=False)
class PatchCodes:
    """Encodes the patch descriptors of images, and decodes them to unit vectors."""

    codebooks: np.ndarray  # (M, 256, S) float32, the centroids of each part
    dim: int  # C, at most M * S; the last numbers of the last parts are padding
    # (3, 2) float32: the weights of the left and of the upper neighbour, for patches with a left one only, with an
    # upper one only, and with both
    prediction: np.ndarray

    @classmethod
    def fit(cls, patches: np.ndarray, code_bytes: int, seed: int = 0) -> PatchCodes:
        """Fit to the patches (N, P, C) of images, in row-major order of their grid.

        Raises ValueError for fewer patches than `CENTROIDS`.
        """
        import faiss

        images, count, dim = patches.shape
        if images * count < CENTROIDS:
            raise ValueError(f"{images * count} patches are too few for {CENTROIDS} centroids")
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(images)[: max(1, NEIGHBOURS // count)])
        prediction, residuals = _fit_prediction(patches[chosen].astype(np.float32))
        sample = residuals[np.sort(rng.permutation(len(residuals))[:SAMPLE])]
        size = -(-dim // code_bytes)
        quantizer = faiss.ProductQuantizer(code_bytes * size, code_bytes, 8)
        quantizer.cp.seed = seed + 1
        quantizer.cp.min_points_per_centroid = 1  # a warning, which users cannot act on
        quantizer.train(_pad(sample, code_bytes * size))
        codebooks = faiss.vector_to_array(quantizer.centroids).reshape(code_bytes, CENTROIDS, size)
        return cls(codebooks.astype(np.float32), dim, prediction)

    @cached_property
    def _quantizer(self) -> faiss.ProductQuantizer:
        import faiss

        parts, _, size = self.codebooks.shape
        quantizer = faiss.ProductQuantizer(parts * size, parts, 8)
        faiss.copy_array_to_vector(np.ascontiguousarray(self.codebooks, np.float32).ravel(), quantizer.centroids)
        return quantizer

    def encode(self, patches: np.ndarray) -> np.ndarray:
        """The codes (N, P, M) uint8 of the patches (N, P, C) of images."""
        (images, count, _), (parts, _, size) = patches.shape, self.codebooks.shape
        codes, decoded = np.empty((images, count, parts), np.uint8), np.zeros((count, images, self.dim), np.float32)
        for patch, (kind, left, upper) in enumerate(_neighbours(count)):
            if kind is not None:
                decoded[patch] = self.prediction[kind, 0] * decoded[left] + self.prediction[kind, 1] * decoded[upper]
            residuals = _pad(patches[:, patch] - decoded[patch], parts * size)
            codes[:, patch] = self._quantizer.compute_codes(residuals)
            centroids = self.codebooks[np.arange(parts), codes[:, patch]]
            decoded[patch] += centroids.reshape(images, -1)[:, : self.dim]
        return codes

    def decode(self, codes: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The patches (N, P, C) float16 of codes (N, P, M), unit vectors. They are written into ``out`` if it is given.

        out: contiguous.
        """
        from vpr.transport.cpu.codes import decode_patches

        out = np.empty((*codes.shape[:-1], self.dim), np.float16) if out is None else out
        columns = grid_columns(codes.shape[1])
        decode_patches(np.ascontiguousarray(codes), self.codebooks, self.prediction, columns, out.view(np.uint16))
        return out


def grid_columns(patches: int) -> int:
    """The columns of the grid of P patches: that of a square, or P for patches that are not one."""
    side = isqrt(patches)
    return side if side * side == patches else patches


def _neighbours(patches: int) -> Iterator[tuple[int | None, int, int]]:
    """For each of P patches the row of `PatchCodes.prediction`, and its left and upper neighbours.

    The row is None for the first patch. A neighbour that is missing is the patch itself.
    """
    columns = grid_columns(patches)
    for patch in range(patches):
        has_left, has_upper = patch % columns > 0, patch >= columns
        kind = (None, 0, 1, 2)[has_left + 2 * has_upper]
        yield kind, patch - 1 if has_left else patch, patch - columns if has_upper else patch


def _fit_prediction(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The prediction (3, 2) of patches (N, P, C) by least squares, and its residuals (N * P, C)."""
    around = list(_neighbours(patches.shape[1]))
    products, targets = np.zeros((3, 2, 2)), np.zeros((3, 2))
    for patch, (kind, *places) in enumerate(around):
        if kind is not None:
            known = np.stack([patches[:, place] if place != patch else 0 * patches[:, patch] for place in places])
            products[kind] += np.einsum("inc,jnc->ij", known, known)
            targets[kind] += np.einsum("inc,nc->i", known, patches[:, patch])
    inverses = np.linalg.pinv(products, rcond=1e-6, hermitian=True)
    prediction = np.einsum("kij,kj->ki", inverses, targets).astype(np.float32)
    residuals = patches.copy()
    for patch, (kind, left, upper) in enumerate(around):
        if kind is not None:
            residuals[:, patch] -= prediction[kind, 0] * patches[:, left] + prediction[kind, 1] * patches[:, upper]
    return prediction, residuals.reshape(-1, patches.shape[2])


def _pad(vectors: np.ndarray, length: int) -> np.ndarray:
    """Vectors (n, C) as float32 (n, length), padded with zeros."""
    padded = np.zeros((len(vectors), length), np.float32)
    padded[:, : vectors.shape[1]] = vectors
    return padded
