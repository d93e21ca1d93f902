"""Initialisation of a student's head, and of its pooling, from the features of the backbone. No labels are used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from vpr.base.errors import VprError
from vpr.description.batches import BATCH
from vpr.description.describe import evaluation_mode, load_batches
from vpr.description.image_files import Images
from vpr.distill.training.teacher_descriptors import TeacherDescriptors
from vpr.models.structural import StructuralModel
from vpr.models.summary import fit_whitening

log = logging.getLogger("vpr")

HEAD_IMAGES = 1000  # images that `initialise_head` uses
PATCH_IMAGES = 4000  # images that whitening and pooling of patches use
POWER = 0.25  # variances of patches are raised to minus this power, which equalises them half-way
VARIANCE_FLOOR = 1e-3  # of the largest variance, added to every variance before whitening


def initialise_head(
    model: StructuralModel, images: Images, device: torch.device, seed: int, teacher: TeacherDescriptors | None = None
) -> None:
    """Set the head to the PCA whitening of the backbone's features of some images.

    A random head gives every image almost the same descriptor, and training hardly moves. After whitening, descriptors
    are uncorrelated and of equal variance. With a teacher of descriptors of the same length, a rotation then
    brings them as close as possible to the teacher's (orthogonal Procrustes).
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(images), min(HEAD_IMAGES, len(images)), replace=False))
    log.info("initialising the head from %d images", len(chosen))
    features = _training_features(model, images, chosen, device)
    weight, mean = _whitening(features, model.config.dim, rng)
    if teacher is not None and teacher.dim == model.config.dim:
        rotation, _ = orthogonal_procrustes((features - mean) @ weight.T, teacher.of(chosen))
        weight = rotation.T @ weight
    _set_head(model, weight, mean)


def initialise_whitening(model: StructuralModel, images: Images, device: torch.device, seed: int) -> None:
    """Set a whitening head from the patches of some images, and then the pooling behind it.

    Raises VprError if the features have fewer dimensions than the head.
    """
    chosen = _sample(images, seed)
    log.info("initialising the head from %d images", len(chosen))
    raw = list(_describe(model, images, chosen, device, model.raw_patches))
    mean, weight = fit_whitening(np.concatenate(raw), model.config.dim, POWER, seed)
    if len(weight) < model.config.dim:
        problem = f"the features have {len(weight)} dimensions"
        raise VprError(problem, thing="--dim", remedy=f"pass --dim {len(weight)} or less")
    _set_head(model, weight, mean)
    if model.summary is not None:  # from the same images, which the backbone need not see again
        with evaluation_mode(model):
            patches = [model.map_patches(torch.from_numpy(batch).to(device)).float().cpu().numpy() for batch in raw]
        _fit_summary(model, np.concatenate(patches), seed)


def fit_pooling(model: StructuralModel, images: Images, device: torch.device, seed: int) -> None:
    """Fit the pooling (VLAD or layout) to the patches of some images. Other poolings need no fit."""
    if model.summary is None:
        return
    described = _describe(model, images, _sample(images, seed), device, lambda batch: model(batch).patch_descriptors)
    _fit_summary(model, np.concatenate(list(described)), seed)


def _fit_summary(model: StructuralModel, patches: np.ndarray, seed: int) -> None:
    """Fit the summary of a model to the patch descriptors (N, P, C) of some images."""
    assert model.summary is not None
    if len(patches) <= model.config.global_dim:
        log.warning("%d images cannot span the %d dimensions of --global-dim", len(patches), model.config.global_dim)
    model.summary.fit(patches, POWER, seed)


def _set_head(model: StructuralModel, weight: np.ndarray, mean: np.ndarray) -> None:
    """Make the head subtract a mean (D,) and multiply by weights (dim, D)."""
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weight))
        model.head.bias.copy_(torch.from_numpy(-weight @ mean))


def _sample(images: Images, seed: int) -> list[int]:
    """The numbers of at most `PATCH_IMAGES` random images, in order."""
    rng = np.random.default_rng(seed)
    numbers: list[int] = np.sort(rng.choice(len(images), min(PATCH_IMAGES, len(images)), replace=False)).tolist()
    return numbers


def _describe(
    model: StructuralModel,
    images: Images,
    chosen: list[int],
    device: torch.device,
    describe: Callable[[torch.Tensor], torch.Tensor],
) -> Iterator[np.ndarray]:
    """The results of ``describe`` for the chosen images, batch by batch, with the model in evaluation mode."""
    with evaluation_mode(model):
        for batch in load_batches(images, _batches(chosen)):
            yield describe(batch.to(device)).float().cpu().numpy()


def _batches(chosen: list[int]) -> list[list[int]]:
    """The numbers in batches of `BATCH`."""
    return [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]


def _training_features(model: StructuralModel, images: Images, chosen: np.ndarray, device: torch.device) -> np.ndarray:
    """The inputs of the head for the chosen images, (n, D) float64, in training mode."""
    model.train()
    features = []
    for batch in load_batches(images, _batches(chosen.tolist())):
        with torch.no_grad():
            features.append(model.summarise(batch.to(device)).double().cpu().numpy())
    return np.concatenate(features)


def _whitening(features: np.ndarray, dim: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Weights (dim, D) and mean (D,). Dimensions beyond the rank of the features are random mixtures of the others."""
    pca = PCA(min(dim, *features.shape), random_state=0).fit(features)
    variance = pca.explained_variance_
    weight = pca.components_ / np.sqrt(variance + VARIANCE_FLOOR * variance[0])[:, None]
    if len(weight) < dim:
        mixture, _ = np.linalg.qr(rng.standard_normal((dim, len(weight))))
        weight = mixture @ weight
    return weight, pca.mean_
