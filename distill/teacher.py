"""Fitting the NetVLAD teacher: k-means, contrastive training, PCA whitening."""

import logging
from pathlib import Path

import faiss
import numpy as np
import torch
from lightning_fabric import Fabric
from sklearn.decomposition import PCA
from torch.utils.data import Subset

from vpr.base.command import log_to
from vpr.base.errors import VprError
from vpr.base.run_folder import CHECKPOINT, finish_run, start_run
from vpr.description.describe import BATCH, global_descriptors
from vpr.description.images import Images
from vpr.distill.contrast import Contrast
from vpr.distill.data import TrainingData, load_images
from vpr.distill.objective import Objective
from vpr.distill.places import Guard, Places
from vpr.distill.settings import TeacherSettings, WhiteningConfig, identity_of
from vpr.distill.trainer import Trainer
from vpr.distill.validations import Judge
from vpr.models.loading import load_teacher
from vpr.models.netvlad import NetVLAD
from vpr.models.weights import save_weights

log = logging.getLogger("vpr")

KMEANS_IMAGES = 500
FEATURES_PER_IMAGE = 100
WHITENING_IMAGES = 20_000


def fit_teacher(
    settings: TeacherSettings,
    data: TrainingData,
    out: Path,
    fabric: Fabric,
    overwrite: bool,
    judge: Judge | None = None,
) -> NetVLAD:
    """Fit NetVLAD into the run folder ``out``, or load it when that run is complete already.

    The clusters start by k-means; an interrupted run continues from its checkpoint. judge: for settings with
    validations. Raises VprError when the folder holds a run of other settings.
    """
    identity = {"command": "vpr.teacher", "data": data.identity, **identity_of(settings)}
    if settings.train.validate_every:
        identity["validated_on"] = data.held_out
    first, device = fabric.is_global_zero, fabric.device
    if fabric.broadcast(first and start_run(out, identity, overwrite)):
        log.info("teacher: %s is complete already", out)
        return load_teacher(out, device)
    if first:
        log_to(out)
    torch.manual_seed(settings.train.seed)
    model = NetVLAD(settings.teacher).to(device).to(memory_format=torch.channels_last)
    model.WPCA.requires_grad_(False)
    images = load_images(data, model, settings.train.workers)
    places, length = Places(data.photos, Guard()), settings.teacher.clusters * model.pool.centroids.shape[1]
    objective = Objective(Contrast(settings.objective, length, int(places.cells.max()) + 1))
    checkpoint = out / CHECKPOINT
    if not checkpoint.is_file():
        start_clusters(model, images, device, np.random.default_rng(settings.train.seed))
    trainer = Trainer(model, places, images, objective, settings.train, fabric)
    losses = trainer.train(checkpoint, score=None if judge is None else judge.score)
    if first:
        whiten(model, images, settings.whitening, device)
        model.eval()
        finish_run(out, lambda path: save_weights(model, path), {"losses": losses, **trainer.validations.metrics()})
    fabric.barrier()
    return model if first else load_teacher(out, device)  # running statistics are each process's own


def check_photos(dim: int, photos: int) -> None:
    """Raise VprError where there are too few photos for PCA to so many dimensions."""
    count = min(WHITENING_IMAGES, photos)
    if count <= dim:
        raise VprError(f"PCA to {dim} dimensions needs more than {count} images; pass a smaller --dim")


def start_clusters(model: NetVLAD, images: Images, device: torch.device, rng: np.random.Generator) -> None:
    """FAISS k-means over unit features of some images; the centroids start NetVLAD.

    The features are those of the training mode, whose batch statistics an untrained encoder has not recorded yet.
    """
    chosen = rng.choice(len(images), min(KMEANS_IMAGES, len(images)), replace=False).tolist()
    log.info("k-means: %d clusters of features of %d images", model.config.clusters, len(chosen))
    drawn = []
    model.train()
    for start in range(0, len(chosen), BATCH):
        batch = torch.stack([images[i] for i in chosen[start : start + BATCH]]).to(device)
        with torch.no_grad():
            features = torch.nn.functional.normalize(model.features(batch), dim=1).flatten(2)
        places = torch.from_numpy(rng.permutation(features.shape[2])[:FEATURES_PER_IMAGE])
        drawn.append(features[:, :, places].transpose(1, 2).flatten(0, 1).cpu().numpy())
    samples = np.ascontiguousarray(np.concatenate(drawn), np.float32)
    kmeans = faiss.Kmeans(samples.shape[1], model.config.clusters, niter=30, seed=int(rng.integers(2**31)))
    kmeans.train(samples)
    model.pool.start_from(np.asarray(kmeans.centroids), samples)


def whiten(model: NetVLAD, images: Images, config: WhiteningConfig, device: torch.device) -> None:
    """PCA of the descriptors of the training images, each component divided by its standard deviation to the power
    ``whitening``.

    Raises VprError when there are fewer images than components.
    """
    check_photos(model.config.dim, len(images))
    chosen = np.linspace(0, len(images) - 1, min(WHITENING_IMAGES, len(images))).astype(int).tolist()
    descriptors = global_descriptors(model, Subset(images, chosen), device, title="describing for PCA")
    pca = PCA(model.config.dim, random_state=0).fit(descriptors)
    scale = pca.explained_variance_ ** (-config.whitening / 2)
    model.set_whitening((pca.components_ * scale[:, None]).astype(np.float32), pca.mean_.astype(np.float32))
    log.info(
        "PCA: %d dimensions hold %.0f %% of the variance", model.config.dim, 100 * pca.explained_variance_ratio_.sum()
    )
