"""The training photos of GSV-Cities, whose places are known by identity."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from vpr.datasets.gsv_cities import StreetViews, city_names, load
from vpr.datasets.held_out import cities_left
from vpr.distill.sampling.places import Photos

log = logging.getLogger("vpr")


def street_view_photos(
    root: Path, cities: tuple[str, ...], held_out: tuple[str, ...], least: int
) -> tuple[Photos, StreetViews]:
    """The images of places with at least ``least`` of them. cities: all but the held-out ones if empty.

    Raises DatasetError as `vpr.datasets.gsv_cities.load` does, and if all cities are held out.
    """
    views = load(root, cities or cities_left(root, city_names(root), held_out), least)
    log.info(
        "%d places of %d cities; %d images are left out, because their place has fewer than %d",
        int(views.place.max()) + 1, len(views.cities), views.left_out, least,
    )  # fmt: skip
    never = np.zeros(len(views.paths), bool)
    return Photos(views.paths, views.utm(), views.city, views.heading, never, never, views.place), views
