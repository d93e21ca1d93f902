"""A set of places: from folders, arrays and lists to the retrieval set that other packages use."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.places.coordinates import CommonPlane, common_plane
from vpr.datasets.places.known_counts import count_remark
from vpr.datasets.places.layout import Places
from vpr.datasets.places.own_entries import own_entries, without_own
from vpr.datasets.places.photos import PlacedPhotos
from vpr.datasets.places.positives import photos_within
from vpr.datasets.places.reading import Labelled, read_labelled
from vpr.datasets.places.rules import Layout, PlaceRules
from vpr.datasets.ragged import Ragged
from vpr.datasets.retrieval_set import Entries, RetrievalSet

DEFAULT_RULES = PlaceRules()
BY_POSITION: tuple[Layout, ...] = ("names", "list", "EXIF")


@dataclass(frozen=True, eq=False)
class PlaceSet:
    """A loaded set, immutable."""

    places: Places
    layout: Layout
    rule: str  # which database photos are right, in words
    radius_m: float | None  # None if no distance decides
    retrieval_set: RetrievalSet
    queries: PlacedPhotos  # of the entries, in their order, with their headings
    database: PlacedPhotos
    notes: tuple[str, ...]  # what is left out, and what is odd

    @property
    def root(self) -> Path:
        """The folder of the image files."""
        return self.retrieval_set.root

    @property
    def fingerprint(self) -> str:
        """A digest that changes with the content: 64 hexadecimal digits."""
        return self.retrieval_set.fingerprint


def load(places: Places, rules: PlaceRules = DEFAULT_RULES) -> PlaceSet:
    """Read a set. No image is read, but their EXIF if nothing else has positions.

    Raises DatasetError, one line with the remedy, for files that are missing or damaged, and MapError for a list or a
    reference system that cannot be read.
    """
    labelled = read_labelled(places, rules)
    if not labelled.queries.photos.files:
        raise DatasetError(f"{places.queries or places.root}: no query is left; check what the truth names")
    own = own_entries(labelled.queries.photos.files, labelled.database.photos.files)
    plane = _plane(labelled)
    positives = _positives(labelled, plane, rules.radius_m)
    if positives is not None and own is not None:
        positives, own = without_own(positives, own, by_position=labelled.layout in BY_POSITION)
    root, sides = _keys(labelled)
    entries = [
        Entries(_texts(keys)[:, None], _texts(side.photos.names), np.array([0, len(keys)]))
        for keys, side in zip(sides, (labelled.queries, labelled.database))
    ]
    data = RetrievalSet(
        root,
        entries[0],
        entries[1],
        positives,
        _fingerprint(sides, positives),
        None if plane is None else plane.database,
        None if plane is None else plane.queries,
        own=own,
        unanswered=rules.unanswered_of(labelled.layout),
    )
    notes = [*labelled.notes, *_remarks(places, labelled)]
    radius_m = rules.radius_m if labelled.layout in BY_POSITION else None
    rule = _rule(labelled, plane, rules.radius_m)
    return PlaceSet(places, labelled.layout, rule, radius_m, data, labelled.queries, labelled.database, tuple(notes))


def _texts(values: list[str]) -> np.ndarray:
    """(N,) of text as objects: an array of fixed width takes 4 bytes for each letter of the longest name."""
    result = np.empty(len(values), object)
    result[:] = values
    return result


def _plane(labelled: Labelled) -> CommonPlane | None:
    """The positions of both sides, comparable; None if any is unknown.

    Raises DatasetError if positions decide what is right and cannot be compared.
    """
    sides = labelled.queries.coordinates, labelled.database.coordinates
    if not all(side.known.all() for side in sides):
        return None
    plane = common_plane(*sides)
    if plane is None and labelled.layout in BY_POSITION:
        raise DatasetError(
            "some names have metres without a zone, beside names of several zones, or degrees; pass --crs EPSG:... for "
            "these metres, or positions of one kind as --truth"
        )
    return plane


def _positives(labelled: Labelled, plane: CommonPlane | None, radius_m: float) -> Ragged | None:
    if labelled.rows is not None:
        return Ragged.from_rows(labelled.rows)
    return None if labelled.layout == "no labels" or plane is None else photos_within(plane, radius_m)


def _keys(labelled: Labelled) -> tuple[Path, list[list[str]]]:
    """The folder above all photos, and the paths of both sides below it."""
    sides = [side.photos.files for side in (labelled.queries, labelled.database)]
    root = os.path.commonpath({file.rpartition("/")[0] or "/" for files in sides for file in files})
    start = len(root.rstrip("/")) + 1
    return Path(root), [[file[start:] for file in files] for files in sides]


def _fingerprint(sides: list[list[str]], positives: Ragged | None) -> str:
    """A digest of the files and of what is right."""
    digest = hashlib.sha256()
    for keys in sides:
        digest.update("\n".join([*keys, ""]).encode())
        digest.update(b"\0")
    if positives is not None:
        digest.update(positives.offsets.tobytes() + positives.values.tobytes())
    return digest.hexdigest()


def _remarks(places: Places, labelled: Labelled) -> list[str]:
    """Remarks on the numbers of photos of well-known sets."""
    paths = [path for path in (places.database, places.root, places.truth) if path is not None]
    given = (*(Path(os.path.abspath(path)) for path in paths), Path(places.arrays or "."))
    remark = count_remark(given, len(labelled.database.photos.files), len(labelled.queries.photos.files))
    return [] if remark is None else [remark]


def _rule(labelled: Labelled, plane: CommonPlane | None, radius_m: float) -> str:
    """Which database photos are right, in words."""
    if labelled.layout == "no labels":
        return "no labels"
    if labelled.layout == "arrays":
        return "right is what the arrays name"
    if labelled.layout == "VPR-Bench":
        return "right is what the truth of VPR-Bench names"
    if labelled.layout == "pairs":
        return "right is what the pairs name"
    sources = {"names": "file names", "list": "lists", "EXIF": "EXIF"}
    used = " and ".join(dict.fromkeys(sources[side.source] for side in (labelled.queries, labelled.database)))
    if plane is None or plane.is_flat:
        return f"right is what lies within {radius_m:g} m, by the metres in {used}"
    zones = ", across zones" if labelled.layout == "names" else ""
    return f"right is what lies within {radius_m:g} m, by the positions in {used}{zones}"
