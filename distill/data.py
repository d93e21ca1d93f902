"""The training photos of an MSLS tree."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.datasets.default import data_root
from vpr.datasets.errors import DatasetError
from vpr.datasets.msls import MSLS, Protocol, Side, load
from vpr.datasets.msls.cities import TRAIN_CITIES
from vpr.datasets.msls.tree import Location, existing_cities, locate
from vpr.description.images import ImageFiles, widened
from vpr.distill.places import Photos
from vpr.distill.settings import RunConfig
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel

log = logging.getLogger("vpr")

HELD_OUT = "amsterdam"  # by default
MEMORY_BYTES = 2 << 30  # decoded training images up to this size stay in memory


@dataclass(frozen=True)
class TrainingData:
    """The photos to train on and what identifies them."""

    root: Path
    photos: Photos
    held_out: str  # the city that the weight is fixed on; empty for none
    identity: dict  # cities, held-out city and fingerprint, for the run's config


def training_data(config: RunConfig) -> TrainingData:
    """Read the training cities. Raises DatasetError, or VprError when the held-out city is among those named."""
    if config.held_out in config.cities:
        raise VprError(f"{config.held_out} is held out of training; take it from --cities or pass another --held-out")
    apart = HELD_OUT if config.held_out is None else config.held_out
    root = data_root(config.data, [*config.cities, *filter(None, [apart])], () if config.cities else TRAIN_CITIES)
    held_out = _held_out(config, root)
    photos, dataset = training_photos(root, tuple(config.cities), held_out)
    cities = [city.name for city in dataset.cities]
    log.info("training photos: %d of %s", len(photos.paths), ", ".join(cities))
    identity = {"cities": cities, "held_out": held_out, "fingerprint": dataset.fingerprint}
    return TrainingData(root, photos, held_out, identity)


def _held_out(config: RunConfig, root: Path) -> str:
    """The held-out city that was asked for, or the usual one where it can be held out."""
    if config.held_out is not None:
        return config.held_out
    if HELD_OUT not in config.cities and Location(HELD_OUT, "train_val") in existing_cities(root):
        return HELD_OUT
    log.info("no city is held out: w, the weight of S_struct, will be the default; --held-out CITY fixes it on a city")
    return ""


def load_images(data: TrainingData, model: StructuralModel | NetVLAD, workers: int = 0) -> ImageFiles:
    """The training images as a model takes them, kept in memory when they are few.

    With processes that decode them, each of which would keep its own, they are not.
    """
    paths, (height, width) = (
        data.photos.paths,
        model.input_size if model.crop == "resize" else widened(model.input_size),
    )
    keep = workers == 0 and len(paths) * 3 * height * width < MEMORY_BYTES
    return ImageFiles.of(data.root, paths, model, keep)


def training_photos(root: Path, cities: tuple[str, ...], without: str) -> tuple[Photos, MSLS]:
    """All photos, queries and database, of the training cities but the held-out one; panoramas left out.

    Raises DatasetError for bad metadata or a city that is not there.
    """
    if not cities:
        cities = tuple(place.name for place in locate(root, "train", ()) if place.name != without)
    dataset = load(root, Protocol(split="train", cities=cities))
    parts = [
        _photos_of(side, number) for number, city in enumerate(dataset.cities) for side in (city.query, city.database)
    ]
    return Photos(*(np.concatenate(column) for column in zip(*parts))), dataset


def _photos_of(side: Side, city: int) -> tuple[np.ndarray, ...]:
    """The fields of `Photos`, in their order, of the kept images of one side."""
    rows = side.frames[:, 0]
    if side.utm is None:
        raise DatasetError(f"{side.folder}: no postprocessed.csv, so places cannot be told; unpack the metadata again")
    heading = np.full(len(rows), np.nan, np.float32) if side.compass is None else side.compass[rows]
    return side.image_paths(rows), side.utm[rows], np.full(len(rows), city), heading, side.night, side.sideways
