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

from vpr.base.files import replace_file
from vpr.cache import CacheError, CacheMismatch, DescriptorCache, Keys, create, mend_truncated
from vpr.description.adaptation import split_rows
from vpr.description.cache_filling import DEFAULT_FILL, CacheFillOptions, fill_cache
from vpr.maps.errors import MapError
from vpr.maps.skipped_photos import first_names, problem_of
from vpr.maps.store import DESCRIPTORS, PhotoTable, absolute_path
from vpr.run import Run

log = logging.getLogger("vpr")

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
        return DescriptorCache(path, model.spec)
    except CacheMismatch as error:
        remedy = f"use another map, or remove {folder}"
        raise MapError(f"{path} was made by another model", thing=path, remedy=remedy) from error
    except CacheError as error:
        raise _damaged_cache(path) from error


def _damaged_cache(path: Path) -> MapError:
    remedy = "remove it and add the folders again: their photos are described again"
    return MapError(f"{path} is damaged", thing=path, remedy=remedy)


def describe_photos(
    folder: Path, model: Run, table: PhotoTable, options: CacheFillOptions = DEFAULT_FILL
) -> CompleteCache:
    """Describe the photos of a table that the map's cache lacks; unreadable photos are left out, existing rows stay.

    Raises MapError if the cache is damaged, and if no photo can be read.
    """
    path, lacking, described, unreadable = folder / DESCRIPTORS, table.described_as, 0, dict[str, str]()
    try:
        if path.is_file():
            if mend_truncated(path):
                log.warning("%s was truncated; the missing photos are described again", path)
            cache = open_descriptors(folder, model)
            rows = cache.find(lacking)
            lacking = lacking[(rows < 0) | (cache.done[rows] == 0)]
        files = {name: absolute_path(folder, photo_key(name)) for name in lacking.tolist()}
        unreadable = {name: problem for name, file in files.items() if (problem := _problem_of(file))}
        if wanted := [name for name in files if name not in unreadable]:
            options = replace(options, tolerant=True, file_of=lambda name: absolute_path(folder, photo_key(name)))
            filled = fill_cache(path, model.network, Path(), wanted, model.device, options)
            described, unreadable = filled.images, unreadable | filled.unreadable
        if not path.is_file():
            raise no_readable_photo([problem_of(problem) for problem in unreadable.values()])
        cache = open_descriptors(folder, model)
    except CacheError as error:
        raise _damaged_cache(path) from error
    return CompleteCache(cache, described, {name: problem_of(problem) for name, problem in unreadable.items()})


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
    try:
        file.encode()
    except UnicodeEncodeError:
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
    """Rewrite the cache with only these photos, if it has others. A process that has the old file open keeps it."""
    rows = cache.find(names)
    if len(rows) == len(cache):
        return
    rows = np.sort(rows)
    with replace_file(cache.path) as temporary:
        create(temporary, cache.keys[rows].tolist(), cache.spec)
        target = DescriptorCache(temporary, writable=True)
        for block in split_rows(np.arange(len(rows))):
            target.restart(block, cache.bytes[rows[block]])
            target.write(block, cache.globals_[rows[block]], cache.patches[rows[block]])
