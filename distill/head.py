"""Where a head starts: from what the backbone already sees, so that training need not find it first."""

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from vpr.description.describe import BATCH
from vpr.description.images import Images
from vpr.models.structural import StructuralModel

IMAGES = 1000
FLOOR = 1e-3  # of the largest variance, added to every variance before it is evened out


def start_head(
    model: StructuralModel, images: Images, device: torch.device, seed: int, teacher: np.ndarray | None = None
) -> None:
    """Set the head from the features that the backbone has of some images.

    PCA whitening makes the descriptors uncorrelated and of even variance. With descriptors (N, C) of a teacher of the
    same length, a rotation then brings them as near as possible to the teacher's (Procrustes). With a random head every
    image looks alike to a model that starts from random weights, and the losses hardly move.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(images), min(IMAGES, len(images)), replace=False))
    features = _features(model, images, chosen, device)
    weight, mean = _whitening(features, model.config.dim, rng)
    if teacher is not None and teacher.shape[1] == model.config.dim:
        rotation, _ = orthogonal_procrustes((features - mean) @ weight.T, teacher[chosen])
        weight = rotation.T @ weight
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weight))
        model.head.bias.copy_(torch.from_numpy(-weight @ mean))


def _features(model: StructuralModel, images: Images, chosen: np.ndarray, device: torch.device) -> np.ndarray:
    """What the head makes the global descriptors of the chosen images from, (n, D) float64, as training sees it."""
    model.train()
    features = []
    for start in range(0, len(chosen), BATCH):
        batch = torch.stack([images[i] for i in chosen[start : start + BATCH].tolist()]).to(device)
        with torch.no_grad():
            features.append(model.summarise(batch).double().cpu().numpy())
    return np.concatenate(features)


def _whitening(features: np.ndarray, dim: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Weights (dim, D) and mean (D,); dimensions beyond the features' rank are random mixtures of the others."""
    pca = PCA(min(dim, *features.shape), random_state=0).fit(features)
    variance = pca.explained_variance_
    weight = pca.components_ / np.sqrt(variance + FLOOR * variance[0])[:, None]
    if len(weight) < dim:
        mixture, _ = np.linalg.qr(rng.standard_normal((dim, len(weight))))
        weight = mixture @ weight
    return weight, pca.mean_
