"""Sets of places as the field has them, and plain loops that say what is right in them."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image
from pyproj import Geod, Transformer

from tools.photo_folder import gps_exif

GEOD = Geod(ellps="WGS84")
FIELDS = 14  # of a name of VPR-datasets-downloader


def touch(*paths: Path) -> None:
    """Empty files, which readers of sets do not open."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def picture(path: Path, seed: int, position=None) -> Path:
    """A JPEG of random blocks, with a position in its EXIF or without."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif() if position is None else gps_exif(*position)
    Image.fromarray(blocks).resize((64, 48), Image.Resampling.BICUBIC).save(path, exif=exif)
    return path


def make_guide_sets(folder: Path) -> None:
    """The sets that docs/guides/own_data.md evaluates, of a few pictures each."""
    spots = [(47.36 + 1e-4 * number, 1.67) for number in range(4)]
    for split in ("test", "val"):
        for number in range(30):
            name = utm_name(f"{500_000 + 20 * number:010.2f}", "4000000.00", "17", "T", note=number)
            picture(folder / "pitts30k/images" / split / "database" / name, number)
        for number in range(12):
            east = 500_003 + 60 * number + (500 if number == 11 else 0)
            name = utm_name(f"{east:010.2f}", "4000000.00", "17", "T", note=number)
            picture(folder / "pitts30k/images" / split / "queries" / name, 3 * number)
    test = folder / "pitts30k/images/test"
    queries, database = (sorted(path.name for path in (test / side).iterdir()) for side in ("queries", "database"))
    (folder / "theirs.csv").write_text("".join(f"{query} {' '.join(database[:5])}\n" for query in queries))
    for number, spot in enumerate(spots):
        picture(folder / f"photos/{number}.jpg", number, spot)
        for place in ("mine/images/a", "old/images/", "new/", "lake/database/"):
            picture(folder / f"{place}{number}.jpg", number)
        picture(folder / f"msls_val/cph/{number}.jpg", number)
        picture(folder / f"SPEDTEST/ref/{number:07d}.jpg", number)
    for number in range(3):
        picture(folder / f"lake/queries/{number}.jpg", number)
        picture(folder / f"SPEDTEST/query/{number:07d}.jpg", number)
    sides = ["query", "query", "database", "database"]
    rows = [(f"a{number}.jpg", side, *spots[number % 2]) for number, side in enumerate(sides)]
    write_csv(folder / "mine/photos.csv", ["file", "side", "latitude", "longitude"], rows)
    write_csv(folder / "old/photos.csv", ["file", "lat", "lon"], [(f"{n}.jpg", *spot) for n, spot in enumerate(spots)])
    write_geojson(folder / "new/photos.geojson", {f"{number}.jpg": spot for number, spot in enumerate(spots)})
    rows = [(f"{side}/{number}.jpg", *spots[number]) for side in ("database", "queries") for number in range(3)]
    write_csv(folder / "lake/positions.csv", ["file", "lat", "lon"], [*rows, ("database/3.jpg", *spots[3])])
    write_csv(folder / "lake/pairs.csv", ["query", "database"], [("0.jpg", "0.jpg"), ("1.jpg", "2.jpg")])
    (folder / "arrays").mkdir()
    for name, content in {
        "dbImages": np.array(["cph/0.jpg", "cph/1.jpg"]), "qImages": np.array(["cph/2.jpg", "cph/3.jpg"]),
        "qIdx": np.array([0, 1]), "pIdx": objects([[0], [1]]),
    }.items():  # fmt: skip
        np.save(folder / f"arrays/msls_val_{name}.npy", content)
    np.save(folder / "SPEDTEST/ground_truth_new.npy", objects([[number, [number]] for number in range(3)]))


def utm_name(east, north, zone="10", band="S", latitude="", longitude="", heading="", note="") -> str:
    """A name of 14 fields."""
    fields = [east, north, zone, band, latitude, longitude, "", "", heading, "", "", "", "", note]
    return "@" + "@".join(str(field) for field in fields) + "@.jpg"


def utm_of(latitude: float, longitude: float) -> tuple[float, float, int]:
    """Easting, northing and zone of a position; northings of the south count from the pole."""
    zone = int((longitude + 180) // 6) + 1
    crs = f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"
    east, north = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    return east, north, zone


def by_plane(queries, database, radius_m=25.0):
    """For each query name the numbers of the database names within the radius, by fields 1 and 2, as the field does."""
    points = [[tuple(map(float, Path(name).name.split("@")[1:3])) for name in side] for side in (queries, database)]
    return [
        [number for number, other in enumerate(points[1]) if math.dist(one, other) <= radius_m] for one in points[0]
    ]


def by_degrees(queries, database, radius_m=25.0):
    """The same for positions in degrees, along the ellipsoid."""
    return [
        [
            number
            for number, (latitude, longitude) in enumerate(database)
            if GEOD.inv(one[1], one[0], longitude, latitude)[2] <= radius_m
        ]
        for one in queries
    ]


def write_descriptors(path: Path, files, seed=0) -> dict[str, np.ndarray]:
    """Random descriptors of files, as --shortlist reads them; returns those by file."""
    vectors = np.random.default_rng(seed).normal(size=(len(files), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(path, vectors)
    path.with_suffix(".txt").write_text("".join(f"{file}\n" for file in files))
    return dict(zip(map(str, files), vectors))


def naive_recall(vectors, queries, database, right, ks, wrong, own=None):
    """Recall@k by loops. right: the numbers of right database photos of each query. wrong: whether a query without any
    counts. own: for each query the database number that is itself."""
    found = dict.fromkeys(ks, 0)
    scored = 0
    for number, query in enumerate(queries):
        if not right[number] and not wrong:
            continue
        scored += 1
        similarity = [float(vectors[str(query)] @ vectors[str(entry)]) for entry in database]
        order = sorted(range(len(database)), key=lambda entry: -similarity[entry])
        if own is not None:
            order = [entry for entry in order if entry != own[number]]
        for k in ks:
            found[k] += any(entry in right[number] for entry in order[:k])
    return {f"recall@{k}": found[k] / scored for k in ks}


def write_csv(path: Path, header, rows) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_geojson(path: Path, positions) -> Path:
    """Points of files with latitude and longitude."""
    features = [
        {
            "type": "Feature",
            "properties": {"file": name},
            "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
        }
        for name, (latitude, longitude) in positions.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def objects(rows) -> np.ndarray:
    """An object array of rows of uneven length."""
    array = np.empty(len(rows), object)
    array[:] = rows
    return array
