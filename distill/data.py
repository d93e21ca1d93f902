"""The training photos of an MSLS tree."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr.base.errors import VprError
from vpr.datasets.default_data import data_root
from vpr.datasets.errors import DatasetError
from vpr.datasets.msls import MSLS, Protocol, Side, load
from vpr.datasets.msls.cities import TRAIN_CITIES
from vpr.datasets.msls.tree import Location, existing_cities, locate
from vpr.description.image_files import ImageFiles
from vpr.description.images import size_before_crop
from vpr.distill.sampling.headings import courses, known_headings, of_several_cameras
from vpr.distill.sampling.places import Photos
from vpr.distill.settings import RunOptions
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel

log = logging.getLogger("vpr")

HELD_OUT = "amsterdam"  # the default held-out city
MOST_WITHOUT_HEADING = 0.5  # share of a side's photos that may be left out
MEMORY_BYTES = 2 << 30  # decoded training images stay in memory up to this size


@dataclass(frozen=True)
class TrainingData:
    """The photos to train on, and the description of them that a run records."""

    root: Path
    photos: Photos
    held_out: str  # names of the held-out data, joined by commas; empty for none
    identity: dict[str, Any]  # cities or classes, held-out data and fingerprint, for config.json


def training_data(options: RunOptions) -> TrainingData:
    """Read the training cities.

    Raises DatasetError for a damaged or missing city, and VprError if a held-out city is among the training cities.
    """
    if both := [name for name in options.held_out or () if name in options.cities]:
        raise VprError(
            f"{', '.join(both)} {'is' if len(both) == 1 else 'are'} held out of training",
            thing="--held-out",
            remedy="remove it from --cities, or pass another --held-out",
        )
    wanted = (HELD_OUT,) if options.held_out is None else options.held_out
    root = data_root(options.data, [*options.cities, *wanted], () if options.cities else TRAIN_CITIES)
    held_out = _held_out_cities(options, root)
    photos, dataset = training_photos(root, tuple(options.cities), held_out)
    cities = [city.name for city in dataset.cities]
    log.info("training photos: %d of %s", len(photos.paths), ", ".join(cities))
    names = ",".join(held_out)
    identity = {"cities": cities, "held_out": names, "fingerprint": dataset.fingerprint}
    return TrainingData(root, photos, names, identity)


def _held_out_cities(options: RunOptions, root: Path) -> tuple[str, ...]:
    """The held-out cities of the options. If the option is left out: the default city if it exists and is not a
    training city."""
    if options.held_out is not None:
        return tuple(dict.fromkeys(options.held_out))
    if HELD_OUT not in options.cities and Location(HELD_OUT, "train_val") in existing_cities(root):
        return (HELD_OUT,)
    log.info("no city is held out: w, the weight of S_struct, keeps its default; --held-out CITY calibrates it")
    return ()


def load_images(data: TrainingData, model: StructuralModel | NetVLAD, workers: int = 0) -> ImageFiles:
    """The training images in the form that the model takes.

    They stay in memory up to `MEMORY_BYTES`, but not with worker processes, which would keep a copy each.
    """
    paths = data.photos.paths
    height, width = model.input_size if model.crop == "resize" else size_before_crop(model.input_size)
    keep = workers == 0 and len(paths) * 3 * height * width < MEMORY_BYTES
    return ImageFiles.for_model(data.root, paths, model, keep)


def training_photos(root: Path, cities: tuple[str, ...], held_out: tuple[str, ...] = ()) -> tuple[Photos, MSLS]:
    """The photos of the cities, queries and database, without panoramas.

    cities: all training cities but the held-out ones if empty. Their order has no effect. Raises DatasetError for a
    damaged or missing city.
    """
    official = {name: number for number, name in enumerate(TRAIN_CITIES)}
    cities = tuple(sorted(cities, key=lambda name: (official.get(name, len(official)), name)))
    if not cities:
        cities = tuple(place.name for place in locate(root, "train", ()) if place.name not in held_out)
    dataset = load(root, Protocol(split="train", cities=cities))
    parts = [
        _side_photos(side, number) for number, city in enumerate(dataset.cities) for side in (city.query, city.database)
    ]
    return Photos(*(np.concatenate(column) for column in zip(*parts))), dataset


def _side_photos(side: Side, city: int) -> tuple[np.ndarray, ...]:
    """The fields of `Photos`, in order, for the images of one side of a city."""
    if side.utm is None:
        raise DatasetError(
            f"{side.folder}: postprocessed.csv is missing, so positions are unknown",
            thing=side.folder,
            remedy="unpack the metadata again",
        )
    heading, kept = _headings(side)
    rows = side.frames[kept, 0]
    numbers = np.full(len(rows), city)
    return side.image_paths(rows), side.utm[rows], numbers, heading[kept], side.night[kept], side.sideways[kept]


def _headings(side: Side) -> tuple[np.ndarray, np.ndarray]:
    """The headings (N,) of the images of one side, in degrees, NaN if unknown; and the numbers (M,) of those to use.

    Photos without a heading are not used if their drive has several cameras. Raises DatasetError if most are of this
    kind.
    """
    assert side.utm is not None
    rows = side.frames[:, 0]
    utm, compass = side.utm[rows], None if side.compass is None else side.compass[rows]
    heading = known_headings(compass, len(rows))
    unknown = np.isnan(heading)
    if not unknown.any():
        return heading, np.arange(len(rows))
    several = unknown & of_several_cameras(utm, side.drive)
    if several.mean() > MOST_WITHOUT_HEADING:
        raise DatasetError(
            f"{side.folder}: {several.sum()} of {len(rows)} photos stand at one point with others of their drive and "
            "have no heading, so photos of different directions would count as one place",
            thing=side.folder,
            remedy="write their headings into the column ca of raw.csv, degrees from north, or keep one photo a point",
        )
    views = None if side.view_direction is None else side.view_direction[rows]
    course = courses(utm, side.drive, views)
    told = unknown & ~several & ~np.isnan(course)
    left_out = f"; {several.sum()} of several cameras at one point are left out" if several.any() else ""
    log.info(
        "%s: %d of %d photos have no heading (ca in raw.csv), and %d of these take the course of their drive%s",
        side.folder, unknown.sum(), len(rows), told.sum(), left_out,
    )  # fmt: skip
    return np.where(told, course, heading), np.flatnonzero(~several)
