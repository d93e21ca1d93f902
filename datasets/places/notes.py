"""Notes on the photos of a set that are missing or left out: lines for the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr.base.progress import counted
from vpr.datasets.places.photos import PlacedPhotos


def missing_notes(place: Path, count: int) -> list[str]:
    """The note on listed photos of a folder or list that do not exist; none for 0."""
    return [f"of {place} {counted(count, 'photo')} {_are(count)} missing"] if count else []


def unnamed_notes(count: int, noun: str, file: str, where: str = "") -> list[str]:
    """The note on photos that a file or the arrays do not name; none for 0. noun, where: as in `with_positions`."""
    return [f"{counted(count, noun)}{where} {_are(count)} not in {file} and left out"] if count > 0 else []


def unknown_notes(path: Path, names: Sequence[str]) -> list[str]:
    """The note on names of a list that are no photo of the set; none without names."""
    found = f"{path.name} names {counted(len(names), 'photo')} that the set does not have"
    return [f"{found}: {_first(names)}"] if names else []


def with_positions(side: PlacedPhotos, noun: str, notes: list[str], where: str = "") -> PlacedPhotos:
    """The photos whose position is known; a note on the others is added to ``notes``.

    noun: what the photos are, as "query". where: words after it.
    """
    known = side.coordinates.known
    if known.all():
        return side
    names = [side.photos.names[number] for number in np.flatnonzero(~known)]
    have, are = ("has", "is") if len(names) == 1 else ("have", "are")
    all_photos = counted(len(known), noun) + where
    notes.append(f"{len(names):,} of {all_photos} {have} no position and {are} left out: {_first(names)}")
    return side.take(np.flatnonzero(known))


def _first(names: Sequence[str]) -> str:
    """The first of some names, and dots if there are more."""
    return f"{names[0]}{', ...' if len(names) > 1 else ''}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
