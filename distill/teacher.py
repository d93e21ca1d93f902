"""Fitting the NetVLAD teacher: k-means, contrastive training, PCA whitening."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from lightning_fabric import Fabric
from sklearn.decomposition import PCA
from torch.utils.data import Subset

from vpr.base.errors import VprError
from vpr.base.run_folder import CHECKPOINT, finish_run
from vpr.description.batches import BATCH
from vpr.description.describe import global_descriptors
from vpr.description.image_files import Images
from vpr.distill.data import TrainingData, load_images
from vpr.distill.losses.metric_loss import MetricLoss, check_memory, check_objective
from vpr.distill.losses.objective import Objective
from vpr.distill.runs import open_run, run_identity
from vpr.distill.sampling.places import Guard, Places
from vpr.distill.settings import TeacherSettings, WhiteningConfig
from vpr.distill.training.averaging import Measures, copy_weights, keep_share
from vpr.distill.training.trainer import Trainer
from vpr.distill.training.validation import Validator
from vpr.models.loading import load_teacher
from vpr.models.netvlad import NetVLAD
from vpr.models.weights import save_weights

log = logging.getLogger("vpr")

KMEANS_IMAGES = 500
FEATURES_PER_IMAGE = 100  # for k-means
WHITENING_IMAGES = 20_000


def fit_teacher(
    settings: TeacherSettings,
    data: TrainingData,
    out: Path,
    fabric: Fabric,
    overwrite: bool,
    validator: Validator | None = None,
) -> NetVLAD:
    """Fit NetVLAD into the run folder ``out``, or load it if that run is complete already.

    An interrupted run continues from its checkpoint. Raises VprError if the folder holds a run with other settings.
    """
    first, device = fabric.is_global_zero, fabric.device
    if open_run(fabric, out, run_identity("vpr.teacher", settings, data), overwrite):
        log.info("teacher: %s is already complete", out)
        return load_teacher(out, device)
    torch.manual_seed(settings.train.seed)
    model = NetVLAD(settings.teacher).to(device).to(memory_format=torch.channels_last)
    model.WPCA.requires_grad_(False)
    images = load_images(data, model, settings.train.workers)
    places = Places(data.photos, Guard())
    length = settings.teacher.clusters * model.pool.centroids.shape[1]  # of a descriptor before PCA
    objective = Objective(MetricLoss(settings.objective, length, int(places.cells.max()) + 1))
    checkpoint = out / CHECKPOINT
    share = None if settings.start is None else settings.start.average_with_start
    is_chosen = validator is not None and settings.chooses_share(validator.held_out)
    averages = is_chosen or share not in (None, 1.0)
    if averages or not checkpoint.is_file():
        initialise_clusters(model, images, device, np.random.default_rng(settings.train.seed))
    start = copy_weights(model) if averages else {}
    trainer = Trainer(model, places, images, objective, settings.train, fabric)
    losses = trainer.train(checkpoint, score=None if validator is None else validator.score)
    if first:
        metrics = {"losses": losses, **trainer.validations.metrics()}
        if averages:
            kept = keep_share(model, start, share, partial(_measure, trainer, validator), "R@1")
            metrics["average_with_start"] = kept.record()
        whiten(model, images, settings.whitening, device)
        model.eval()
        finish_run(out, lambda path: save_weights(model, path), metrics)
    fabric.barrier()
    return model if first else load_teacher(out, device)  # each process has its own running statistics


def _measure(trainer: Trainer, validator: Validator | None, model: NetVLAD) -> Measures:
    """Recall@1 of each query with a model whose PCA is not fitted yet, by the name of the set."""
    assert validator is not None
    with trainer.describing(model.eval()):
        return validator.measure(model)


def check_teacher(settings: TeacherSettings) -> None:
    """Find errors in the settings before photos are read.

    Raises VprError for a loss, miner and memory that cannot be combined, and a memory smaller than a batch.
    """
    check_objective(settings.objective)
    check_memory(settings.objective, settings.train.batch_size)


def check_image_count(dim: int, count: int) -> None:
    """Raise VprError if there are too few images for a PCA to ``dim`` dimensions."""
    used = min(WHITENING_IMAGES, count)
    if used <= dim:
        problem = f"PCA to {dim} dimensions needs more than {used} images"
        raise VprError(problem, thing="--dim", remedy="pass a smaller --dim")


def initialise_clusters(model: NetVLAD, images: Images, device: torch.device, rng: np.random.Generator) -> None:
    """Initialise the centroids of NetVLAD by k-means of some images' features, unit vectors.

    The model is in training mode, because an untrained encoder has no batch statistics yet.
    """
    chosen = rng.choice(len(images), min(KMEANS_IMAGES, len(images)), replace=False).tolist()
    log.info("k-means: %d clusters of features of %d images", model.config.clusters, len(chosen))
    drawn = []
    model.train()
    for start in range(0, len(chosen), BATCH):
        batch = torch.stack([images[number] for number in chosen[start : start + BATCH]]).to(device)
        with torch.no_grad():
            features = torch.nn.functional.normalize(model.features(batch), dim=1).flatten(2)
        positions = torch.from_numpy(rng.permutation(features.shape[2])[:FEATURES_PER_IMAGE])
        drawn.append(features[:, :, positions].transpose(1, 2).flatten(0, 1).cpu().numpy())
    samples = np.ascontiguousarray(np.concatenate(drawn), np.float32)
    kmeans = faiss.Kmeans(samples.shape[1], model.config.clusters, niter=30, seed=int(rng.integers(2**31)))
    kmeans.train(samples)
    model.pool.initialise(np.asarray(kmeans.centroids), samples)


def whiten(model: NetVLAD, images: Images, config: WhiteningConfig, device: torch.device) -> None:
    """Fit PCA to the descriptors of the training images. Each component is divided by its standard deviation to the
    power ``whitening``.

    Raises VprError if there are fewer images than components.
    """
    check_image_count(model.config.dim, len(images))
    chosen = np.linspace(0, len(images) - 1, min(WHITENING_IMAGES, len(images))).astype(int).tolist()
    descriptors = global_descriptors(model, Subset(images, chosen), device, title="describing for PCA")
    pca = PCA(model.config.dim, random_state=0).fit(descriptors)
    scale = pca.explained_variance_ ** (-config.whitening / 2)
    model.set_whitening((pca.components_ * scale[:, None]).astype(np.float32), pca.mean_.astype(np.float32))
    kept = 100 * pca.explained_variance_ratio_.sum()
    log.info("PCA: %d dimensions keep %.0f %% of the variance", model.config.dim, kept)
