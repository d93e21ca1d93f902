"""Sets that people train on besides MSLS, small: GSV-Cities, names with headings as in SF-XL, names without, lists."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from place_trees import utm_name, write_csv

COLUMNS = ["place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid"]
APART = 0.002  # degrees between places of GSV-Cities, about 200 m


def small_picture(path: Path, seed: int, size=(24, 18)) -> Path:
    """A JPEG of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def gsv_rows(city: str, places, images=4, at=0.0):
    """Rows of a table of GSV-Cities: for each place id, images of different years that look in one direction."""
    return [
        {
            "place_id": place, "year": 2010 + image, "month": 1 + image, "northdeg": 10 * (number % 36),
            "city_id": city, "lat": 40 + at + APART * number, "lon": -74.5 - 1e-5 * image,
            "panoid": f"p-{place}_{image}",
        }
        for number, place in enumerate(places)
        for image in range(images)
    ]  # fmt: skip


def gsv_name(row, ending=".JPG") -> str:
    """The name of the image of a row, by the published rule."""
    numbers = f"{row['place_id'] % 100_000:07d}_{row['year']:04d}_{row['month']:02d}_{row['northdeg']:03d}"
    return f"{row['city_id']}_{numbers}_{row['lat']}_{row['lon']}_{row['panoid']}{ending}"


def write_gsv_city(root: Path, city: str, rows, ending=".JPG", size=(24, 18)) -> list[str]:
    """A table and its images; the paths of these below the root."""
    (root / "Dataframes").mkdir(parents=True, exist_ok=True)
    (root / "Images").mkdir(exist_ok=True)
    with (root / "Dataframes" / f"{city}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    paths = [f"Images/{row['city_id']}/{gsv_name(row, ending)}" for row in rows]
    for path, row in zip(paths, rows):
        small_picture(root / path, row["place_id"] % 1000, size)
    return paths


def make_gsv(root: Path, places=6, held_out=5) -> Path:
    """Two cities with the same place ids, of which the second is meant to be held out."""
    write_gsv_city(root, "London", gsv_rows("London", range(places)))
    write_gsv_city(root, "Boston", gsv_rows("Boston", range(held_out), at=20.0))
    return root


def make_cells(root: Path, places=6, photos=3) -> Path:
    """``train/`` as in SF-XL: cells 60 m apart, each photographed in two opposite directions."""
    for place in range(places):
        for view in (5, 185):
            for photo in range(photos):
                name = utm_name(500_000 + 60 * place + photo, 4_000_000, heading=view + photo, note=f"{view}-{photo}")
                small_picture(root / "train" / f"{place}" / name, 10 * place + (view > 90))
    return root


def make_sides(root: Path, splits=("train", "val"), headings=False) -> Path:
    """``images/SPLIT/{database,queries}`` as of VPR-datasets-downloader: one photo a point, a query near each."""
    for number, split in enumerate(splits):
        for place in range(8):
            for side, offset in (("database", 0), ("queries", 4)):
                east = 500_000 + 5_000 * number + 40 * place + offset
                name = utm_name(east, 4_000_000, heading=90 if headings else "", note=place)
                small_picture(root / "images" / split / side / name, place)
    return root


def make_list(root: Path, places=6, heading=True) -> Path:
    """A list with degrees and headings: at each place two photos to the north and one to the south."""
    rows = []
    for place in range(places):
        for photo, view in enumerate((0, 10, 180)):
            small_picture(root / f"{place}-{photo}.jpg", place)
            rows.append((f"{place}-{photo}.jpg", 47 + 0.001 * place, 8.0 + 3e-5 * photo, view))
    header = ["file", "latitude", "longitude", *(["heading"] if heading else [])]
    write_csv(root / "photos.csv", header, [row[: len(header)] for row in rows])
    return root
