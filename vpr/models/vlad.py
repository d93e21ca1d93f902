"""VLAD of patches with PCA whitening, in numpy: the same as `vpr.models.summary.PatchSummary`, for arrays on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

SMALLEST = 1e-12  # smallest length that a vector is divided by, as in torch


@dataclass(frozen=True, eq=False)
class Vlad:
    """Patch descriptors (B, P, C), unit vectors, to global descriptors (B, G), unit vectors; all float32."""

    centroids: np.ndarray  # (K, C)
    sharpness: np.ndarray  # (), of the soft assignment
    mean: np.ndarray  # (K * C,) subtracted before whitening
    components: np.ndarray  # (G, K * C), rows scaled

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], clusters: int, channels: int, dim: int) -> Vlad:
        """From arrays by the names of the fields, K, C and G; raises ValueError for other names or shapes."""
        length = clusters * channels
        shapes = {"centroids": (clusters, channels), "sharpness": (), "mean": (length,), "components": (dim, length)}
        # a file has no number without dimensions, so that the sharpness has the shape (1,) there
        arrays = {name: array.reshape(()) if array.shape == (1,) else array for name, array in arrays.items()}
        found = {name: array.shape for name, array in arrays.items()}
        if found != shapes:
            raise ValueError(f"VLAD has arrays of {found}, not {shapes}")
        return cls(**{name: np.asarray(array, np.float32) for name, array in arrays.items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name; `from_arrays` is the inverse."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """The global descriptors (B, G) of patches (B, P, C)."""
        weights = self.sharpness * (patches @ normalise(self.centroids).T)
        weights = np.exp(weights - weights.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        residuals = weights.swapaxes(1, 2) @ patches - weights.sum(1)[..., None] * self.centroids
        raw = normalise(normalise(residuals).reshape(len(patches), -1))
        return normalise((raw - self.mean) @ self.components.T)


def normalise(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., C) divided by their lengths."""
    lengths = np.sqrt(np.einsum("...c,...c->...", vectors, vectors))[..., None]
    return np.asarray(vectors / np.maximum(lengths, np.float32(SMALLEST)))
