"""The arrays of gsv-cities, which MixVPR, SALAD and BoQ use too: names of images, and numbers of what is right.

``X_dbImages.npy`` and ``X_qImages.npy`` are paths below a root. ``X_gt.npy`` or ``X_pIdx.npy`` has the right database
numbers of each query. ``X_qIdx.npy``, if it is there, has the numbers of the queries that count, in their order.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.object_arrays import read_array
from vpr.datasets.places.lookup import AMBIGUOUS, PhotoIndex
from vpr.datasets.places.photos import Photos, first_missing, leaves_folder
from vpr.datasets.places.truth import Rows, read_number_rows

DATABASE, QUERIES, CHOSEN = "dbImages.npy", "qImages.npy", "qIdx.npy"
TRUTHS = ("pIdx.npy", "gt.npy")  # the first that is there is read
ARRAYS = (DATABASE, QUERIES, CHOSEN, *TRUTHS)


@dataclass(frozen=True, eq=False)
class ArraySet:
    """The content of the arrays."""

    queries: Photos  # those that count
    database: Photos
    rows: Rows | None  # for each query the numbers of the right database photos; None without such an array
    left_out: int  # queries that do not count
    all_queries: int  # photos, also of those


def array_prefixes(folder: Path) -> list[str]:
    """The beginnings of the paths of arrays in a folder and the folders in it, such as ``folder/msls_val_``."""
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    prefixes = [str(path).removesuffix(DATABASE) for place in folders for path in sorted(place.glob(f"*{DATABASE}"))]
    return [prefix for prefix in prefixes if Path(f"{prefix}{QUERIES}").is_file()]


def prefix_of(truth: Path) -> str | None:
    """The beginning of the path of a truth array whose images are beside it; None if it is no such array."""
    for name in TRUTHS:
        prefix = str(truth).removesuffix(name)
        images = [Path(f"{prefix}{side}") for side in (DATABASE, QUERIES)]
        if prefix != str(truth) and all(path.is_file() for path in images):
            return prefix
    return None


def read_arrays(prefix: str, root: Path, truth: Path | None = None) -> ArraySet:
    """The set of arrays whose names begin with a prefix. root: the folder below which the images lie;
    if they do not, they lie below that of the arrays. truth: the array that the user gave.

    Raises DatasetError for arrays that are missing, damaged or do not fit together, and if an image is missing.
    """
    database, queries = (_photos(Path(f"{prefix}{name}"), root) for name in (DATABASE, QUERIES))
    return _array_set(prefix, queries, database, truth)


def read_arrays_of(prefix: str, queries: Photos, database: Photos, truth: Path) -> ArraySet:
    """As `read_arrays`, of images that are photos of two folders. Photos that no array names are left out.

    Raises DatasetError also for an image that the folders do not have.
    """
    queries = queries.take(_numbers_of(Path(f"{prefix}{QUERIES}"), queries))
    database = database.take(_numbers_of(Path(f"{prefix}{DATABASE}"), database))
    return _array_set(prefix, queries, database, truth)


def _array_set(prefix: str, queries: Photos, database: Photos, truth: Path | None) -> ArraySet:
    """The rows of the truth, and the queries that count."""
    chosen = _chosen(Path(f"{prefix}{CHOSEN}"), len(queries.files))
    rows = None
    if truth is None:
        truth = next((path for path in (Path(f"{prefix}{name}") for name in TRUTHS) if path.is_file()), None)
    if truth is not None:
        rows = read_number_rows(truth, len(database.files))
        if len(rows) == len(chosen):
            pass  # in the order of the queries that count
        elif len(rows) == len(queries.files):
            rows = [rows[query] for query in chosen]
        else:
            counts = f"{len(rows)} rows for {len(chosen)} queries"
            raise DatasetError(f"{truth} has {counts}; give the arrays of one set")
    return ArraySet(
        queries.take(chosen), database, rows, len(queries.files) - len(set(chosen)), len(set(queries.files))
    )


def _numbers_of(path: Path, photos: Photos) -> list[int]:
    """The number of the photo that each element of an array names."""
    index, numbers = PhotoIndex(photos.files, photos.names), list[int]()
    for name in _texts(path):
        number = index.find(name)
        if number is None or number == AMBIGUOUS:
            fault = "is no photo" if number is None else "could be several photos"
            remedy = "pass --data of the folder that holds both sides, or the folders of this set"
            raise DatasetError(f"{path} names {name[:80]}, which {fault} of {photos.place}", thing=path, remedy=remedy)
        numbers.append(number)
    return numbers


def _photos(path: Path, root: Path) -> Photos:
    """The photos that an array names, by paths below a folder or absolute paths.

    Raises DatasetError if it has no names, and for a photo that is missing or not below the folder.
    """
    written = [str(name).replace("\\", "/").removeprefix("./") for name in _texts(path)]
    if not written:
        raise DatasetError(f"{path} names no image; write it again")
    bases = [Path(os.path.abspath(place)).as_posix().rstrip("/") for place in (root, path.parent)]
    bases += [
        base for base in (Path(os.path.realpath(base)).as_posix().rstrip("/") for base in bases) if base not in bases
    ]
    names = [_below(name, bases) for name in written]
    if outside := next((name for name, below in zip(written, names) if leaves_folder(below)), None):
        raise DatasetError(f"{path} names {outside[:80]}, which leaves the folder of the images; correct the array")
    base = next((base for base in bases if os.path.isfile(f"{base}/{names[0]}")), bases[0])
    files = [f"{base}/{name}" for name in names]
    if (missing := first_missing(files)) is not None:
        remedy = "pass --data of the folder that holds it"
        raise DatasetError(f"{path} names {written[missing]}, which is not below {root}; {remedy}")
    return Photos(path, files, names)


def _below(name: str, bases: list[str]) -> str:
    """A name, of an absolute path the part below one of several folders, or else without its first slash, as written
    by code that joins texts."""
    base = next((base for base in bases if name.startswith(f"{base}/")), "")
    return name[len(base) :].lstrip("/")


def _texts(path: Path) -> list[str]:
    """The elements of an array of text, in any shape."""
    values = [value.decode() if isinstance(value, bytes) else value for value in read_array(path).ravel().tolist()]
    if not all(isinstance(value, str) for value in values):
        raise DatasetError(f"{path} is not an array of file names; write it again")
    return values


def _chosen(path: Path, count: int) -> list[int]:
    """The numbers of the queries that count, in their order; all without such an array."""
    if not path.is_file():
        return list(range(count))
    array = read_array(path)
    if array.dtype == bool and array.shape == (count,):
        return [int(number) for number in np.flatnonzero(array)]
    if array.dtype.kind not in "iu" or (array.size and not (array.min() >= 0 and array.max() < count)):
        raise DatasetError(f"{path} is not an array of numbers of the {count} queries; give the arrays of one set")
    return [int(number) for number in array.ravel().tolist()]
