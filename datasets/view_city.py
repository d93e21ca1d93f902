"""A city of altered views of photographs: places for whoever has photographs of none.

Each place is a square of a photograph. The database shows it from the front; queries show it from the side, nearer, in
other light, blurred or noisy.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from torchvision.transforms import v2

from vpr.base.progress import progress
from vpr.datasets.errors import DatasetError
from vpr.datasets.rendered_folder import RenderedFolder
from vpr.datasets.view_changes import at_another_time, in_other_light, to_bytes

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
SUFFIXES = (".jpg", ".jpeg", ".png")
MIN_SIZE = 16  # side of a view, pixels, at least
MIN_SIDE = 512  # pixels of the shorter side of a photograph, at least
TILE = 768  # pixels of a place, at least, if a photograph is cut into several
APART_M = 100.0  # between neighbouring places
SAME_CORRELATION = 0.85  # correlation of thumbnails from which two squares count as the same
HEADING = 90.0  # of all views, degrees from north; 0 for all would count as unknown
VIEWPOINT, TIME = "viewpoint", "time"  # how queries differ from the database
MOVED = 0.01  # sides of the square by which a camera moves that stays where it is
OTHERS = 64  # places before, whose colours and parts a view at another time takes
FLAT = 12  # standard deviation of grey levels up to which a square shows nothing


@dataclass(frozen=True)
class ViewCity:
    """The photographs of a folder and what is made of them."""

    photos: Path
    places: int  # at most
    views: int  # queries of a place
    size: int  # side of a view, pixels
    change: str = VIEWPOINT  # or TIME

    def write(self, root: Path, name: str) -> int:
        """Write the city into an MSLS tree; returns the number of its places. A complete city is kept as it is.

        Raises DatasetError for a name with a path, for views of less than `MIN_SIZE` pixels, if no photograph is large
        enough, and if the city's folder holds something else.
        """
        if not name.strip(".") or name != Path(name).name:
            raise DatasetError(
                f"--city {name!r} is no name of a folder", thing="--city", remedy="name the city in one word"
            )
        if self.size < MIN_SIZE:
            problem = f"views of {self.size} pixels show no place"
            raise DatasetError(problem, thing="--size", remedy=f"pass --size {MIN_SIZE} or more")
        if not self.photos.is_dir():
            raise DatasetError(f"no folder {self.photos}", thing=self.photos, remedy="check --photos")
        out = root / "train_val" / name
        if self.photos.resolve() in out.resolve().parents:
            problem = f"{out} lies in --photos {self.photos}, where its views would be taken for photographs"
            raise DatasetError(problem, thing=out, remedy="name another --out")
        files = sorted(path for path in self.photos.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        identity = {"photos": _digest(files), "places": self.places, "views": self.views, "size": self.size}
        if self.change != VIEWPOINT:  # cities of before have no such entry, and stay complete
            identity["change"] = self.change
        folder = RenderedFolder(out, "photo-views", identity, "--city")
        if folder.is_complete():
            return int(json.loads(folder.manifest.read_text(encoding="utf-8"))["count"])
        rng = np.random.default_rng(0)
        views: dict[str, list[tuple[str, int]]] = {"database": [], "query": []}
        others: list[np.ndarray] = []
        place = -1
        for place, square in enumerate(self._different_squares(files, rng)):
            if place == 0:
                folder.root.mkdir(parents=True, exist_ok=True)
                folder.begin()
            for side, number, pixels in self._views(square, others, rng):
                key = f"p{place:04d}{side[0]}{number or ''}"
                _save(pixels, folder.root / side / "images" / f"{key}.jpg", rng)
                views[side].append((key, place))
        if place < 0:
            raise DatasetError(
                f"{self.photos} has no photograph of at least {MIN_SIDE} x {MIN_SIDE} pixels",
                thing=self.photos,
                remedy="name another folder with --photos",
            )
        for side in views:
            _write_tables(folder.root / side, views[side])
        folder.finish({"count": place + 1})
        return place + 1

    def _views(
        self, square: Image.Image, others: list[np.ndarray], rng: np.random.Generator
    ) -> Iterator[tuple[str, int, np.ndarray]]:
        """The view of the database and those of the queries, each with its side of the city and its number.

        others: what the database shows of the places before, whose colours and parts are taken; the last ones are kept.
        """
        corners = _corners(rng, 0.03, 0.9)
        front = _see(square, corners, self.size)
        yield "database", 0, front
        for number in range(self.views):
            if self.change == VIEWPOINT:
                yield "query", number, in_other_light(_see(square, _corners(rng, 0.18, 0.55), self.size), rng)
            else:
                seen = _see(square, np.clip(corners + rng.uniform(-MOVED, MOVED, (4, 2)), 0, 1), self.size)
                other = others[rng.integers(len(others))] if others else front[:, ::-1]
                yield "query", number, at_another_time(seen, other, rng)
        others.append(front)
        del others[:-OTHERS]

    def _different_squares(self, files: list[Path], rng: np.random.Generator) -> Iterator[Image.Image]:
        """Squares of the photographs in random order, each unlike those before it."""
        known = np.zeros((self.places, 256), np.float32)
        count = 0
        for number in progress(rng.permutation(len(files)).tolist(), title="altering photographs", unit="photograph"):
            for square in _squares(files[number]):
                small = _thumbnail(square)
                if (known @ small).max() < SAME_CORRELATION:
                    known[count] = small
                    count += 1
                    yield square
                    if count == self.places:
                        return


def _digest(files: list[Path]) -> str:
    """SHA-256 of the contents of files, in order."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _squares(path: Path) -> Iterator[Image.Image]:
    """The squares of a photograph; none if it is small, flat or damaged, has an alpha channel or colours of print."""
    try:
        with Image.open(path) as opened:
            if min(opened.size) < MIN_SIDE or opened.mode not in ("RGB", "L", "P"):
                return
            image = opened.convert("RGB")
    except UNREADABLE:
        return
    count = max(1, min(image.size) // TILE)
    side = min(image.size) // count
    for x in range(count):
        for y in range(count):
            square = image.crop((x * side, y * side, (x + 1) * side, (y + 1) * side))
            if np.asarray(square.convert("L").resize((32, 32))).std() > FLAT:
                yield square


def _thumbnail(square: Image.Image) -> np.ndarray:
    """16 x 16 grey pixels as a unit vector (256,), to find repeated pictures."""
    pixels = np.asarray(square.convert("L").resize((16, 16), Image.Resampling.BOX), np.float32).ravel()
    pixels = pixels - pixels.mean()
    unit: np.ndarray = pixels / max(float(np.linalg.norm(pixels)), 1e-6)
    return unit


def _corners(rng: np.random.Generator, shift: float, least: float) -> np.ndarray:
    """Corners (4, 2) of what a camera sees, in sides of the square: at least a share of it, each corner moved."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * rng.uniform(least, 1)
    corners = corners + rng.uniform(0, 1 - corners.max(), 2) + rng.uniform(-shift, shift, (4, 2)) / 2
    return np.clip(corners, 0, 1)


def _see(square: Image.Image, corners: np.ndarray, size: int) -> np.ndarray:
    """Pixels (size, size, 3) in [0, 1] of what lies between the corners."""
    last = square.size[0] - 1
    frame = [[0, 0], [last, 0], [last, last], [0, last]]
    view = v2.functional.perspective(square, (corners * last).astype(int).tolist(), frame)
    return np.asarray(view.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0), np.float32) / 255


def _save(pixels: np.ndarray, path: Path, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_bytes(pixels)).save(path, quality=int(rng.integers(50, 90)))


def _write_tables(folder: Path, views: list[tuple[str, int]]) -> None:
    """The four CSVs of one side, from key and place of each view; every place lies 100 m from the next."""
    keys, places = [key for key, _ in views], [place for _, place in views]
    subtasks = dict.fromkeys(("all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d"), True)
    tables: dict[str, dict[str, Any]] = {
        "postprocessed": {"easting": [500_000 + APART_M * place for place in places], "northing": 0.0, "night": False,
                          "control_panel": False, "view_direction": "Forward", "unique_cluster": places},
        "raw": {"lon": 0.0, "lat": 0.0, "ca": HEADING, "captured_at": 0, "pano": False},
        "seq_info": {"sequence_key": keys, "frame_number": 0},
        "subtask_index": subtasks,
    }  # fmt: skip
    for name, columns in tables.items():
        pd.DataFrame({"key": keys, **columns}).to_csv(folder / f"{name}.csv")
