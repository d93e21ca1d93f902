"""Settings of training, one dataclass per group of options. A run folder records them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vpr.base.machine import Device
from vpr.base.processes import Precision
from vpr.base.settings import (
    AtLeastTwo,
    Names,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    ShareBelowOne,
    UnitInterval,
    option,
    output,
)
from vpr.models.settings import ModelConfig, TeacherConfig
from vpr.transport.problem import EPSILON

Loss = Literal[
    "infonce", "supcon", "triplet", "margin", "contrastive", "multi-similarity", "circle", "fast-ap", "proxy-anchor"
]
Miner = Literal[
    "none", "multi-similarity", "batch-hard", "batch-easy-hard", "semi-hard", "triplet-margin", "pair-margin",
    "distance-weighted",
]  # fmt: skip

PlaceRule = Literal["auto", "identity", "distance", "cells"]
UnknownHeadings = Literal["refuse", "any"]
Augmentation = Literal["none", "light", "medium", "heavy", "objects"]


@dataclass(frozen=True)
class RunOptions:
    """Run."""

    data: Path | None = option(
        None,
        "root of the training photos, whose layout is found by looking: an MSLS tree, GSV-Cities, or photos with "
        "positions: a folder with images/train/ or train/, with database/ and queries/, or with photos; or a list; "
        "default: mini-MSLS, rendered on first use",
    )
    cities: Names = option(
        Names(), "training cities; default: the official ones that the MSLS tree has, or all of GSV-Cities"
    )
    held_out: Names | None = option(
        None,
        "cities held out of training, to choose weights and to calibrate the weight of S_struct on all of them "
        "together, or a split such as val of a set that has no cities; '' for none; default: amsterdam of an MSLS "
        "tree, unless it is missing or --cities names it; split val of a set that has it; none of GSV-Cities",
    )
    validation: Path | None = option(
        None,
        "root of the held-out data: an MSLS tree, GSV-Cities, or any set that eval.places reads; --held-out names its "
        "cities or split; default: --data",
    )
    place_by: PlaceRule = option(
        "auto",
        "photos that show one place; identity: by the place_id of GSV-Cities; distance: at most 10 m and 60 degrees "
        "apart; cells: of 10 m and 30 degrees, batches of cells that do not touch, as CosPlace; auto: identity if "
        "there is one, cells if the file names of a set have positions and headings, otherwise distance",
    )
    least_photos: AtLeastTwo | None = option(
        None, "photos that a place needs, by identity or cells; default: 4 by identity, 10 in a cell"
    )
    unknown_headings: UnknownHeadings = option(
        "refuse",
        "photos without headings, several of which stand at one point; refuse: they are left out, and it is an error "
        "if they are most; any: they are positives of all photos near them, for --mining tuples",
    )
    crs: str = option("", "reference system of metres without one in a list or in file names, such as EPSG:32631")
    out: Path = output(Path("runs/distill"), "run folder", "folder")
    device: Device = option("auto", "device to compute on")
    overwrite: bool = option(False, "start over if the run folder holds a complete run, or a run of other settings")


@dataclass(frozen=True)
class DistillOptions:
    """Teacher."""

    teacher: Path | None = option(
        None,
        "teacher: a vpr.teacher run, a NetVLAD checkpoint, 'builtin', descriptors of the photos (.h5, .npy or folder), "
        "or hub:OWNER/REPO:ENTRY, a model of torch.hub; default: a NetVLAD that is fitted first, into OUT/teacher",
    )
    teacher_pass: bool = option(
        False,
        "describe all training photos by the teacher before the first step, instead of those of a batch before its "
        "step; the result is the same",
    )


AVERAGE_WITH_START = (
    "share of the way from the weights before the first step to the trained ones that is kept, in [0, 1]; default: the "
    "share that re-ranks best on held-out data; 1 if no data are held out, or the weights start at random"
)


@dataclass(frozen=True)
class AverageConfig:
    """Start."""

    average_with_start: UnitInterval | None = option(None, AVERAGE_WITH_START)


@dataclass(frozen=True)
class StartConfig:
    """Start."""

    start: Path | None = option(
        None,
        "run whose weights the training starts from: a run folder of the same architecture, or 'builtin'; default: "
        "--weights for the backbone, and a head that is initialised from training photos",
    )
    average_with_start: UnitInterval | None = option(None, AVERAGE_WITH_START)


@dataclass(frozen=True)
class ObjectiveConfig:
    """Loss on the global descriptors."""

    loss: Loss = option("infonce", "metric-learning loss")
    miner: Miner = option("none", "miner that selects pairs or triplets of the batch; none takes all pairs")
    memory: NonNegativeInt = option(0, "cross-batch memory size in descriptors; 0 disables it")
    temperature: PositiveFloat = option(0.1, "temperature of infonce and supcon, in units of cosine similarity")
    margin: PositiveFloat | None = option(
        None,
        "margin of triplet, margin and contrastive (Euclidean distance of unit vectors) and of circle and proxy-anchor "
        "(cosine similarity); default: each loss's own",
    )
    beta: PositiveFloat = option(1.2, "decision boundary (beta) of the margin loss, a Euclidean distance")
    ms_alpha: PositiveFloat = option(
        2.0, "scale of the positives of the multi-similarity loss; trainings on GSV-Cities take 1"
    )
    ms_base: NonNegativeFloat = option(
        0.5, "cosine at which the multi-similarity loss separates; trainings on GSV-Cities take 0"
    )


@dataclass(frozen=True)
class StructuralConfig:
    """Structural loss."""

    structural_in: Literal["own", "metric"] = option(
        "own",
        "loss that trains S_struct; own: a separate structural loss; metric: --loss, on (S_global + S_struct) / 2 "
        "instead of the cosine",
    )
    structural_weight: NonNegativeFloat = option(
        16.0,
        "weight of the structural loss; 0 trains without S_struct (with --structural-in metric, only 0 has an effect)",
    )
    structural_temperature: PositiveFloat = option(0.05, "temperature of the structural loss, in units of S_struct")
    structural_negatives: PositiveInt = option(5, "random negatives per anchor in the structural loss")
    structural_from: NonNegativeFloat = option(0.1, "share of the steps after which S_struct is trained")
    sinkhorn_iterations: PositiveInt = option(8, "unrolled Sinkhorn iterations in training")
    epsilon: PositiveFloat = option(EPSILON, "entropic regularisation in training, in units of transport cost")
    structural_mass: Share = option(1.0, "minimum transported mass; each step draws a mass between this and 1")


@dataclass(frozen=True)
class DistillationConfig:
    """Distillation."""

    distillation: Literal["regression", "relational"] = option(
        "regression",
        "distillation loss; regression: squared distance to the teacher's descriptors; relational: distances and "
        "angles between descriptors",
    )
    distillation_weight: NonNegativeFloat = option(12.0, "weight of the distillation loss; 0 disables it")
    keep_weight: NonNegativeFloat = option(
        0.0, "weight of the loss that keeps patch descriptors close to the initial model's (1 - cosine); 0 disables it"
    )


@dataclass(frozen=True)
class TrainConfig:
    """Training."""

    steps: NonNegativeInt = option(700, "training steps; 0 saves the initialised model")
    accumulate: PositiveInt = option(1, "batches per step, for gradient accumulation")
    precision: Precision = option("32-true", "floating-point precision of the network")
    ema: ShareBelowOne = option(
        0.0, "decay per step of the weights' exponential moving average, which becomes the model; 0 disables it"
    )
    places: AtLeastTwo = option(8, "places per batch")
    images_per_place: AtLeastTwo = option(4, "images per place in a batch")
    sampling: Literal["even", "conditions"] = option(
        "even",
        "sampling of places; even: uniform; conditions: photos by night and photos that look sideways more often, with "
        "the weights of MSLS's loader",
    )
    mining: Literal["places", "tuples"] = option(
        "places",
        "hard example mining; places: half of the batches combine similar places; tuples: every batch consists of "
        "tuples (query, nearest positive, hardest negatives) of --images-per-place images, as in MSLS's loader",
    )
    minings: NonNegativeInt = option(
        4, "number of minings of places, evenly spaced from a fifth of the steps on; 0 disables mining"
    )
    cached_queries: PositiveInt = option(
        1000, "queries per mining of tuples; the next mining follows when all are used"
    )
    cached_negatives: PositiveInt = option(1000, "candidate negatives per mining of tuples")
    learning_rate: PositiveFloat = option(1.5e-3, "peak learning rate of AdamW, after a warm-up over 5 % of the steps")
    schedule: Literal["cosine", "plateau"] = option(
        "cosine", "learning rate after the warm-up; cosine: decay to zero; plateau: reduced when validations stagnate"
    )
    plateau_after: PositiveInt = option(2, "plateau: validations without improvement before the rate is reduced")
    plateau_factor: Share = option(0.3, "plateau: factor of each reduction")
    backbone_rate: NonNegativeFloat = option(
        1.0, "learning rate of the backbone or encoder, relative to the head's; 0 freezes it"
    )
    layer_decay: Share = option(1.0, "factor of the learning rate from each backbone layer to the one before it")
    frozen_blocks: NonNegativeInt = option(
        0, "number of first backbone blocks that are frozen, together with the stem; 0 freezes none"
    )
    weight_decay: NonNegativeFloat = option(0.05, "weight decay of AdamW")
    augment: Augmentation = option("medium", "augmentation of training images")
    validate_every: NonNegativeInt = option(
        0, "steps between validations on the held-out data; the best weights are kept; 0 disables validation"
    )
    patience: NonNegativeInt = option(
        0, "early stopping after this many validations without improvement; 0 disables it"
    )
    checkpoint_every: PositiveInt = option(200, "steps between checkpoints; an interrupted run continues from the last")
    seed: NonNegativeInt = option(0, "seed of initial weights, batches and augmentation")
    workers: NonNegativeInt = option(
        0, "processes that decode training images; 0: the training process, which keeps up to 2 GiB of decoded images"
    )
    tensorboard: bool = option(False, "also write TensorBoard files, into RUN/tensorboard")

    @property
    def batch_size(self) -> int:
        """Images in a full batch, of all processes together."""
        return self.places * self.images_per_place


@dataclass(frozen=True)
class WhiteningConfig:
    """PCA whitening."""

    whitening: NonNegativeFloat = option(0.5, "strength of PCA whitening; 0: plain PCA; 1: equal variances")


@dataclass(frozen=True)
class StudentSettings:
    """All settings of a student's training."""

    model: ModelConfig
    objective: ObjectiveConfig
    structural: StructuralConfig
    train: TrainConfig
    distillation: DistillationConfig | None = None
    start: StartConfig | None = None  # None: the trained weights are kept

    def chooses_share(self, held_out: str) -> bool:
        """Whether held-out data of this name, empty for none, choose the share of the trained weights."""
        return _chooses_share(self.start, self.model.weights, self.train, held_out)

    def depends_on(self, held_out: str) -> bool:
        """Whether the result depends on the held-out data of this name, empty for none."""
        tempers = self.model.patch_weights and bool(held_out)
        return self.chooses_share(held_out) or bool(self.train.validate_every) or tempers


@dataclass(frozen=True)
class TeacherSettings:
    """All settings of a teacher's fitting."""

    teacher: TeacherConfig
    objective: ObjectiveConfig
    train: TrainConfig
    whitening: WhiteningConfig
    start: StartConfig | None = None  # None: the trained weights are kept

    def chooses_share(self, held_out: str) -> bool:
        """As `StudentSettings.chooses_share`."""
        return _chooses_share(self.start, self.teacher.weights, self.train, held_out)

    def depends_on(self, held_out: str) -> bool:
        """As `StudentSettings.depends_on`."""
        return self.chooses_share(held_out) or bool(self.train.validate_every)


def _chooses_share(start: StartConfig | None, weights: str, train: TrainConfig, held_out: str) -> bool:
    """Whether held-out data choose the share of the trained weights. weights: the initial ones; empty for random."""
    if start is None or start.average_with_start is not None:
        return False
    return bool(held_out and (weights or start.start) and train.steps)


TEACHER_TRAIN = TrainConfig(steps=800, learning_rate=1e-3, augment="light")  # defaults of a teacher's training
TEACHER_OBJECTIVE = ObjectiveConfig(temperature=0.07)


def default_teacher(seed: int, student: ModelConfig, photos: int) -> TeacherSettings:
    """The settings of the teacher that distillation fits if none is given.

    If the student starts from given weights, NetVLAD on the same network, which is not trained; its descriptors are as
    long as the student's, or as the number of photos allows. Else NetVLAD on a small encoder, which is trained.
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
    """The settings that change the result, as a dict. The others may change when a run continues."""
    identity = dataclasses.asdict(settings)
    for name in ("workers", "checkpoint_every", "tensorboard"):
        del identity["train"][name]
    for name in ("ms_alpha", "ms_base"):  # earlier versions had only the defaults, and no such entries
        if identity["objective"][name] == getattr(ObjectiveConfig, name):
            del identity["objective"][name]
    if not identity.get("model", {}).get("patch_weights", True):  # earlier versions had none
        del identity["model"]["patch_weights"]
    if identity.get("start", ...) is None:  # of a teacher that has no choice of a share
        del identity["start"]
    elif "start" in identity:  # the fingerprint of that run is recorded by the command
        del identity["start"]["start"]
    return identity
