"""Settings of training, one dataclass a stage; a run folder records them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vpr.base.machine import Device
from vpr.base.processes import Precision
from vpr.base.settings import (
    BelowOne,
    Names,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Several,
    Share,
    option,
)
from vpr.models.settings import ModelConfig, TeacherConfig
from vpr.transport.problem import EPSILON

Loss = Literal[
    "infonce", "supcon", "triplet", "margin", "contrastive", "multi-similarity", "circle", "fast-ap", "proxy-anchor"
]
Miner = Literal[
    "none", "multi-similarity", "batch-hard", "batch-easy-hard", "semi-hard", "triplet-margin", "pair-margin",
    "distance-weighted", "angular", "hdc", "uniform-histogram",
]  # fmt: skip

Augmentation = Literal["none", "light", "medium", "heavy", "objects"]


@dataclass(frozen=True)
class RunConfig:
    """Run."""

    data: Path | None = option(None, "root of an MSLS tree; mini-MSLS, rendered on first use, when left out")
    cities: Names = option(Names(), "training cities; the official ones that are there when left out")
    held_out: str | None = option(
        None,
        "training-side city kept out of training, on which the weight is fixed; '' for none. When left out, amsterdam "
        "where it is in the tree and not among --cities",
    )
    device: Device = option("auto", "where to compute")
    overwrite: bool = option(False, "replace a run of other settings")


@dataclass(frozen=True)
class ObjectiveConfig:
    """Loss on the global descriptors."""

    loss: Loss = option("infonce", "loss of pytorch-metric-learning")
    miner: Miner = option("none", "which pairs or triplets of the batch the loss takes; none: all")
    memory: NonNegativeInt = option(0, "descriptors of earlier batches that are compared with too; 0: none")
    temperature: PositiveFloat = option(0.1, "temperature of infonce and supcon, in units of similarity")
    margin: PositiveFloat | None = option(
        None,
        "margin of the other losses: a distance of unit vectors, or for circle and proxy-anchor a similarity; "
        "their own when left out",
    )
    beta: PositiveFloat = option(1.2, "margin loss: the distance that parts positives from negatives")


@dataclass(frozen=True)
class StructuralConfig:
    """Structural loss."""

    structural_in: Literal["own", "metric"] = option(
        "own",
        "where S_struct is trained: in a loss of its own, or in --loss, which then goes by (S_global + S_struct) / 2, "
        "not by the cosine",
    )
    structural_weight: NonNegativeFloat = option(
        16.0, "weight of the structural loss; 0 trains without S_struct, and --structural-in metric has no other weight"
    )
    structural_temperature: PositiveFloat = option(0.05, "temperature of the structural loss, in units of S_struct")
    structural_negatives: PositiveInt = option(5, "random negatives of each anchor in the structural loss")
    structural_from: NonNegativeFloat = option(0.1, "share of the steps after which the structural loss starts")
    sinkhorn_iterations: PositiveInt = option(8, "Sinkhorn iterations unrolled in the structural loss")
    epsilon: PositiveFloat = option(EPSILON, "entropic regularisation in the structural loss, in units of cost")
    structural_mass: Share = option(1.0, "least mass that the structural loss moves: at each step between it and 1")


@dataclass(frozen=True)
class DistillationConfig:
    """Distillation."""

    distillation: Literal["regression", "relational"] = option("regression", "how the student follows the teacher")
    distillation_weight: NonNegativeFloat = option(12.0, "weight of that loss")
    keep_weight: NonNegativeFloat = option(
        0.0, "weight of 1 - cosine of each patch descriptor with that of the network before training"
    )


@dataclass(frozen=True)
class TrainConfig:
    """Training."""

    steps: NonNegativeInt = option(700, "training steps; 0 leaves the start as it is")
    accumulate: PositiveInt = option(1, "batches whose gradients make one step")
    precision: Precision = option("32-true", "precision of the network's arithmetic")
    ema: BelowOne = option(0.0, "keep a running mean of the weights, of which each step leaves this share; 0: none")
    places: Several = option(8, "places in a batch")
    images_per_place: Several = option(4, "images of each place in a batch")
    sampling: Literal["even", "conditions"] = option(
        "even", "draw places evenly, or more often by night and sideways, as MSLS weighs them"
    )
    mining: Literal["places", "tuples"] = option(
        "places",
        "places: half of the batches hold places that look alike; tuples: every batch holds tuples of a query, its "
        "nearest positive and its hardest negatives, --images-per-place in all, from caches of photos as MSLS's loader "
        "has them",
    )
    minings: NonNegativeInt = option(4, "how often hard places are mined, evenly spread; first at a fifth of the steps")
    cached_queries: PositiveInt = option(1000, "queries of a cache of tuples; it is renewed when they are used up")
    cached_negatives: PositiveInt = option(1000, "photos of a cache of tuples that are their negatives")
    learning_rate: PositiveFloat = option(1.5e-3, "peak learning rate of AdamW, after a warm-up over 5 % of the steps")
    schedule: Literal["cosine", "plateau"] = option(
        "cosine", "the rate from there: a cosine to zero, or lowered when validations bring nothing better"
    )
    plateau_after: PositiveInt = option(2, "validations without a better one after which the rate is lowered")
    plateau_factor: Share = option(0.3, "what it is lowered to, as a share")
    backbone_rate: NonNegativeFloat = option(
        1.0, "learning rate of the backbone or encoder as a share of the head's; 0 freezes it"
    )
    layer_decay: Share = option(1.0, "factor of that rate from each layer of the backbone to the one before it")
    frozen_blocks: NonNegativeInt = option(0, "stem and first blocks of the backbone that are not trained; 0: none")
    weight_decay: NonNegativeFloat = option(0.05, "weight decay of AdamW")
    augment: Augmentation = option("medium", "how training images are changed")
    validate_every: NonNegativeInt = option(
        0, "steps between validations on the held-out city, of which the best weights are kept; 0: none"
    )
    patience: NonNegativeInt = option(0, "validations without a better one that end the training; 0: none does")
    checkpoint_every: PositiveInt = option(200, "steps between checkpoints, from which an interrupted run continues")
    seed: NonNegativeInt = option(0, "seed of weights, batches and augmentation")
    workers: NonNegativeInt = option(
        0, "processes that decode training images; 0 decodes in the training process, which keeps up to 2 GiB of them"
    )
    tensorboard: bool = option(False, "write TensorBoard's files too, into RUN/tensorboard")


@dataclass(frozen=True)
class WhiteningConfig:
    """PCA whitening."""

    whitening: NonNegativeFloat = option(0.5, "how far variances are evened out: 0 is plain PCA, 1 is full whitening")


@dataclass(frozen=True)
class StudentSettings:
    """Everything that defines a student's training."""

    model: ModelConfig
    objective: ObjectiveConfig
    structural: StructuralConfig
    train: TrainConfig
    distillation: DistillationConfig | None = None


@dataclass(frozen=True)
class TeacherSettings:
    """Everything that defines a teacher's fitting."""

    teacher: TeacherConfig
    objective: ObjectiveConfig
    train: TrainConfig
    whitening: WhiteningConfig


TEACHER_TRAIN = TrainConfig(steps=800, learning_rate=1e-3, augment="light")  # the defaults of a teacher's training
TEACHER_OBJECTIVE = ObjectiveConfig(temperature=0.07)


def default_teacher(seed: int, student: ModelConfig, photos: int) -> TeacherSettings:
    """The teacher that distillation fits to so many training photos when it is given none.

    For a student from given weights, NetVLAD on the same trunk, which is not trained, and which is as long as the
    photos allow; else a small encoder, which is trained.
    """
    length = student.global_length
    if not student.weights:
        train = dataclasses.replace(TEACHER_TRAIN, seed=seed)
        return TeacherSettings(TeacherConfig(dim=length), TEACHER_OBJECTIVE, train, WhiteningConfig())
    trunk = (student.backbone, student.stage, student.weights)
    size, dim = student.image_size, max(1, min(length, photos - 1))
    network = TeacherConfig(*trunk, student.clusters, dim, size, size)
    train = dataclasses.replace(TEACHER_TRAIN, seed=seed, steps=0)
    return TeacherSettings(network, TEACHER_OBJECTIVE, train, WhiteningConfig())


def identity_of(settings: StudentSettings | TeacherSettings) -> dict[str, Any]:
    """The settings that change the result. A run may continue with others of those that do not."""
    identity = dataclasses.asdict(settings)
    for name in ("workers", "checkpoint_every", "tensorboard"):
        del identity["train"][name]
    return identity
