"""The training photos of a set with positions: names between @, lists, EXIF."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.datasets.places.photo_set import PhotoSet, load_photos
from vpr.distill.sampling.headings import ambiguous_views, known_headings
from vpr.distill.sampling.places import Photos
from vpr.distill.settings import UnknownHeadings
from vpr.positions.geodesy import require_crs

log = logging.getLogger("vpr")

NAMES = "names"  # positions of file names, in `PhotoSet.sources`


def positioned_photos(root: Path, crs: str, rule: UnknownHeadings) -> tuple[Photos, PhotoSet]:
    """The photos of a set, of both sides together. rule: for photos of several cameras at one point without headings.

    Raises DatasetError as `load_photos` does, and if most photos are left out for their missing heading; MapError for
    an unknown reference system.
    """
    if crs:
        require_crs(crs)
    found = load_photos(root, crs)
    for note in found.notes:
        log.warning("%s", note)
    count = len(found.paths)
    heading, never = known_headings(found.heading, count), np.zeros(count, bool)
    photos = Photos(found.paths, found.metres, np.zeros(count, int), heading, never, never)
    unknown = np.isnan(heading)
    if not unknown.any():
        return photos, found
    remedy = "write their headings into the names, a column heading, or EXIF, degrees from north"
    several = ambiguous_views(heading, found.metres, found.folders(), rule, str(root), remedy)
    log.warning(
        "%s: %d of %d photos have no heading%s; the others of them are positives of all photos within 10 m, whichever "
        "way these look",
        root, unknown.sum(), count, f", and {several.sum()} of these are left out" if several.any() else "",
    )  # fmt: skip
    return photos.take(np.flatnonzero(~several)), found


def require_places(photos: Photos, root: Path, least: int) -> None:
    """Raise VprError if no cell has enough photos."""
    if not len(photos.paths):
        raise VprError(
            f"{root}: no cell of 10 m and 30 degrees has {least} photos with a heading",
            thing=root,
            remedy="pass a smaller --least-photos, or --place-by distance",
        )
