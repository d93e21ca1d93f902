"""Where a head starts: from what the backbone already sees, so that training need not find it first."""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from vpr.base.errors import VprError
from vpr.description.describe import BATCH, evaluating
from vpr.description.images import Images
from vpr.models.structural import StructuralModel
from vpr.models.summary import whitening

log = logging.getLogger("vpr")

IMAGES = 1000  # that a head is fitted to
FIT_IMAGES = 4000  # that whitening and VLAD of patches are fitted to
POWER = 0.25  # of the variances of patches
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
    log.info("fitting the head to %d images", len(chosen))
    features = _features(model, images, chosen, device)
    weight, mean = _whitening(features, model.config.dim, rng)
    if teacher is not None and teacher.shape[1] == model.config.dim:
        rotation, _ = orthogonal_procrustes((features - mean) @ weight.T, teacher[chosen])
        weight = rotation.T @ weight
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weight))
        model.head.bias.copy_(torch.from_numpy(-weight @ mean))


def start_whitening(model: StructuralModel, images: Images, device: torch.device, seed: int) -> None:
    """Set a whitening head, and VLAD or layout behind it, from the features of some images; no labels are used.

    Variances are raised to minus `POWER`, so that they are evened out half-way.
    """
    chosen = _some(images, seed)
    log.info("fitting the head to %d images", len(chosen))
    raw = np.concatenate(list(_batches(model, images, chosen, device, model.raw_patches)))
    mean, weight = whitening(raw, model.config.dim, POWER, seed)
    if len(weight) < model.config.dim:
        raise VprError(f"the features have {len(weight)} dimensions; pass --dim {len(weight)} or less")
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weight))
        model.head.bias.copy_(torch.from_numpy(-weight @ mean))
    start_summary(model, images, device, seed)


def start_summary(model: StructuralModel, images: Images, device: torch.device, seed: int) -> None:
    """Fit VLAD or layout to the model's own patches of some images; nothing for other poolings."""
    if model.summary is None:
        return
    if len(images) <= model.config.global_dim:
        log.warning("%d images span fewer than the %d dimensions asked for", len(images), model.config.global_dim)
    chosen = _some(images, seed)
    patches = np.concatenate(
        list(_batches(model, images, chosen, device, lambda batch: model(batch).patch_descriptors))
    )
    model.summary.fit(patches, POWER, seed)


def _some(images: Images, seed: int) -> list[int]:
    """Numbers of at most `FIT_IMAGES` images."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(len(images), min(FIT_IMAGES, len(images)), replace=False)).tolist()


def _batches(
    model: StructuralModel,
    images: Images,
    chosen: list[int],
    device: torch.device,
    describe: Callable[[torch.Tensor], torch.Tensor],
) -> Iterator[np.ndarray]:
    """What ``describe`` says of the chosen images, a batch at a time."""
    with evaluating(model):
        for start in range(0, len(chosen), BATCH):
            batch = torch.stack([images[number] for number in chosen[start : start + BATCH]])
            yield describe(batch.to(device)).float().cpu().numpy()


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
