"""The training photos of an MSLS tree."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.msls import MSLS, Protocol, load
from distill.places import Photos
from vpr.command import option
from vpr.device import Device
from vpr.errors import VprError
from vpr.images import ImageFiles

log = logging.getLogger("vpr")

MEMORY_BYTES = 2 << 30  # decoded training images up to this size stay in memory


@dataclass(frozen=True)
class RunConfig:
    """Run."""

    data: str = option("", "root of an MSLS tree; mini-MSLS, rendered on first use, when left out")
    cities: tuple[str, ...] = option((), "training cities; the official ones that are there when left out")
    held_out: str = option("amsterdam", "training-side city kept out of training, on which the weight is fixed")
    device: Device = option("auto", "where to compute")
    overwrite: bool = option(False, "replace a run of other settings")


@dataclass(frozen=True)
class TrainingData:
    """The photos to train on and what identifies them."""

    root: Path
    photos: Photos
    identity: dict  # cities, held-out city and fingerprint, for the run's config


def training_data(root: Path, config: RunConfig) -> TrainingData:
    """Read the training cities. Raises DatasetError, or VprError when the held-out city is among those named."""
    if config.held_out in config.cities:
        raise VprError(f"{config.held_out} is held out of training; take it from --cities or pass another --held-out")
    photos, dataset = training_photos(root, config.cities, config.held_out)
    cities = [city.name for city in dataset.cities]
    log.info("training photos: %d of %s", len(photos.paths), ", ".join(cities))
    return TrainingData(
        root, photos, {"cities": cities, "held_out": config.held_out, "fingerprint": dataset.fingerprint}
    )


def load_images(data: TrainingData, size: tuple[int, int]) -> ImageFiles:
    """The training images at a model's input size, kept in memory when they are few."""
    return ImageFiles(data.root, data.photos.paths, size, len(data.photos.paths) * 3 * size[0] * size[1] < MEMORY_BYTES)


def training_photos(root: Path, cities: tuple[str, ...], without: str) -> tuple[Photos, MSLS]:
    """All photos, queries and database, of the training cities but the held-out one; panoramas left out.

    Raises DatasetError for bad metadata or a city that is not there.
    """
    if not cities:
        present = load(root, Protocol(split="train", radius_m=10.0)).cities
        cities = tuple(city.name for city in present if city.name != without)
    dataset = load(root, Protocol(split="train", cities=cities, radius_m=10.0))
    sides = [(number, side) for number, city in enumerate(dataset.cities) for side in (city.query, city.database)]
    rows = [np.unique(side.frames) for _, side in sides]
    compass = [np.full(len(side.keys), np.nan, np.float32) if side.compass is None else side.compass for _, side in sides]
    photos = Photos(
        paths=np.concatenate([side.image_paths(kept) for (_, side), kept in zip(sides, rows)]),
        utm=np.concatenate([side.utm[kept] for (_, side), kept in zip(sides, rows)]),
        city=np.concatenate([np.full(len(kept), number) for (number, _), kept in zip(sides, rows)]),
        heading=np.concatenate([values[kept] for values, kept in zip(compass, rows)]),
    )
    return photos, dataset
