"""What tiny thumbnails reach: the floor that a place-recognition model has to beat.

    python -m datasets.street_world.floor DIR
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from datasets.errors import DatasetError

RADIUS_M = 25.0


@dataclass(frozen=True)
class Floor:
    """Recall@1 of thumbnails, city by city, panoramas out, queries without positives left aside."""

    scored: int  # queries with a positive
    recall_at_1: float  # of 7 x 7 thumbnails, share of the scored queries
    chance: float  # of a random answer


def load_side(folder: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit thumbnails (N, 3 * size * size), mean removed, and UTM positions (N, 2) of the flat images of a side.

    Raises:
        DatasetError: a table is missing.
    """
    try:
        post, raw = (pd.read_csv(folder / name, index_col=0) for name in ("postprocessed.csv", "raw.csv"))
    except FileNotFoundError as error:
        raise DatasetError(f"{error.filename} is missing; render the tree with python -m datasets.mini_msls") from None
    post = post[~raw["pano"].to_numpy(bool)]
    rows = []
    for key in post["key"]:
        with Image.open(folder / "images" / f"{key}.jpg") as image:
            rows.append(np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BOX), float).ravel())
    thumbnails = np.array(rows)
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=1, keepdims=True), 1e-9)
    return thumbnails, post[["easting", "northing"]].to_numpy(float)


def thumbnail_floor(root: Path, cities: tuple[str, ...] = ("cph", "sf"), size: int = 7) -> Floor:
    """Return what nearest thumbnails of size x size pixels reach on cities under `root`/train_val.

    Raises:
        DatasetError: a table is missing.
    """
    hits, chances = [], []
    for city in cities:
        query, query_m = load_side(Path(root) / "train_val" / city / "query", size)
        database, database_m = load_side(Path(root) / "train_val" / city / "database", size)
        near = np.linalg.norm(query_m[:, None] - database_m[None], axis=2) <= RADIUS_M
        best = (query @ database.T).argmax(axis=1)
        scored = near.any(axis=1)
        hits.append(near[np.arange(len(best)), best][scored])
        chances.append(near[scored].mean(axis=1))
    found, chance = np.concatenate(hits), np.concatenate(chances)
    return Floor(len(found), float(found.mean()), float(chance.mean()))


def main(argv: list[str] | None = None) -> int:
    """Print the floor of a tree; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m datasets.street_world.floor", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of a mini-MSLS tree")
    try:
        floor = thumbnail_floor(parser.parse_args(argv).root)
    except DatasetError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"{floor.scored} queries: thumbnails R@1 {floor.recall_at_1:.3f}, chance {floor.chance:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
