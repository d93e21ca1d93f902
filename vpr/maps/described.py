"""The descriptors of a map's photos: made, kept for each version of a file, and dropped when no photo has them.

A version of a photo is called ``KEY?BYTES-MTIME_NS``: its key in the map, and size and time of change of its file. So a
photo that changed gets a row of its own, and the row of before stays until no map needs it.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vpr.base.files import replacing
from vpr.cache import CacheError, CacheMismatch, DescriptorCache, Keys, create, mend_truncated
from vpr.description.adaptation import blocks
from vpr.description.into_cache import USUAL, Filling, describe_into_cache
from vpr.maps.errors import MapError
from vpr.maps.left_out import listed, reason
from vpr.maps.model import Model
from vpr.maps.store import DESCRIPTORS, PhotoTable, path_of

log = logging.getLogger("vpr")

VERSION = re.compile(r"\?\d+-\d+\Z")
WASTE = 0.25  # old versions, by the number of photos, from which on the file is written anew
Stamp = tuple[int, int]  # size and time of change of a file: bytes, nanoseconds


@dataclass(frozen=True)
class Completed:
    """A cache that has the photos of a map."""

    cache: DescriptorCache
    described: int  # photos that were described for it
    unreadable: dict[str, str]  # what is wrong with photos that it lacks, by what they are called


def stamp_of(path: str) -> Stamp | None:
    """Of a photo's file; None where it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def name_of(key: str, stamp: Stamp) -> str:
    """What a version of a photo is called.

    >>> name_of("/a.jpg", (10, 20)), key_of("/a.jpg?10-20"), key_of("/a.jpg")
    ('/a.jpg?10-20', '/a.jpg', '/a.jpg')
    """
    return f"{key}?{stamp[0]}-{stamp[1]}"


def key_of(name: str) -> str:
    """The key of a photo, by what a version of it is called."""
    return VERSION.sub("", name)


def open_descriptors(folder: Path, model: Model) -> DescriptorCache:
    """The cache of a map; raises MapError for one of another model, and one that is damaged or missing."""
    path = folder / DESCRIPTORS
    try:
        return DescriptorCache(path, model.spec)
    except CacheMismatch as error:
        raise MapError(f"{path} was made by another model; name another map, or remove {folder}") from error
    except CacheError as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> MapError:
    return MapError(f"{path} is damaged; remove it and add the folders again: their photos are described again")


def complete(folder: Path, model: Model, table: PhotoTable, how: Filling = USUAL) -> Completed:
    """Describe the photos of a table that the map's cache lacks, as far as they can be read; rows that are there stay.

    Raises MapError for a cache that is damaged, and where not one photo is there.
    """
    path, lacking, described, unreadable = folder / DESCRIPTORS, table.described_as, 0, dict[str, str]()
    try:
        if path.is_file():
            if mend_truncated(path):
                log.warning("%s was cut short; what is missing is described again", path)
            cache = open_descriptors(folder, model)
            rows = cache.find(lacking)
            lacking = lacking[(rows < 0) | (cache.done[rows] == 0)]
        files = {name: path_of(folder, key_of(name)) for name in lacking.tolist()}
        unreadable = {name: why for name, file in files.items() if (why := _fault(file))}
        if wanted := [name for name in files if name not in unreadable]:
            how = replace(how, tolerant=True, file_of=lambda name: path_of(folder, key_of(name)))
            filled = describe_into_cache(path, model.network, Path(), wanted, model.device, how)
            described, unreadable = filled.images, unreadable | filled.unreadable
        if not path.is_file():
            raise none_readable([reason(why) for why in unreadable.values()])
        cache = open_descriptors(folder, model)
    except CacheError as error:
        raise _unreadable(path) from error
    return Completed(cache, described, {name: reason(why) for name, why in unreadable.items()})


def none_readable(reasons: Sequence[str]) -> MapError:
    """What is said where nothing is left to make a map of."""
    return MapError(f"none of {len(reasons)} photos can be read: {listed(reasons)}; restore them, or add others")


def require(cache: DescriptorCache, names: Keys) -> None:
    """Raise MapError unless all of these photos are in the cache, and their descriptors are numbers."""
    try:
        cache.rows(names)
    except CacheError as error:
        raise _unreadable(cache.path) from error


def _fault(file: str) -> str:
    """What is wrong with a file before it is opened; empty when nothing is."""
    try:
        file.encode()
    except UnicodeEncodeError:
        return f"{file!a} has no name in UTF-8; rename it"
    return "" if os.path.isfile(file) else f"{file} is missing; restore it"


def drop_old_versions(folder: Path, cache: DescriptorCache, table: PhotoTable) -> None:
    """Write the cache anew without old versions of a map's photos, where they are many.

    What it has of photos that are in no table stays: a map that lost its map.json may be added to folder by folder.
    """
    done, most = np.asarray(cache.done) > 0, WASTE * len(table)
    if np.count_nonzero(done) - len(table) <= most:
        return
    keys, names = set(table.keys), set(table.described_as)
    old = np.array([name not in names and path_of(folder, key_of(name)) in keys for name in cache.keys], bool)
    if np.count_nonzero(old & done) > most:
        compact(cache, cache.keys[done & ~old])


def compact(cache: DescriptorCache, names: Keys) -> None:
    """Write the cache anew with these photos alone, where it holds others; who has the old file open still reads it."""
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
