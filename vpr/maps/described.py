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

from vpr.base.files import replacing
from vpr.cache import CacheError, CacheMismatch, DescriptorCache, Keys, create, mend_truncated
from vpr.description.adaptation import blocks
from vpr.description.into_cache import USUAL, Filling, describe_into_cache
from vpr.maps.errors import MapError
from vpr.maps.left_out import listed, reason
from vpr.maps.store import DESCRIPTORS, PhotoTable, path_of
from vpr.run import Run

log = logging.getLogger("vpr")

VERSION = re.compile(r"\?\d+--?\d+\Z")
WASTE = 0.25  # old versions per photo of the map, above which the file is rewritten


class Stamp(NamedTuple):
    """The version of a photo's file."""

    bytes: int
    mtime_ns: int  # modification time


@dataclass(frozen=True)
class CompleteCache:
    """A cache with all readable photos of a map."""

    cache: DescriptorCache
    described: int  # photos that were described now
    unreadable: dict[str, str]  # the problem of each missing photo, by its version name


def stamp_of(path: str) -> Stamp | None:
    """The stamp of a photo's file; None if the file does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


def name_of(key: str, stamp: Stamp) -> str:
    """The name of a version of a photo.

    >>> name_of("/a.jpg", Stamp(10, 20)), key_of("/a.jpg?10-20"), key_of("/a.jpg")
    ('/a.jpg?10-20', '/a.jpg', '/a.jpg')
    """
    return f"{key}?{stamp.bytes}-{stamp.mtime_ns}"


def key_of(name: str) -> str:
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
        raise _unreadable(path) from error


def _unreadable(path: Path) -> MapError:
    remedy = "remove it and add the folders again: their photos are described again"
    return MapError(f"{path} is damaged", thing=path, remedy=remedy)


def describe_missing(folder: Path, model: Run, table: PhotoTable, how: Filling = USUAL) -> CompleteCache:
    """Describe the photos of a table that the map's cache lacks; unreadable photos are left out, existing rows stay.

    Raises MapError if the cache is damaged, and if no photo can be read.
    """
    path, lacking, described, unreadable = folder / DESCRIPTORS, table.described_as, 0, dict[str, str]()
    try:
        if path.is_file():
            if mend_truncated(path):
                log.warning("%s was cut short; the missing photos are described again", path)
            cache = open_descriptors(folder, model)
            rows = cache.find(lacking)
            lacking = lacking[(rows < 0) | (cache.done[rows] == 0)]
        files = {name: path_of(folder, key_of(name)) for name in lacking.tolist()}
        unreadable = {name: why for name, file in files.items() if (why := _problem_of(file))}
        if wanted := [name for name in files if name not in unreadable]:
            how = replace(how, tolerant=True, file_of=lambda name: path_of(folder, key_of(name)))
            filled = describe_into_cache(path, model.network, Path(), wanted, model.device, how)
            described, unreadable = filled.images, unreadable | filled.unreadable
        if not path.is_file():
            raise none_readable([reason(why) for why in unreadable.values()])
        cache = open_descriptors(folder, model)
    except CacheError as error:
        raise _unreadable(path) from error
    return CompleteCache(cache, described, {name: reason(why) for name, why in unreadable.items()})


def none_readable(reasons: Sequence[str]) -> MapError:
    """The error if no photo remains for the map."""
    return MapError(
        f"none of {len(reasons)} photos can be read: {listed(reasons)}", remedy="restore them, or add others"
    )


def require_described(cache: DescriptorCache, names: Keys) -> None:
    """Raise MapError unless the cache has finite descriptors of all these photos."""
    try:
        cache.rows(names)
    except CacheError as error:
        raise _unreadable(cache.path) from error


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
    old = np.array([name not in names and path_of(folder, key_of(name)) in keys for name in cache.keys], bool)
    if np.count_nonzero(old & done) > most:
        compact(cache, cache.keys[done & ~old])


def compact(cache: DescriptorCache, names: Keys) -> None:
    """Rewrite the cache with only these photos, if it has others. A process that has the old file open keeps it."""
    rows = cache.find(names)
    if len(rows) == len(cache):
        return
    rows = np.sort(rows)
    with replacing(cache.path) as temporary:
        create(temporary, cache.keys[rows].tolist(), cache.spec)
        target = DescriptorCache(temporary, writable=True)
        for block in blocks(np.arange(len(rows))):
            target.restart(block, cache.bytes[rows[block]])
            target.write(block, cache.globals_[rows[block]], cache.patches[rows[block]])
