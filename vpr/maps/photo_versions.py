"""The descriptors of a map's photos: computed, kept for each version of a file, and removed when no photo needs them.

A version of a photo has the name ``KEY?BYTES-MTIME_NS``: its key in the map, size and modification time of its file. So
a photo that changed gets a new row, and its old row stays until no map needs it.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vpr.base.files import is_utf8
from vpr.cache import CacheError, CacheMismatch, DescriptorCache, Keys, PatchType, keep_rows, mend_truncated
from vpr.description.adaptation import MOST_IMAGES, open_any_type, space_evenly, spec_of_type
from vpr.description.cache_filling import DEFAULT_FILL, CacheFillOptions, fill_cache, sample_path
from vpr.description.coding import create_coded
from vpr.maps.skipped_photos import first_names, problem_of
from vpr.maps.store import DESCRIPTORS, PhotoTable, absolute_path
from vpr.patch_codes import CODE_BYTES
from vpr.positions.errors import MapError
from vpr.run import Run

log = logging.getLogger("vpr")

CODED: PatchType = "pq28"  # of the patches of maps with at least `CODED_FROM` photos
CODED_FROM = 100_000
CODED_DESCRIPTORS = "descriptors-coded.h5"  # of a map whose patches are being converted
SAMPLE_DESCRIPTORS = sample_path(Path(DESCRIPTORS)).name
VERSION = re.compile(r"\?\d+--?\d+\Z")
WASTE = 0.25  # old versions per photo of the map, above which the file is rewritten


class FileStamp(NamedTuple):
    """The version of a photo's file."""

    bytes: int
    mtime_ns: int  # modification time


@dataclass(frozen=True)
class CompleteCache:
    """A cache with all readable photos of a map."""

    cache: DescriptorCache
    described: int  # photos that were described by this call
    unreadable: dict[str, str]  # the problem of each missing photo, by the name of its version


def read_stamp(path: str) -> FileStamp | None:
    """The stamp of a photo's file; None if the file does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FileStamp(status.st_size, status.st_mtime_ns)


def version_name(key: str, stamp: FileStamp) -> str:
    """The name of a version of a photo.

    >>> version_name("/a.jpg", FileStamp(10, 20)), photo_key("/a.jpg?10-20"), photo_key("/a.jpg")
    ('/a.jpg?10-20', '/a.jpg', '/a.jpg')
    """
    return f"{key}?{stamp.bytes}-{stamp.mtime_ns}"


def photo_key(name: str) -> str:
    """The key of a photo, by the name of one of its versions."""
    return VERSION.sub("", name)


def open_descriptors(folder: Path, model: Run) -> DescriptorCache:
    """The descriptor cache of a map; raises MapError if it is missing, damaged or of another model."""
    path = folder / DESCRIPTORS
    try:
        return open_any_type(path, model.spec)
    except CacheMismatch as error:
        remedy = f"use another map, or remove {folder}"
        raise MapError(f"{path} was made by another model", thing=path, remedy=remedy) from error
    except CacheError as error:
        raise _damaged_cache(path) from error


def _damaged_cache(path: Path) -> MapError:
    remedy = "remove it and add the folders again: their photos are described again"
    return MapError(f"{path} is damaged", thing=path, remedy=remedy)


def describe_photos(
    folder: Path,
    model: Run,
    table: PhotoTable,
    options: CacheFillOptions = DEFAULT_FILL,
    patches: PatchType | None = None,
) -> CompleteCache:
    """Describe the photos of a table that the map's cache lacks; unreadable photos are left out, existing rows stay.

    patches: the type of patch descriptors; None: that of the map, or `CODED` from `CODED_FROM` photos on. If the type
    changes, the result is another file, which `replace_descriptors` moves to its place. Raises MapError if the cache is
    damaged, has patches that cannot become ``patches``, and if no photo can be read; CodingError if there are too few
    photos for codes.
    """
    path, lacking, described, unreadable = folder / DESCRIPTORS, table.described_as, 0, dict[str, str]()
    options = replace(options, dtype=patches or _default_type(len(table)))
    try:
        if path.is_file():
            if mend_truncated(path):
                log.warning("%s was truncated; the missing photos are described again", path)
            cache = open_descriptors(folder, model)
            if _is_converted(cache, patches, len(table)):
                cache, described = _convert(folder, model, table, options)
                path = cache.path
            options = replace(options, dtype=cache.spec.dtype)
            rows = cache.find(lacking)
            lacking = lacking[(rows < 0) | (cache.done[rows] == 0)]
        files = {name: absolute_path(folder, photo_key(name)) for name in lacking.tolist()}
        unreadable = {name: problem for name, file in files.items() if (problem := _problem_of(file))}
        if wanted := [name for name in files if name not in unreadable]:
            options = replace(options, tolerant=True, file_of=lambda name: absolute_path(folder, photo_key(name)))
            filled = fill_cache(path, model.network, Path(), wanted, model.device, options)
            described, unreadable = described + filled.images, unreadable | filled.unreadable
        if not path.is_file():
            raise no_readable_photo([problem_of(problem) for problem in unreadable.values()])
        cache = open_any_type(path, model.spec)
    except CacheError as error:
        raise _damaged_cache(path) from error
    return CompleteCache(cache, described, {name: problem_of(problem) for name, problem in unreadable.items()})


def _default_type(photos: int) -> PatchType:
    """The type of patch descriptors of a map with this many photos."""
    return CODED if photos >= CODED_FROM else "float16"


def _is_converted(cache: DescriptorCache, patches: PatchType | None, photos: int) -> bool:
    """Whether the patches of a map get another type; raises MapError if they cannot."""
    own = cache.spec.dtype
    wanted = patches or (_default_type(photos) if own == "float16" else own)
    if wanted == own:
        return False
    if wanted not in CODE_BYTES or cache.spec.is_coded:
        raise MapError(f"{cache.path.parent} has {own} patches, which cannot become {wanted}; make a new map")
    return True


def _convert(folder: Path, model: Run, table: PhotoTable, options: CacheFillOptions) -> tuple[DescriptorCache, int]:
    """A product-quantised copy of the map's cache, fitted to the photos of a table; one that is there is continued.

    A sample of the photos is described first. Also returns the number of photos that were described.
    """
    names = np.sort(table.described_as)
    options = replace(options, tolerant=True, file_of=lambda name: absolute_path(folder, photo_key(name)))
    path, spec = folder / CODED_DESCRIPTORS, spec_of_type(model.spec, options.dtype, model.config.head == "whitening")
    plain = open_descriptors(folder, model)
    try:
        cache = DescriptorCache(path, spec)
        rows = cache.find(plain.keys[plain.done > 0])
        if (rows >= 0).all() and cache.done[rows].all():
            return cache, 0
    except CacheError:  # it is missing, or of another type
        pass
    sample = space_evenly(names, MOST_IMAGES).tolist()
    exact = replace(options, dtype=plain.spec.dtype)
    known = plain.find(sample)
    # those that are described stay as they are, also if their files have changed since
    lacking = [name for name, row in zip(sample, known) if row < 0 or not plain.done[row]]
    lacking = [name for name in lacking if not _problem_of(absolute_path(folder, photo_key(name)))]
    described = 0
    if lacking:
        filled = fill_cache(folder / DESCRIPTORS, model.network, Path(), lacking, model.device, exact)
        plain, described = filled.cache, filled.images
    create_coded(path, [], spec, plain)
    return DescriptorCache(path, spec), described


def replace_descriptors(folder: Path, cache: DescriptorCache, model: Run) -> DescriptorCache:
    """Move a converted cache to its place in the map, once map.json refers to its descriptors."""
    if cache.path.name == DESCRIPTORS:
        return cache
    os.replace(cache.path, folder / DESCRIPTORS)
    return open_descriptors(folder, model)


def no_readable_photo(reasons: Sequence[str]) -> MapError:
    """The error if no photo remains for the map."""
    return MapError(
        f"none of {len(reasons)} photos can be read: {first_names(reasons)}", remedy="restore them, or add others"
    )


def require_described(cache: DescriptorCache, names: Keys) -> None:
    """Raise MapError unless the cache has finite descriptors of all these photos."""
    try:
        cache.rows(names)
    except CacheError as error:
        raise _damaged_cache(cache.path) from error


def _problem_of(file: str) -> str:
    """The problem of a file that can be found without opening it; empty if there is none."""
    if not is_utf8(file):
        return f"the name of {file!a} is not valid UTF-8"
    return "" if os.path.isfile(file) else f"{file} is missing"


def drop_old_versions(folder: Path, cache: DescriptorCache, table: PhotoTable) -> None:
    """Rewrite the cache without old versions of a map's photos, if there are many.

    Photos that are not in the table stay, because a map that lost its map.json is rebuilt folder by folder.
    """
    done, most = np.asarray(cache.done) > 0, WASTE * len(table)
    if np.count_nonzero(done) - len(table) <= most:
        return
    keys, names = set(table.keys), set(table.described_as)
    old = np.array([name not in names and absolute_path(folder, photo_key(name)) in keys for name in cache.keys], bool)
    if np.count_nonzero(old & done) > most:
        keep_only(cache, cache.keys[done & ~old])


def keep_only(cache: DescriptorCache, names: Keys) -> None:
    """Rewrite the cache with only these photos, if it has others."""
    rows = cache.find(names)
    if len(rows) != len(cache):
        keep_rows(cache, np.sort(rows))
