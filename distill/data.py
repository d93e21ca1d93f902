"""The training photos of any layout, with the data held out of training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vpr.base.errors import VprError
from vpr.datasets.default_data import data_root
from vpr.datasets.gsv_cities import LEAST_IMAGES
from vpr.datasets.held_out import CITY, HeldOut, default_city, held_out_cities, hold_out
from vpr.datasets.msls.cities import TRAIN_CITIES
from vpr.datasets.places.photo_set import find_photos
from vpr.datasets.training_layout import training_layout
from vpr.description.image_files import ImageFiles
from vpr.description.images import size_before_crop
from vpr.distill.gsv_data import street_view_photos
from vpr.distill.msls_data import training_photos
from vpr.distill.position_data import NAMES, positioned_photos, require_places
from vpr.distill.sampling.cells import LEAST_PHOTOS, group_by_cells
from vpr.distill.sampling.places import Photos
from vpr.distill.settings import RunOptions
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel

log = logging.getLogger("vpr")

MEMORY_BYTES = 2 << 30  # decoded training images stay in memory up to this size


@dataclass(frozen=True)
class TrainingData:
    """The photos to train on, and the description of them that a run records."""

    root: Path
    photos: Photos
    identity: dict[str, Any]  # cities or classes, held-out data and fingerprint, for config.json
    held_out: HeldOut


def training_data(options: RunOptions) -> TrainingData:
    """Read the training photos of a root, whose layout is found by looking.

    Raises DatasetError for data that are damaged or missing, and VprError if held-out data are trained on, and for
    options that the layout does not have.
    """
    if _is_same(options.validation, options.data):
        options = replace(options, validation=None)
    if options.validation is None and (both := [name for name in options.held_out or () if name in options.cities]):
        raise VprError(
            f"{', '.join(both)} {'is' if len(both) == 1 else 'are'} held out of training",
            thing="--held-out",
            remedy="remove it from --cities, or pass another --held-out",
        )
    layout = "MSLS" if options.data is None else training_layout(options.data)
    if layout == "MSLS":
        return _msls_data(options)
    assert options.data is not None
    return _street_view_data(options, options.data) if layout == "GSV-Cities" else _position_data(options, options.data)


def _is_same(validation: Path | None, data: Path | None) -> bool:
    return validation is not None and data is not None and validation.resolve() == data.resolve()


def _held_out_names(options: RunOptions) -> tuple[str, ...]:
    """The names of ``--held-out`` that are cities of the training set, each once; empty with ``--validation``."""
    return tuple(dict.fromkeys(options.held_out or ())) if options.validation is None else ()


def _held_out(options: RunOptions, own: Callable[[], HeldOut]) -> HeldOut:
    """The held-out data: those of ``--validation``, otherwise ``own`` ones, of the training set."""
    if options.validation is None:
        held_out = own()
    else:
        held_out = hold_out(options.validation, options.held_out, options.crs)
    if not held_out.name:
        log.info(
            "no city is held out: w, the weight of S_struct, keeps its default; --held-out CITY or --validation ROOT "
            "calibrates it"
        )
    return held_out


def _msls_data(options: RunOptions) -> TrainingData:
    """The training cities of an MSLS tree."""
    by_default = options.held_out is None and options.validation is None
    wanted = (CITY,) if by_default else _held_out_names(options)
    root = data_root(options.data, [*options.cities, *wanted], () if options.cities else TRAIN_CITIES)
    names = default_city(root, options.cities) if by_default else wanted
    held_out = _held_out(options, lambda: HeldOut(",".join(names), lambda: held_out_cities(root, names)))
    photos, dataset = training_photos(root, tuple(options.cities), names, options.unknown_headings)
    cities = [city.name for city in dataset.cities]
    log.info("training photos: %d of %s", len(photos.paths), ", ".join(cities))
    identity = {"cities": cities, "held_out": held_out.name, "fingerprint": dataset.fingerprint}
    return _make_places(options, TrainingData(root, photos, identity, held_out))


def _street_view_data(options: RunOptions, root: Path) -> TrainingData:
    """The training cities of GSV-Cities."""
    names = _held_out_names(options)
    held_out = _held_out(options, lambda: hold_out(root, names, separate=False))
    least = options.least_photos or LEAST_IMAGES
    photos, views = street_view_photos(root, tuple(options.cities), names, least)
    log.info("training photos: %d of %s", len(photos.paths), ", ".join(views.cities))
    identity = {
        "layout": "GSV-Cities", "cities": list(views.cities), "least_photos": least, "held_out": held_out.name,
        "fingerprint": views.fingerprint,
    }  # fmt: skip
    return _make_places(options, TrainingData(root, photos, identity, held_out))


def _position_data(options: RunOptions, root: Path) -> TrainingData:
    """The photos of a set with positions."""
    if options.cities:
        raise VprError(f"{root} has no cities to choose from", thing="--cities", remedy="leave --cities out")
    held_out = _held_out(options, lambda: _hold_out_split(root, options))
    photos, found = positioned_photos(root, options.crs, options.unknown_headings)
    log.info("training photos: %d of %s, with positions of %s", len(photos.paths), root, found.sources)
    identity = {"layout": "positions", "held_out": held_out.name, "fingerprint": found.fingerprint}
    has_cells = found.sources == NAMES and not np.isnan(photos.heading).any()
    return _make_places(options, TrainingData(found.root, photos, identity, held_out), has_cells)


def _hold_out_split(root: Path, options: RunOptions) -> HeldOut:
    """A split of the training set. Raises VprError for the one that is trained on."""
    held_out = hold_out(root, options.held_out, options.crs, separate=False)
    if (split := find_photos(root).split) in (options.held_out or ()):
        remedy = "pass another --held-out, or --validation ROOT"
        raise VprError(f"split {split} of {root} is trained on", thing="--held-out", remedy=remedy)
    return held_out


def _make_places(options: RunOptions, data: TrainingData, has_cells: bool = False) -> TrainingData:
    """The photos with the places of ``--place-by``. has_cells: whether cells are what "auto" means.

    Raises VprError for a rule or an option that the photos cannot have.
    """
    photos, rule = data.photos, options.place_by
    if rule == "auto":
        rule = "cells" if has_cells else "distance" if photos.place is None else "identity"
    if rule == "identity" and photos.place is None:
        raise VprError(
            f"{data.root} has no places by identity",
            thing="--place-by",
            remedy="leave --place-by out, or pass distance",
        )
    if rule == "distance" and options.least_photos is not None:
        remedy = "leave it out, or pass --place-by cells"
        raise VprError("--least-photos is for places by identity or cells", thing="--least-photos", remedy=remedy)
    identity = data.identity
    if rule == "distance":
        photos = replace(photos, place=None)
    elif rule == "cells":
        least = options.least_photos or LEAST_PHOTOS
        photos = group_by_cells(photos, least)
        require_places(photos, data.root, least)
        identity = {**identity, "least_photos": least}
        log.info("cells with at least %d photos: %d photos in all", least, len(photos.paths))
    if rule != "distance" or "layout" in identity:  # a run on MSLS has had no such entry before
        identity = {**identity, "place_by": rule}
    if options.unknown_headings != "refuse":
        identity = {**identity, "unknown_headings": options.unknown_headings}
    return replace(data, photos=photos, identity=identity)


def load_images(data: TrainingData, model: StructuralModel | NetVLAD, workers: int = 0) -> ImageFiles:
    """The training images in the form that the model takes.

    They stay in memory up to `MEMORY_BYTES`, but not with worker processes, which would keep a copy each.
    """
    paths = data.photos.paths
    height, width = model.input_size if model.crop == "resize" else size_before_crop(model.input_size)
    keep = workers == 0 and len(paths) * 3 * height * width < MEMORY_BYTES
    return ImageFiles.for_model(data.root, paths, model, keep)
