"""The training photos of an MSLS tree."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.held_out import cities_left
from vpr.datasets.msls import MSLS, Protocol, Side, load
from vpr.datasets.msls.cities import TRAIN_CITIES
from vpr.datasets.msls.tree import locate
from vpr.distill.sampling.headings import ambiguous_views, courses, known_headings
from vpr.distill.sampling.places import Photos
from vpr.distill.settings import UnknownHeadings

log = logging.getLogger("vpr")


def training_photos(
    root: Path, cities: tuple[str, ...], held_out: tuple[str, ...] = (), rule: UnknownHeadings = "refuse"
) -> tuple[Photos, MSLS]:
    """The photos of the cities, queries and database, without panoramas.

    cities: all training cities but the held-out ones if empty. Their order has no effect. rule: for photos of several
    cameras at one point without headings. Raises DatasetError for a
    damaged or missing city, and if all are held out.
    """
    official = {name: number for number, name in enumerate(TRAIN_CITIES)}
    cities = tuple(sorted(cities, key=lambda name: (official.get(name, len(official)), name)))
    if not cities:
        cities = cities_left(root, [place.name for place in locate(root, "train", ())], held_out)
    dataset = load(root, Protocol(split="train", cities=cities))
    parts = [
        _side_photos(side, number, rule)
        for number, city in enumerate(dataset.cities)
        for side in (city.query, city.database)
    ]
    return Photos(*(np.concatenate(column) for column in zip(*parts))), dataset


def _side_photos(side: Side, city: int, rule: UnknownHeadings) -> tuple[np.ndarray, ...]:
    """The fields of `Photos`, in order, for the images of one side of a city."""
    if side.utm is None:
        raise DatasetError(
            f"{side.folder}: postprocessed.csv is missing, so positions are unknown",
            thing=side.folder,
            remedy="unpack the metadata again",
        )
    heading, kept = _headings(side, rule)
    rows = side.frames[kept, 0]
    numbers = np.full(len(rows), city)
    return side.image_paths(rows), side.utm[rows], numbers, heading[kept], side.night[kept], side.sideways[kept]


def _headings(side: Side, rule: UnknownHeadings) -> tuple[np.ndarray, np.ndarray]:
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
    remedy = "write their headings into the column ca of raw.csv, degrees from north"
    several = ambiguous_views(heading, utm, side.drive, rule, side.folder, remedy)
    views = None if side.view_direction is None else side.view_direction[rows]
    course = courses(utm, side.drive, views)
    told = unknown & ~several & ~np.isnan(course)
    left_out = f"; {several.sum()} of several cameras at one point are left out" if several.any() else ""
    log.info(
        "%s: %d of %d photos have no heading (ca in raw.csv), and %d of these take the course of their drive%s",
        side.folder, unknown.sum(), len(rows), told.sum(), left_out,
    )  # fmt: skip
    return np.where(told, course, heading), np.flatnonzero(~several)
