"""Global descriptors computed from an image's own patches: VLAD or the layout, both with PCA whitening.

They are fitted to the patches of some images without labels, and can be fitted again on the images of a map.
"""

from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

Summary = Literal["vlad", "layout"]
SHARPNESS = 100.0  # weight of the nearest cluster, relative to the second nearest, on average
PATCHES = 50_000  # sample size for k-means and whitening
VARIANCE_FLOOR = 1e-6  # share of the largest variance that is added to each before whitening
ITERATIONS = 30  # of k-means


class PatchSummary(nn.Module):
    """Patch descriptors (B, P, C), unit vectors, to global descriptors (B, G), unit vectors.

    vlad: residuals to K centres, by soft assignment, summed over the patches (NetVLAD without training). layout: all
    patches in order. Either is whitened by PCA to G dimensions.
    """

    centroids: torch.Tensor  # (K, C) of vlad; (0, C) of layout
    sharpness: torch.Tensor  # (), of the soft assignment
    mean: torch.Tensor  # (D,) subtracted before whitening
    components: torch.Tensor  # (G, D), rows scaled

    def __init__(self, kind: Summary, shape: tuple[int, int], clusters: int, dim: int) -> None:
        """shape: patches P and channels C of an image."""
        super().__init__()
        self.kind, (patches, channels) = kind, shape
        clusters = clusters if kind == "vlad" else 0
        length = (clusters if kind == "vlad" else patches) * channels
        self.register_buffer("centroids", torch.zeros(clusters, channels))
        self.register_buffer("sharpness", torch.ones(()))
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("components", torch.zeros(dim, length))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return F.normalize((self.raw(patches) - self.mean) @ self.components.T, dim=-1)

    def raw(self, patches: torch.Tensor) -> torch.Tensor:
        """The vectors before whitening, (B, D)."""
        if self.kind == "layout":
            return patches.flatten(1)
        assignment = (self.sharpness * patches @ F.normalize(self.centroids, dim=-1).T).softmax(-1)
        residuals = assignment.transpose(1, 2) @ patches - assignment.sum(1)[..., None] * self.centroids
        return F.normalize(F.normalize(residuals, dim=-1).flatten(1), dim=-1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Its tensors by name, as arrays on the CPU; those of VLAD are the fields of `vpr.models.vlad.Vlad`."""
        return {name: value.numpy(force=True) for name, value in self.state_dict().items()}

    def fit(self, patches: np.ndarray, power: float, seed: int) -> None:
        """Fit centres and whitening to the patches (N, P, C) of some images.

        power: components are scaled by their variance to the power of minus this; 0.5 is full whitening. N images span
        N - 1 dimensions; the others of the descriptor stay zero. Raises ValueError for fewer than two images.
        """
        from sklearn.decomposition import PCA

        if len(patches) < 2:
            raise ValueError(f"{len(patches)} images are too few to fit a summary")
        if self.kind == "vlad":
            self._fit_centres(patches, seed)
        with torch.no_grad():
            raw = np.concatenate([self.raw(torch.from_numpy(part)).numpy() for part in _float_blocks(patches)])
        with np.errstate(invalid="ignore"):  # if all images are equal
            pca = PCA(min(len(self.components), len(raw) - 1, raw.shape[1]), random_state=seed).fit(raw)
        self.mean.copy_(torch.from_numpy(pca.mean_))
        scaled = _scale_components(pca.components_, pca.explained_variance_, power)
        self.components.zero_()[: len(pca.components_)] = torch.from_numpy(scaled)

    def _fit_centres(self, patches: np.ndarray, seed: int) -> None:
        """k-means of a sample of patches; the assignment is sharpened as in the NetVLAD paper."""
        import faiss

        rng = np.random.default_rng(seed)
        flat = patches.reshape(-1, patches.shape[-1])
        sample = np.ascontiguousarray(flat[rng.permutation(len(flat))[:PATCHES]], np.float32)
        kmeans = faiss.Kmeans(
            sample.shape[1], len(self.centroids), niter=ITERATIONS, seed=seed + 1, min_points_per_centroid=1
        )
        kmeans.train(sample)
        centroids = np.asarray(kmeans.centroids)
        nearest = np.sort(sample @ (centroids / np.linalg.norm(centroids, axis=1, keepdims=True)).T, axis=1)
        gap = float(np.mean(nearest[:, -1] - nearest[:, -2])) if len(centroids) > 1 else 1.0
        self.centroids.copy_(torch.from_numpy(centroids))
        self.sharpness.fill_(np.log(SHARPNESS) / gap)


def fit_whitening(
    patches: np.ndarray, dim: int, power: float, seed: int, prior: float = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (C,) and components (dim, C) that whiten the patches (N, P, C) of some images, unit vectors.

    power: components are scaled by their variance to the power of minus this. There are fewer components if the patches
    span fewer dimensions. prior: the number of patches that shrinkage is worth: mean and covariance are those of all
    patches together with as many patches of mean zero and of the same variance in every direction.
    """
    from sklearn.decomposition import PCA

    flat = patches.reshape(-1, patches.shape[-1])
    sample = flat[np.random.default_rng(seed).permutation(len(flat))[:PATCHES]].astype(np.float64)
    if prior:
        return _fit_shrunk_whitening(sample, dim, power, prior / (prior + len(flat)))
    pca = PCA(min(dim, *sample.shape), random_state=seed).fit(sample)
    scaled = _scale_components(pca.components_, pca.explained_variance_, power)
    return pca.mean_.astype(np.float32), scaled.astype(np.float32)


def _fit_shrunk_whitening(
    sample: np.ndarray, dim: int, power: float, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """As `fit_whitening` of a sample (n, C). shrinkage: weight of the prior, 0 to 1."""
    channels, mean = sample.shape[1], sample.mean(0)
    centred = sample - mean
    covariance = centred.T @ centred / len(sample)
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / channels * np.eye(channels)
    variance, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-variance, kind="stable")[:dim]
    scaled = _scale_components(vectors[:, order].T, variance[order], power)
    return ((1 - shrinkage) * mean).astype(np.float32), scaled.astype(np.float32)


def _scale_components(components: np.ndarray, variance: np.ndarray, power: float) -> np.ndarray:
    """The components (K, D), scaled by their variances (K,), descending, to the power of ``-power``."""
    floor = max(VARIANCE_FLOOR * float(variance[0]), np.finfo(np.float32).tiny)
    scaled: np.ndarray = components * ((variance + floor) ** -power)[:, None]
    return scaled


def _float_blocks(patches: np.ndarray) -> list[np.ndarray]:
    """The patches as float32, in parts of 1024 images."""
    return [patches[start : start + 1024].astype(np.float32) for start in range(0, len(patches), 1024)]
