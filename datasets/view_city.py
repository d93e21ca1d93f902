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

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
SUFFIXES = (".jpg", ".jpeg", ".png")
MIN_SIDE = 512  # pixels of the shorter side of a photograph, at least
TILE = 768  # pixels of a place, at least, if a photograph is cut into several
APART_M = 100.0  # between neighbouring places
SAME_CORRELATION = 0.85  # correlation of thumbnails from which two squares count as the same
HEADING = 90.0  # of all views, degrees from north; 0 for all would count as unknown
FLAT = 12  # standard deviation of grey levels up to which a square shows nothing


@dataclass(frozen=True)
class ViewCity:
    """The photographs of a folder and what is made of them."""

    photos: Path
    places: int  # at most
    views: int  # queries of a place
    size: int  # side of a view, pixels

    def write(self, root: Path, name: str) -> int:
        """Write the city into an MSLS tree; returns the number of its places. A complete city is kept as it is.

        Raises DatasetError for a name with a path, if no photograph is large enough, and if the city's folder holds
        something else.
        """
        if not name.strip(".") or name != Path(name).name:
            raise DatasetError(
                f"--city {name!r} is no name of a folder", thing="--city", remedy="name the city in one word"
            )
        if not self.photos.is_dir():
            raise DatasetError(f"no folder {self.photos}", thing=self.photos, remedy="check --photos")
        out = root / "train_val" / name
        if self.photos.resolve() in out.resolve().parents:
            problem = f"{out} lies in --photos {self.photos}, where its views would be taken for photographs"
            raise DatasetError(problem, thing=out, remedy="name another --out")
        files = sorted(path for path in self.photos.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        identity = {"photos": _digest(files), "places": self.places, "views": self.views, "size": self.size}
        folder = RenderedFolder(out, "photo-views", identity, "--city")
        if folder.is_complete():
            return int(json.loads(folder.manifest.read_text(encoding="utf-8"))["count"])
        rng = np.random.default_rng(0)
        views: dict[str, list[tuple[str, int]]] = {"database": [], "query": []}
        place = -1
        for place, square in enumerate(self._different_squares(files, rng)):
            if place == 0:
                folder.root.mkdir(parents=True, exist_ok=True)
                folder.begin()
            for side, count in (("database", 1), ("query", self.views)):
                for number in range(count):
                    key = f"p{place:04d}{side[0]}{number or ''}"
                    _save_view(square, folder.root / side / "images" / f"{key}.jpg", side, self.size, rng)
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


def _save_view(square: Image.Image, path: Path, side: str, size: int, rng: np.random.Generator) -> None:
    """Write one view of ``size`` pixels: that of the database is nearly the square itself, that of a query altered."""
    wide = square.size[0]
    shift, least = (0.18, 0.55) if side == "query" else (0.03, 0.9)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * rng.uniform(least, 1)
    corners = corners + rng.uniform(0, 1 - corners.max(), 2) + rng.uniform(-shift, shift, (4, 2)) / 2
    corners = np.clip(corners, 0, 1) * (wide - 1)
    frame = [[0, 0], [wide - 1, 0], [wide - 1, wide - 1], [0, wide - 1]]
    view = v2.functional.perspective(square, corners.astype(int).tolist(), frame)
    view = view.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(view, np.float32) / 255
    if side == "query":
        pixels = pixels ** rng.uniform(0.5, 2.0) * rng.uniform(0.35, 1.1) * rng.uniform(0.75, 1.25, 3)
        if rng.random() < 0.3:
            pixels = np.repeat(pixels.mean(2, keepdims=True), 3, 2)
        if rng.random() < 0.4:
            blurred = v2.functional.gaussian_blur(Image.fromarray(_to_bytes(pixels)), [7, 7], [rng.uniform(0.5, 2.0)])
            pixels = np.asarray(blurred, np.float32) / 255
        pixels = pixels + rng.normal(0, rng.uniform(0, 0.05), pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_to_bytes(pixels)).save(path, quality=int(rng.integers(50, 90)))


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Convert numbers in [0, 1] to uint8."""
    whole: np.ndarray = (np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return whole


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
