"""Pairs of photos of a map that look alike, for tools that match local features, such as COLMAP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr.base.pair_files import check_pair_names, write_pairs
from vpr.base.progress import progress
from vpr.maps.candidates import CandidateFinder
from vpr.maps.photo_map import Map
from vpr.maps.store import absolute_path
from vpr.positions.errors import MapError

BLOCK = 64  # photos that are searched for at a time
DEPTH = 100  # fewest candidates that are re-ranked


def write_neighbour_pairs(
    photo_map: Map, path: Path, count: int, rerank: bool = False, images: Path | None = None, title: str | None = None
) -> tuple[int, Path]:
    """Write each photo of a map with its ``count`` most similar others, a pair of names in a line, each pair once.

    rerank: order the first candidates by patches, too. images: the folder that names are relative to; None takes the
    folder above all photos. title: text of the progress bar; None for no bar. Returns the number of pairs and that
    folder. Raises MapError for a photo that is not in the folder, and VprError for a name that a list of pairs cannot
    have.
    """
    folder, names = relative_names([absolute_path(photo_map.folder, str(key)) for key in photo_map.content.table.keys],
                                   images)  # fmt: skip
    check_pair_names(path, names)
    pairs = neighbour_pairs(photo_map.finder, count, rerank, title)
    write_pairs(path, [(names[first], names[second]) for first, second in pairs])
    return len(pairs), folder


def relative_names(files: Sequence[str], images: Path | None) -> tuple[Path, list[str]]:
    """A folder and the paths of files relative to it. images: the folder; None takes the one above all files.

    Raises MapError for a file that is not in the folder.
    """
    real = [os.path.realpath(file) for file in files]
    if images is None:
        folder = os.path.commonpath([os.path.dirname(file) for file in real]) if real else os.getcwd()
    else:
        folder = os.path.realpath(images)
    start = folder.rstrip("/") + "/"
    if outside := next((file for file in real if not file.startswith(start)), None):
        raise MapError(f"{outside} is not in --images {images}", thing=outside, remedy="pass a folder above all photos")
    return Path(folder), [file[len(start) :] for file in real]


def neighbour_pairs(
    finder: CandidateFinder, count: int, rerank: bool = False, title: str | None = None
) -> list[tuple[int, int]]:
    """The pairs of each photo and its ``count`` most similar others, by rows of the map, each pair once and ascending.

    Similar is by global descriptors, or with ``rerank`` by the order of the first `DEPTH` candidates by patches, too.
    """
    images = finder.photos.images
    pairs = set[tuple[int, int]]()
    blocks = [np.arange(start, min(start + BLOCK, len(images))) for start in range(0, len(images), BLOCK)]
    with progress(title=title, unit="photo", total=len(images)) as bar:
        for block in blocks:
            for own, others in zip(block.tolist(), _nearest(finder, block, count, rerank).tolist()):
                pairs.update((min(own, other), max(own, other)) for other in others[:count] if other >= 0)
            bar.update(len(block))
    return sorted(pairs)


def _nearest(finder: CandidateFinder, block: np.ndarray, count: int, rerank: bool) -> np.ndarray:
    """The other photos (b, K) that are most similar to those of a block (b,), best first, padded with -1."""
    described = finder.read(block)
    depth = max(count, DEPTH) if rerank else count
    _, rows = finder.index.search(described.globals_, depth + 1)
    rows = np.where(rows == block[:, None], -1, rows)
    rows = np.take_along_axis(rows, np.argsort(rows < 0, axis=1, kind="stable"), 1)[:, :depth]  # -1 to the end
    return finder.find_adapted(described, depth, rows).rows if rerank and rows.shape[1] else rows
