"""GSV-Cities and GSV-Cities-light: places by identity, in ``Dataframes/City.csv`` and ``Images/City/``.

A place looks in one direction. Its images are of different years. The name of an image is made of its row:

    Images/City/City_{place_id modulo 100,000}_{year}_{month}_{northdeg}_{lat}_{lon}_{panoid}.JPG

Source: Ali-bey, Chaib-draa and Giguère, "GSV-Cities: Toward Appropriate Supervised Visual Place Recognition",
Neurocomputing 2022, and its code.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.base.photo_files import is_hidden
from vpr.datasets.errors import DatasetError, file_error, row_error
from vpr.datasets.msls.csv_table import Table, parse, read_bytes
from vpr.datasets.places.coordinates import region_planes
from vpr.datasets.ragged import Ragged, offsets_of
from vpr.datasets.retrieval_set import Entries, RetrievalSet

log = logging.getLogger("vpr")

TABLES, IMAGES = "Dataframes", "Images"  # folders
NAME_MODULUS = 100_000  # of place_id, in the name of an image
ENDINGS = (".JPG", ".jpg")  # of the published archive, and of its loader
LEAST_IMAGES = 4  # of a place, in the published trainings
HELD_OUT_PLACES = 2_000  # most places of a retrieval set
UNPACK = "unpack the archive of GSV-Cities again, or repair this file"


@dataclass(frozen=True, eq=False)
class StreetViews:
    """The N images of some cities."""

    root: Path
    cities: tuple[str, ...]
    paths: np.ndarray  # (N,) str as objects, relative to the root
    city: np.ndarray  # (N,) int, number in ``cities``
    place: np.ndarray  # (N,) int64, the number of its place, different in different cities
    degrees: np.ndarray  # (N, 2) latitude and longitude
    heading: np.ndarray  # (N,) float32 degrees clockwise from north: northdeg
    month: np.ndarray  # (N,) int64, months since the year 0
    fingerprint: str  # SHA-256 of the tables
    left_out: int  # images of places with too few of them

    def utm(self) -> np.ndarray:
        """(N, 2) metres; regions that are far apart have planes of their own."""
        return region_planes(self.degrees)


def is_gsv_cities(root: Path) -> bool:
    """Whether a folder has the tables of GSV-Cities."""
    return (root / TABLES).is_dir()


def city_names(root: Path) -> tuple[str, ...]:
    """The cities that have a table, by name; raises DatasetError if there is none, and without the images."""
    tables = (path for path in (root / TABLES).iterdir() if path.suffix == ".csv" and not is_hidden(path.name))
    names = tuple(sorted(path.stem for path in tables))
    if not names:
        raise file_error(root / TABLES, "there is no table of a city", UNPACK)
    if not (root / IMAGES).is_dir():
        raise file_error(root / IMAGES, "the folder is missing", "unpack the images of GSV-Cities here")
    return names


def load(root: Path, cities: Sequence[str] = (), least_images: int = LEAST_IMAGES) -> StreetViews:
    """The images of the cities, of places with at least ``least_images``. No image is opened.

    cities: all that have a table if empty. Images that the tables name more than once count once; if it is for several
    places, they are left out.

    Raises DatasetError, one line with the remedy, for an unknown city, a table that is damaged or empty, and if no
    place has enough images.
    """
    known = city_names(root)
    if unknown := next((name for name in cities if name not in known), None):
        raise DatasetError(f"{root} has no city '{unknown}'; it holds {', '.join(known)}")
    chosen, digest, parts = tuple(sorted(set(cities))) or known, hashlib.sha256(), []
    for name in chosen:
        path = root / TABLES / f"{name}.csv"
        content = read_bytes(path)
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        parts.append(_read_city(root, parse(path, content)))
    paths, ids, degrees, heading, month = (np.concatenate(columns) for columns in zip(*parts))
    city = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    place = _number_places(city, ids)
    kept = _unrepeated(paths, place)
    images = np.bincount(place[kept], minlength=int(place.max()) + 1)
    enough = kept[images[place[kept]] >= least_images]
    if not len(enough):
        raise DatasetError(
            f"{root}: no place of {', '.join(chosen)} has {least_images} images", thing=root,
            remedy="pass a smaller --least-photos, or another city",
        )  # fmt: skip
    place = np.unique(place[enough], return_inverse=True)[1].reshape(-1)
    return StreetViews(
        root, chosen, paths[enough], city[enough], place, degrees[enough], heading[enough], month[enough],
        digest.hexdigest(), len(kept) - len(enough),
    )  # fmt: skip


def _read_city(root: Path, table: Table) -> tuple[np.ndarray, ...]:
    """Paths, place ids, degrees, headings and months of the rows of a table. Raises DatasetError for a bad row."""
    if not len(table):
        raise file_error(table.path, "the city has no image", UNPACK)
    place, year, month, north = (table.integers(name) for name in ("place_id", "year", "month", "northdeg"))
    degrees = np.column_stack([table.floats("lat"), table.floats("lon")])
    with np.errstate(invalid="ignore"):
        outside = ~(np.abs(degrees) <= (90, 180)).all(1)
    _refuse(table, outside, "lat and lon are not degrees on Earth")
    _refuse(table, place < 0, "place_id is negative")
    numbers = (column.tolist() for column in (place % NAME_MODULUS, year, month, north))
    rows = zip(_names(table, "city_id"), *numbers, *map(_texts, degrees.T), _names(table, "panoid"))
    stem = IMAGES + "/{0}/{0}_{1:07d}_{2:04d}_{3:02d}_{4:03d}_{5}_{6}_{7}"
    stems = [stem.format(*row) for row in rows]
    ending = next((one for one in ENDINGS if (root / f"{stems[0]}{one}").is_file()), ENDINGS[0])
    paths = np.empty(len(stems), object)  # text of fixed width would take 4 bytes for each letter of the longest
    paths[:] = [f"{name}{ending}" for name in stems]
    return paths, place, degrees, (north % 360).astype(np.float32), 12 * year + month


def _texts(numbers: np.ndarray) -> list[str]:
    """Degrees (N,) as in names: the shortest text that is the same number."""
    return [repr(number) for number in numbers.tolist()]


def _names(table: Table, column: str) -> list[str]:
    """A column of parts of file names. Raises DatasetError for an empty one, and for one that is a path."""
    fields = table.required_text(column)
    letters = fields.view(np.uint8).reshape(len(fields), -1)
    is_path = ((letters == ord("/")) | (letters == ord("\\"))).any(1) | (letters[:, 0] == ord("."))
    _refuse(table, is_path, f"{column} is not a part of a file name")
    return [text.decode() for text in fields.tolist()]


def _refuse(table: Table, faulty: np.ndarray, fault: str) -> None:
    """Raise DatasetError for the first row of a mask (rows,), if any."""
    if faulty.any():
        raise row_error(table.path, int(np.argmax(faulty)), fault, UNPACK)


def _number_places(city: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The number of each image's place (N,), from 0, by city and then by its id there."""
    order = np.lexsort((ids, city))
    fresh = (np.diff(city[order]) != 0) | (np.diff(ids[order]) != 0)
    numbers = np.empty(len(ids), np.int64)
    numbers[order] = np.concatenate([[0], np.cumsum(fresh)])
    return numbers


def _unrepeated(paths: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The numbers of the images to use: each file once, and none that belongs to several places."""
    if len(set(paths.tolist())) == len(paths):
        return np.arange(len(paths))
    names, first, file = np.unique(paths.astype(str), return_index=True, return_inverse=True)
    file = file.reshape(-1)
    several = np.zeros(len(names), bool)
    several[file[place != place[first][file]]] = True
    log.warning(
        "%d rows name an image that another row names too; %d images belong to several places and are left out",
        len(paths) - len(names), several.sum(),
    )  # fmt: skip
    kept: np.ndarray = np.sort(first[~several])
    return kept


def retrieval_set(root: Path, city: str) -> RetrievalSet:
    """A city to evaluate on: the newest image of each place is a query, and the others are the database.

    Right is what shows the same place. Of more than `HELD_OUT_PLACES` places these many are taken, evenly spaced.
    Errors as `load`.
    """
    views = load(root, [city], least_images=2)
    count = int(views.place.max()) + 1
    chosen = np.unique(np.linspace(0, count - 1, min(count, HELD_OUT_PLACES)).astype(int))
    if len(chosen) < count:
        log.info("%s: %d of its %d places are held out", city, len(chosen), count)
    rows = np.flatnonzero(np.isin(views.place, chosen))
    rows = rows[np.lexsort((views.paths[rows].astype(str), -views.month[rows], views.place[rows]))]
    newest = np.append(True, np.diff(views.place[rows]) != 0)
    queries, database = rows[newest], rows[~newest]
    positives = Ragged(
        offsets_of(np.bincount(np.searchsorted(chosen, views.place[database]), minlength=len(chosen))),
        np.arange(len(database), dtype=np.int32),
    )
    utm = views.utm()
    asked, searched = (
        Entries(views.paths[side][:, None], views.paths[side], np.array([0, len(side)])) for side in (queries, database)
    )
    return RetrievalSet(root, asked, searched, positives, views.fingerprint, utm[database], utm[queries])
